//! An image that comes through a pipe.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;

use super::file::unreadable;
use super::intake::Origin;
use super::receive::{Contents, receive};
use super::{Place, Plain};
use crate::{CancelToken, Error};

/// How often a cancel is looked for while nothing comes.
const POLL: Duration = Duration::from_millis(50);

/// A pipe that is open.
pub(super) struct Pipe {
    file: File,
    path: PathBuf,
    cancel: CancelToken,
}

impl Pipe {
    /// Opens a pipe without waiting for its other end.
    pub(super) fn open(path: &Path, cancel: &CancelToken) -> Result<Self, Error> {
        let file = File::options().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path);
        let file = file.map_err(|error| unreadable(path, error))?;
        Ok(Self { file, path: path.to_owned(), cancel: cancel.clone() })
    }

    /// Returns a file with what comes through the pipe, unpacked.
    pub(super) fn fetch(self, place: &Place<'_>) -> Result<Plain, Error> {
        let named = self.path.display().to_string();
        let origin = Origin {
            named: named.clone(),
            task: format!("Reading {named}"),
            total: None,
            checksum: place.checksum.cloned(),
            stream: Box::new(self),
        };
        Plain::received(receive(origin, Contents::Disk, place)?, named)
    }

    /// Waits until there is something to read, or nothing to come.
    fn wait(&self) -> io::Result<()> {
        let timeout = Timespec::try_from(POLL).map_err(io::Error::other)?;
        loop {
            self.cancel.check().map_err(io::Error::other)?;
            let mut polled = [PollFd::new(&self.file, PollFlags::IN)];
            if poll(&mut polled, Some(&timeout))? > 0 {
                return Ok(());
            }
        }
    }
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.wait()?;
        self.file.read(buffer).map_err(|error| match error.kind() {
            // Another reader was faster.
            io::ErrorKind::WouldBlock => io::ErrorKind::Interrupted.into(),
            io::ErrorKind::Interrupted => error,
            _ => io::Error::other(unreadable(&self.path, error)),
        })
    }
}
