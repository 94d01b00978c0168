//! Things that are not whole yet, and have no name that anybody looks for.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::AtFlags;
use rustix::io::{Errno, Result};

/// Something new in a directory. Dropping it removes it, unless it has got its name.
#[derive(Debug)]
pub(super) struct Partial<'a> {
    folder: &'a OwnedFd,
    pub(super) name: OsString,
}

impl<'a> Partial<'a> {
    /// Makes something new with `make`, which must fail where there is something of that name already.
    pub(super) fn make<T>(folder: &'a OwnedFd, make: impl Fn(&OsStr) -> Result<T>) -> Result<(Self, T)> {
        static MADE: AtomicU64 = AtomicU64::new(0);
        loop {
            let number = MADE.fetch_add(1, Ordering::Relaxed);
            let name = OsString::from(format!(".transient-{}-{number}", std::process::id()));
            match make(&name) {
                Err(Errno::EXIST) => {}
                made => return made.map(|made| (Self { folder, name }, made)),
            }
        }
    }

    /// Gives it its name, in the place of what has it, if that is no directory.
    pub(super) fn becomes(self, name: &OsStr) -> Result<()> {
        rustix::fs::renameat(self.folder, &self.name, self.folder, name)
    }
}

impl Drop for Partial<'_> {
    fn drop(&mut self) {
        // One that has got its name is not there any more; but of two names of one file, renaming leaves both.
        let _ = rustix::fs::unlinkat(self.folder, &self.name, AtFlags::empty());
    }
}
