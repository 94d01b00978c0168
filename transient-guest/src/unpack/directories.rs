//! The modes and times of directories. They get them when all else is done: without their owner's right to write nothing
//! could be made in them, and what is made in them changes their times.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, fchmod, futimens};
use rustix::io::{Errno, Result};

use super::Site;
use super::make::timestamps;
use crate::inside;

/// Directories of the archive that are made.
#[derive(Debug, Default)]
pub(super) struct Directories(BTreeMap<PathBuf, (u32, (i64, u32))>);

impl Directories {
    /// Adds one; returns whether it is new. Of several of a name the last counts.
    pub(super) fn add(&mut self, path: &Path, mode: u32, modified: (i64, u32)) -> bool {
        self.0.insert(path.to_owned(), (mode, modified)).is_none()
    }

    /// Takes them all, those first that are within others.
    pub(super) fn take(&mut self) -> impl Iterator<Item = (PathBuf, (u32, (i64, u32)))> + use<> {
        std::mem::take(&mut self.0).into_iter().rev()
    }
}

/// Opens a directory inside `root` as the site wants it.
pub(super) fn open(root: impl AsFd, path: &Path, site: Site, flags: OFlags) -> Result<OwnedFd> {
    let flags = flags | OFlags::DIRECTORY;
    match site {
        Site::Image => inside::open(root, path, flags, Mode::empty()),
        Site::Host => inside::open_without_links(root, path, flags),
    }
}

/// Gives a directory its mode and time.
pub(super) fn describe(
    root: impl AsFd,
    path: &Path,
    site: Site,
    (mode, modified): (u32, (i64, u32)),
) -> Result<()> {
    let file = match open(root, path, site, OFlags::RDONLY) {
        // A later member took its place.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
        file => file?,
    };
    fchmod(&file, Mode::from_raw_mode(mode))?;
    futimens(&file, &timestamps(modified))
}
