//! Files of the host as a tar stream.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, statat};
use transient_guest::pack::{Packer, Source as Named};
use transient_guest::protocol::Placement;
use walkdir::WalkDir;

use crate::{Error, ErrorKind};

/// A file, directory or link of the host, in its folder, which is open.
#[derive(Debug)]
pub(crate) struct Source {
    folder: OwnedFd,
    path: PathBuf,
}

impl Source {
    /// Finds it. Links on the way are followed; it itself may be one.
    pub(crate) fn find(path: &Path) -> Result<Self, Error> {
        let (folder, name) = named(path)?.place();
        let unreadable = |error: std::io::Error| {
            Error::new(ErrorKind::InvalidSource, format!("cannot read '{}'", path.display())).caused_by(error)
        };
        let folder = transient_guest::inside::root(folder).map_err(|error| unreadable(error.into()))?;
        statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|error| unreadable(error.into()))?;
        // One file can be tried at once; of a directory it shows later.
        if path.symlink_metadata().is_ok_and(|metadata| metadata.is_file()) {
            File::open(path).map_err(unreadable)?;
        }
        Ok(Self { folder, path: path.to_owned() })
    }

    /// Returns how it goes to `destination`, one of `several` sources or the only one.
    pub(crate) fn placement(&self, destination: &Path, several: bool) -> Placement {
        let into_directory = several || destination.as_os_str().as_bytes().ends_with(b"/");
        match named(&self.path).ok().and_then(Named::name) {
            Some(name) if !into_directory => Placement::AsOrInto(name.into()),
            _ => Placement::Into,
        }
    }

    /// Returns the bytes of all its files, for progress. What cannot be read counts nothing here; sending it tells why.
    pub(crate) fn total_size(&self) -> u64 {
        let entries = WalkDir::new(&self.path).follow_root_links(false).into_iter().flatten();
        entries.filter_map(|entry| entry.metadata().ok()).filter(|m| m.is_file()).map(|m| m.len()).sum()
    }

    /// Writes it as a tar stream; `progress` is told the length of each piece that was read. Returns what a person should
    /// know.
    pub(crate) fn send(
        &self,
        output: &mut dyn Write,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Vec<String>, Error> {
        let (_, name) = named(&self.path)?.place();
        let mut packer = Packer::new(output, Box::new(progress));
        let packed = packer.add(&self.folder, name, &self.path).and_then(|()| packer.finish());
        packed.map_err(|failure| Error::new(ErrorKind::InvalidSource, failure.message))
    }
}

fn named(path: &Path) -> Result<Named<'_>, Error> {
    Named::of(path).map_err(|failure| {
        Error::new(ErrorKind::InvalidArgument, failure.message)
            .hint("name it by its path; '/.' at the end of a directory's path means what is in it")
    })
}
