//! `file=PATH`: a file of the host, plain or compressed, in any format that `qemu-img` reads.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use super::candidate::{Witness, open_now};
use super::intake::{Intake, Origin};
use super::receive::{Contents, MAGIC, receive};
use super::{Place, Plain};
use crate::image::header::Compression;
use crate::{Error, ErrorKind};

/// A file that is open.
pub(super) struct ImageFile {
    file: File,
    path: PathBuf,
    witness: Witness,
}

impl ImageFile {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let failed = |error| unreadable(path, error);
        // Opening, say, a named pipe would wait for its other end.
        if !std::fs::metadata(path).map_err(failed)?.is_file() {
            let message = format!("'{}' is no regular file", path.display());
            return Err(Error::new(ErrorKind::SourceFailed, message).hint("name the file of a disk image"));
        }
        let file = open_now(path).map_err(failed)?;
        let witness = Witness::of(&file, &path.display().to_string())?;
        Ok(Self { file, path: path.to_owned(), witness })
    }

    /// Returns the file itself where it can be used as it is, else what it holds.
    pub(super) fn fetch(mut self, place: &Place<'_>) -> Result<Plain, Error> {
        let named = self.path.display().to_string();
        if self.compression().map_err(|error| unreadable(&self.path, error))?.is_some() {
            let unpacked =
                receive(self.origin(format!("Decompressing {named}"), place)?, Contents::Disk, place);
            // A change is the better explanation of a failure, too.
            self.witness.check(&self.file, &named)?;
            return Plain::received(unpacked?, named);
        }
        if place.checksum.is_some() {
            Intake::new(self.origin(format!("Checking {named}"), place)?, place).finish()?;
        }
        Ok(Plain {
            file: self.file,
            witness: self.witness,
            named,
            compression: None,
            checksum: place.checksum.cloned(),
        })
    }

    fn compression(&mut self) -> io::Result<Option<Compression>> {
        let mut start = Vec::new();
        (&self.file).take(MAGIC as u64).read_to_end(&mut start)?;
        self.file.rewind()?;
        Ok(Compression::detect(&start))
    }

    fn origin(&self, task: String, place: &Place<'_>) -> Result<Origin, Error> {
        let file = self.file.try_clone().map_err(|error| unreadable(&self.path, error))?;
        Ok(Origin {
            named: self.path.display().to_string(),
            task,
            total: Some(self.witness.length()),
            checksum: place.checksum.cloned(),
            stream: Box::new(Contained { file, path: self.path.clone() }),
        })
    }
}

/// What a file holds; errors are explained.
struct Contained {
    file: File,
    path: PathBuf,
}

impl Read for Contained {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => error,
            _ => io::Error::other(unreadable(&self.path, error)),
        })
    }
}

pub(super) fn unreadable(path: &Path, error: io::Error) -> Error {
    let hint = match error.kind() {
        io::ErrorKind::NotFound if path.is_relative() => Some("a path is relative to the current directory"),
        io::ErrorKind::PermissionDenied => Some("check its owner and permissions"),
        _ => None,
    };
    let message = format!("cannot read the image file '{}'", path.display());
    let error = Error::new(ErrorKind::SourceFailed, message).caused_by(error);
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}
