//! The one place of unsafe code.

#![expect(unsafe_code, reason = "these have no safe interface")]

use std::fs::File;
use std::io;

use rustix::ioctl::{NoArg, ioctl, opcode};
use tokio::io::unix::AsyncFd;

/// `RNDRESEEDCRNG` of `linux/random.h`.
const RESEED: rustix::ioctl::Opcode = opcode::none(b'R', 0x07);

/// Watches an open file for readiness.
pub(crate) fn watch(file: File) -> io::Result<AsyncFd<File>> {
    // SAFETY: a `File` owns its descriptor, and an `AsyncFd<File>` is nowhere given another one.
    Ok(unsafe { AsyncFd::register(file)? })
}

/// Has the kernel's random numbers come from what was written to the device since the last time.
pub(crate) fn reseed(random: &File) -> io::Result<()> {
    // SAFETY: this request takes no argument, and touches no memory of the process.
    unsafe { ioctl(random, NoArg::<RESEED>::new())? };
    Ok(())
}
