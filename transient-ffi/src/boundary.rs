//! What every exported function goes through: pointers are checked, and no panic leaves the library.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::transient_error;
use crate::status::transient_status;

/// Why a function fails.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The core says so.
    Core(transient_core::Error),
    /// The caller passed what no function can work with.
    Argument(String),
    /// A text is the name of no image.
    ImageName(String),
    /// The backend has no image of this name.
    NoImage(String),
    /// A panic was caught.
    Panic(String),
}

impl From<transient_core::Error> for Failure {
    fn from(error: transient_core::Error) -> Self {
        Self::Core(error)
    }
}

/// Runs a function's body; what it fails with becomes the status, and the object if one is wanted.
pub(crate) fn fallible(
    error_out: *mut *mut transient_error,
    body: impl FnOnce() -> Result<(), Failure>,
) -> transient_status {
    let failure = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => return transient_status::Ok,
        Ok(Err(failure)) => failure,
        Err(panic) => Failure::Panic(message_of(panic.as_ref())),
    };
    let error = transient_error::new(&failure);
    let status = error.status();
    if !error_out.is_null() {
        // SAFETY: not null, and by contract a valid place for a pointer.
        unsafe { error_out.write(Box::into_raw(Box::new(error))) };
    }
    status
}

/// Runs the body of a function that cannot fail; where it panics all the same, the result is `T`'s default.
pub(crate) fn infallible<T: Harmless>(body: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| T::harmless())
}

/// A value that says "nothing".
pub(crate) trait Harmless {
    fn harmless() -> Self;
}

impl Harmless for () {
    fn harmless() -> Self {}
}

impl Harmless for bool {
    fn harmless() -> Self {
        false
    }
}

impl Harmless for u16 {
    fn harmless() -> Self {
        0
    }
}

impl Harmless for u32 {
    fn harmless() -> Self {
        0
    }
}

impl Harmless for u64 {
    fn harmless() -> Self {
        0
    }
}

impl Harmless for usize {
    fn harmless() -> Self {
        0
    }
}

impl<T> Harmless for *const T {
    fn harmless() -> Self {
        std::ptr::null()
    }
}

impl<T> Harmless for *mut T {
    fn harmless() -> Self {
        std::ptr::null_mut()
    }
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(message), _) => (*message).to_owned(),
        (None, Some(message)) => message.clone(),
        (None, None) => "a panic without a message".to_owned(),
    }
}

/// Borrows what a handle points to.
pub(crate) fn borrow<'a, T>(pointer: *const T, name: &str) -> Result<&'a T, Failure> {
    // SAFETY: null is checked; else it is by contract a handle that lives, and that nobody changes meanwhile.
    unsafe { pointer.as_ref() }.ok_or_else(|| null(name))
}

/// Borrows what a handle points to, to change it.
pub(crate) fn borrow_mut<'a, T>(pointer: *mut T, name: &str) -> Result<&'a mut T, Failure> {
    // SAFETY: null is checked; else it is by contract a handle that lives and that no other thread uses.
    unsafe { pointer.as_mut() }.ok_or_else(|| null(name))
}

/// Changes a handle.
pub(crate) fn change<T>(
    pointer: *mut T,
    name: &str,
    error_out: *mut *mut transient_error,
    body: impl FnOnce(&mut T) -> Result<(), Failure>,
) -> transient_status {
    fallible(error_out, || body(borrow_mut(pointer, name)?))
}

/// Reads from a handle; a null one gives the harmless value.
pub(crate) fn read<T, R: Harmless>(pointer: *const T, body: impl FnOnce(&T) -> R) -> R {
    infallible(|| match borrow(pointer, "handle") {
        Ok(handle) => body(handle),
        Err(_) => R::harmless(),
    })
}

/// The place for a result, which must be there before any work is done.
#[derive(Debug)]
pub(crate) struct Out<T>(*mut *mut T);

impl<T> Out<T> {
    pub(crate) fn new(place: *mut *mut T, name: &str) -> Result<Self, Failure> {
        if place.is_null() { Err(null(name)) } else { Ok(Self(place)) }
    }

    /// Hands a new handle to the caller.
    pub(crate) fn give(self, value: T) {
        // SAFETY: not null, and by contract a valid place for a pointer.
        unsafe { self.0.write(Box::into_raw(Box::new(value))) };
    }
}

/// Writes a result that the caller may not want.
pub(crate) fn write<T>(place: *mut T, value: T) {
    if !place.is_null() {
        // SAFETY: not null, and by contract a valid place.
        unsafe { place.write(value) };
    }
}

/// Ends a handle; null is none.
pub(crate) fn free<T>(handle: *mut T) {
    // SAFETY: by contract a handle that `Out::give` made, and that is not used again.
    free_with(handle, |handle| drop(unsafe { Box::from_raw(handle) }));
}

/// Ends what a pointer stands for; null is nothing.
pub(crate) fn free_with<T>(pointer: *mut T, end: impl FnOnce(*mut T)) {
    if !pointer.is_null() {
        infallible(|| end(pointer));
    }
}

pub(crate) fn null(name: &str) -> Failure {
    Failure::Argument(format!("the argument '{name}' is NULL"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_with_its_message() {
        let mut error = std::ptr::null_mut();
        let status = fallible(&raw mut error, || panic!("on {}", "purpose"));
        assert_eq!(status, transient_status::Internal);
        let message = crate::error::transient_error_message(error);
        // SAFETY: the error lives.
        let message = unsafe { std::ffi::CStr::from_ptr(message) };
        assert!(message.to_string_lossy().contains("on purpose"));
        crate::error::transient_error_free(error);
        assert_eq!(infallible::<usize>(|| panic!("on purpose")), 0);
    }
}
