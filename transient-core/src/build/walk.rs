//! Walking over sources of COPY and ADD.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, openat, readlinkat, statat};

use super::context::{Hidden, Source};
use crate::{Error, ErrorKind};

/// A file, directory or link that was found.
pub(super) struct Found<'a> {
    folder: BorrowedFd<'a>,
    name: &'a OsStr,
    /// Its path in the image, from the destination; empty for a build directory that was named by `.`.
    pub(super) target: &'a Path,
    /// Its path, for messages.
    pub(super) shown: &'a Path,
    pub(super) stat: Stat,
}

/// Tells `each` of a source, and of all that is in it: directories before what they hold, in the order of the names,
/// so that the same folder is always the same.
pub(super) fn walk(
    source: &Source,
    hidden: &Hidden,
    each: &mut dyn FnMut(&Found<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let target = source.target_name().unwrap_or(Path::new(""));
    visit(source.folder.as_fd(), source.name.as_os_str(), target, &source.shown, hidden, each)
}

fn visit(
    folder: BorrowedFd<'_>,
    name: &OsStr,
    target: &Path,
    shown: &Path,
    hidden: &Hidden,
    each: &mut dyn FnMut(&Found<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let stat =
        statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|error| unreadable(shown, error.into()))?;
    if hidden.contains(&(stat.st_dev, stat.st_ino)) {
        return Ok(());
    }
    let found = Found { folder, name, target, shown, stat };
    each(&found)?;
    if found.kind() != FileType::Directory {
        return Ok(());
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened =
        openat(folder, name, flags, Mode::empty()).map_err(|error| unreadable(shown, error.into()))?;
    names(&opened, shown)?
        .iter()
        .try_for_each(|name| visit(opened.as_fd(), name, &target.join(name), &shown.join(name), hidden, each))
}

impl Found<'_> {
    pub(super) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    /// In bytes.
    pub(super) fn size(&self) -> u64 {
        u64::try_from(self.stat.st_size).unwrap_or(0)
    }

    /// Opens a file, unless another kind of thing has taken its place.
    pub(super) fn open(&self) -> Result<File, Error> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(self.folder, self.name, flags, Mode::empty());
        file.map(File::from).map_err(|error| unreadable(self.shown, error.into()))
    }

    /// Returns where a link leads.
    pub(super) fn link(&self) -> Result<OsString, Error> {
        let link = readlinkat(self.folder, self.name, Vec::new())
            .map_err(|error| unreadable(self.shown, error.into()))?;
        Ok(OsStr::from_bytes(link.as_bytes()).to_owned())
    }
}

fn names(folder: &OwnedFd, shown: &Path) -> Result<Vec<OsString>, Error> {
    let entries = Dir::read_from(folder).map_err(|error| unreadable(shown, error.into()))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| unreadable(shown, error.into()))?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name != "." && name != ".." {
            names.push(name.to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

pub(super) fn unreadable(shown: &Path, error: io::Error) -> Error {
    Error::new(ErrorKind::InvalidSource, format!("cannot read '{}'", shown.display())).caused_by(error)
}
