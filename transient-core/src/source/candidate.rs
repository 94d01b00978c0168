//! A disk image from outside: opened once, looked at, converted, and refused if it changes meanwhile.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::image::header::{Format, Header};
use crate::process::qemu_img;
use crate::{CancelToken, Error, ErrorKind};

/// A file that QEMU may read.
#[derive(Debug)]
pub(super) struct Candidate {
    file: File,
    /// What the user calls it.
    named: String,
    header: Header,
    witness: Witness,
}

impl Candidate {
    /// Looks at the image, and refuses what QEMU must not read.
    pub(super) fn inspect(file: File, named: String, cancel: &CancelToken) -> Result<Self, Error> {
        let witness = Witness::of(&file, &named)?;
        if witness.length == 0 {
            return Err(refused(&named, "it is empty"));
        }
        let header = match Header::inspect(&file, cancel) {
            Ok(header) => header,
            Err(error) => {
                cancel.check()?;
                return Err(unreadable(&named, error));
            }
        };
        if let Some(reason) = header.refusal() {
            let error = refused(&named, reason);
            return Err(match header.hint() {
                Some(hint) => error.hint(hint),
                None => error,
            });
        }
        Ok(Self { file, named, header, witness })
    }

    pub(super) fn virtual_size(&self) -> u64 {
        self.header.virtual_size
    }

    pub(super) fn format(&self) -> Format {
        self.header.format
    }

    /// Writes the disk into a new qcow2 file. `progress` is given the part that is done, from 0 to 1.
    pub(super) fn convert(
        &self,
        destination: &Path,
        progress: &mut dyn FnMut(f64),
        cancel: &CancelToken,
    ) -> Result<(), Error> {
        let converted = qemu_img::convert_open(&self.file, self.format(), destination, progress, cancel);
        cancel.check()?;
        // A change is the better explanation of a failure, too.
        self.witness.check(&self.file, &self.named)?;
        converted
    }
}

/// What tells that a file was written to. Nobody can set the time of a change back.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Witness {
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Witness {
    pub(super) fn of(file: &File, named: &str) -> Result<Self, Error> {
        let of = |metadata: Metadata| Self {
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        };
        file.metadata().map(of).map_err(|error| unreadable(named, error))
    }

    /// Checks that the file is as it was.
    pub(super) fn check(&self, file: &File, named: &str) -> Result<(), Error> {
        if Self::of(file, named)? == *self {
            return Ok(());
        }
        let message = format!("the image file '{named}' changed while it was read");
        Err(Error::new(ErrorKind::SourceFailed, message)
            .hint("wait until it is whole and no VM runs on it, then try again"))
    }
}

fn refused(named: &str, reason: &str) -> Error {
    Error::new(ErrorKind::InvalidImage, format!("the image file '{named}' is refused: {reason}"))
}

fn unreadable(named: &str, error: io::Error) -> Error {
    Error::new(ErrorKind::SourceFailed, format!("cannot read the image file '{named}'")).caused_by(error)
}
