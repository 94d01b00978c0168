//! The one place of unsafe code.

#![expect(unsafe_code, reason = "tokio leaves it to the caller that a descriptor stays open")]

use std::fs::File;
use std::io;

use tokio::io::unix::AsyncFd;

/// Watches an open file for readiness.
pub(crate) fn watch(file: File) -> io::Result<AsyncFd<File>> {
    // SAFETY: a `File` owns its descriptor, and an `AsyncFd<File>` is nowhere given another one.
    Ok(unsafe { AsyncFd::register(file)? })
}
