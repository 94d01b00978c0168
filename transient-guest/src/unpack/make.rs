//! The steps by which one file is made.

use std::ffi::OsStr;
use std::io::BufRead;
use std::os::fd::OwnedFd;

use rustix::fs::{FileType, Mode, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;

use crate::archive::{Archive, Broken, Kind, Member};
use crate::failure::Failure;
use crate::protocol::FailureCause;

/// A directory that things are made in.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) file: OwnedFd,
    /// New files take its group, so that theirs must be set.
    pub(super) gives_group: bool,
}

/// Why a member could not be unpacked.
#[derive(Debug)]
pub(super) enum Error {
    System(Errno),
    Told(Failure),
}

impl Error {
    pub(super) fn into_failure(self, doing: impl FnOnce() -> String) -> Failure {
        match self {
            Self::System(error) => Failure::system(doing(), error),
            Self::Told(failure) => failure,
        }
    }
}

impl From<Errno> for Error {
    fn from(error: Errno) -> Self {
        Self::System(error)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::Told(failure)
    }
}

impl From<Broken> for Failure {
    fn from(Broken(what): Broken) -> Self {
        Self::new(FailureCause::BadArchive, format!("cannot unpack the archive: {what}"))
    }
}

impl From<Broken> for Error {
    fn from(broken: Broken) -> Self {
        Self::Told(broken.into())
    }
}

/// Makes a link, device or FIFO.
pub(super) fn make_special(member: &Member, folder: &OwnedFd, name: &OsStr) -> rustix::io::Result<()> {
    let mode = Mode::from_raw_mode(member.mode & 0o777);
    let node = |kind, number| rustix::fs::mknodat(folder, name, kind, mode, number);
    match &member.kind {
        Kind::Link(target) => rustix::fs::symlinkat(target.as_slice(), folder, name),
        Kind::CharacterDevice(major, minor) => {
            node(FileType::CharacterDevice, rustix::fs::makedev(*major, *minor))
        }
        Kind::BlockDevice(major, minor) => node(FileType::BlockDevice, rustix::fs::makedev(*major, *minor)),
        Kind::Fifo => node(FileType::Fifo, 0),
        Kind::File(_) | Kind::Directory | Kind::HardLink(_) => Err(Errno::INVAL),
    }
}

/// Writes the next bytes of a member into a file.
pub(super) fn write_all<R: BufRead>(
    archive: &mut Archive<R>,
    file: &OwnedFd,
    offset: u64,
    length: u64,
) -> Result<(), Error> {
    let end = offset.checked_add(length).ok_or(Errno::FBIG)?;
    let mut at = offset;
    while at < end {
        let piece = archive.piece()?;
        if piece.is_empty() {
            return Err(Broken("the data of a file is cut off".to_owned()).into());
        }
        let most = usize::try_from(end - at).unwrap_or(usize::MAX);
        let written = match rustix::io::pwrite(file, &piece[..piece.len().min(most)], at) {
            Ok(0) => return Err(Errno::IO.into()),
            Err(Errno::INTR) => 0,
            written => written?,
        };
        archive.used(written);
        at += written as u64;
    }
    Ok(())
}

pub(super) fn timestamps((seconds, nanoseconds): (i64, u32)) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() },
    }
}
