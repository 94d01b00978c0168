//! Bytes that a function hands over.

use crate::boundary::{free, read};

/// Bytes. They never change: several threads may read them at once.
#[derive(Debug)]
pub struct transient_bytes(Vec<u8>);

impl transient_bytes {
    pub(crate) fn new(mut bytes: Vec<u8>) -> Self {
        bytes.push(0);
        Self(bytes)
    }
}

/// Returns the bytes; a NUL follows the last of them. Lives as long as the handle.
#[unsafe(no_mangle)]
pub extern "C" fn transient_bytes_data(bytes: *const transient_bytes) -> *const u8 {
    read(bytes, |bytes| bytes.0.as_ptr())
}

/// Returns how many there are, the NUL not counted.
#[unsafe(no_mangle)]
pub extern "C" fn transient_bytes_len(bytes: *const transient_bytes) -> usize {
    read(bytes, |bytes| bytes.0.len() - 1)
}

/// Frees bytes. NULL is ignored.
#[unsafe(no_mangle)]
pub extern "C" fn transient_bytes_free(bytes: *mut transient_bytes) {
    free(bytes);
}
