//! Strings that cross the border.

use std::ffi::{CStr, CString, OsStr, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::boundary::{Failure, free_with, null};

/// Reads a string of the caller.
pub(crate) fn string<'a>(pointer: *const c_char, name: &str) -> Result<&'a str, Failure> {
    optional_string(pointer, name)?.ok_or_else(|| null(name))
}

/// Reads a string of the caller that may be left out.
pub(crate) fn optional_string<'a>(pointer: *const c_char, name: &str) -> Result<Option<&'a str>, Failure> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: not null, and by contract ended by a NUL and unchanged during the call.
    let bytes = unsafe { CStr::from_ptr(pointer) };
    let text = bytes.to_str().map_err(|error| {
        Failure::Argument(format!("the argument '{name}' is no UTF-8 (byte {})", error.valid_up_to()))
    })?;
    Ok(Some(text))
}

/// Reads a path of the caller.
pub(crate) fn path(pointer: *const c_char, name: &str) -> Result<PathBuf, Failure> {
    match string(pointer, name)? {
        "" => Err(Failure::Argument(format!("the argument '{name}' is empty"))),
        path => Ok(PathBuf::from(path)),
    }
}

/// Reads a path of the caller that may be left out.
pub(crate) fn optional_path(pointer: *const c_char, name: &str) -> Result<Option<PathBuf>, Failure> {
    if pointer.is_null() { Ok(None) } else { path(pointer, name).map(Some) }
}

/// Reads bytes of the caller; where there are none, the pointer does not matter.
pub(crate) fn bytes<'a>(pointer: *const u8, length: usize, name: &str) -> Result<&'a [u8], Failure> {
    match (pointer.is_null(), length) {
        (_, 0) => Ok(&[]),
        (true, _) => Err(null(name)),
        (_, length) if isize::try_from(length).is_err() => {
            Err(Failure::Argument(format!("the argument '{name}' is longer than memory can be")))
        }
        // SAFETY: not null, and by contract that many bytes, unchanged during the call.
        _ => Ok(unsafe { std::slice::from_raw_parts(pointer, length) }),
    }
}

/// Returns a string for C. A NUL in it, where C would take it to end, becomes U+FFFD.
pub(crate) fn c_string(text: impl AsRef<OsStr>) -> CString {
    let bytes = text.as_ref().as_bytes();
    CString::new(bytes).unwrap_or_else(|_| {
        let text = String::from_utf8_lossy(bytes).replace('\0', "\u{fffd}");
        CString::new(text).unwrap_or_default()
    })
}

/// Returns a path for C.
pub(crate) fn c_path(path: &Path) -> CString {
    c_string(path.as_os_str())
}

/// Strings that live as long as their handle, and an array of their addresses.
#[derive(Debug, Default)]
pub(crate) struct Strings {
    owned: Vec<CString>,
    addresses: Vec<*const c_char>,
}

impl Strings {
    pub(crate) fn new<T: AsRef<OsStr>>(texts: impl IntoIterator<Item = T>) -> Self {
        let owned: Vec<CString> = texts.into_iter().map(c_string).collect();
        let addresses = owned.iter().map(|text| text.as_ptr()).collect();
        Self { owned, addresses }
    }

    pub(crate) fn len(&self) -> usize {
        self.owned.len()
    }

    /// Returns one, or null.
    pub(crate) fn get(&self, index: usize) -> *const c_char {
        self.addresses.get(index).copied().unwrap_or(std::ptr::null())
    }

    /// Returns all of them.
    pub(crate) fn as_ptr(&self) -> *const *const c_char {
        self.addresses.as_ptr()
    }
}

// SAFETY: the addresses point into `owned`, which is never changed.
unsafe impl Send for Strings {}
// SAFETY: as above.
unsafe impl Sync for Strings {}

/// Returns the address, or null where there is no string.
pub(crate) fn address(text: Option<&CString>) -> *const c_char {
    text.map_or(std::ptr::null(), |text| text.as_ptr())
}

/// Hands a string to the caller, who frees it.
pub(crate) fn give(place: *mut *mut c_char, name: &str, text: CString) -> Result<(), Failure> {
    if place.is_null() {
        return Err(null(name));
    }
    // SAFETY: not null, and by contract a valid place for a pointer.
    unsafe { place.write(text.into_raw()) };
    Ok(())
}

/// Frees a string that a function handed over. NULL is ignored. Any thread may do it.
#[unsafe(no_mangle)]
pub extern "C" fn transient_string_free(text: *mut c_char) {
    // SAFETY: by contract from `CString::into_raw`, and not used again.
    free_with(text, |text| drop(unsafe { CString::from_raw(text) }));
}
