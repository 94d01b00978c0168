//! A disk image from outside: opened once, looked at, converted, and refused if it changes meanwhile.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use super::Plain;
use crate::image::header::{Format, Header};
use crate::process::qemu_img;
use crate::{CancelToken, Error, ErrorKind};

/// How far into a file one looks for what makes it a web page, in bytes.
const PAGE_START: usize = 512;

/// Opens a file without waiting, whatever has been put in its place since somebody looked.
pub(super) fn open_now(path: &Path) -> io::Result<File> {
    let file = File::options().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is no regular file")) }
}

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
    pub(super) fn inspect(plain: Plain, cancel: &CancelToken) -> Result<Self, Error> {
        let Plain { file, witness, named, .. } = plain;
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
        if header.format == Format::Raw && is_page(&file).map_err(|error| unreadable(&named, error))? {
            return Err(
                refused(&named, "it is a web page").hint("the address may be that of a page about the image")
            );
        }
        Ok(Self { file, named, header, witness })
    }

    pub(super) fn header(&self) -> &Header {
        &self.header
    }

    /// Writes the disk into a new qcow2 file. `progress` is given the part that is done, from 0 to 1.
    pub(super) fn convert(
        &self,
        destination: &Path,
        progress: &mut dyn FnMut(f64),
        cancel: &CancelToken,
    ) -> Result<(), Error> {
        let converted = qemu_img::convert_open(&self.file, self.header.format, destination, progress, cancel);
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

    pub(super) fn length(&self) -> u64 {
        self.length
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

/// Any file can be a raw disk; but no disk begins as a web page does.
fn is_page(file: &File) -> io::Result<bool> {
    let mut start = vec![0; PAGE_START];
    let length = file.read_at(&mut start, 0)?;
    let start = start[..length].trim_ascii_start().to_ascii_lowercase();
    Ok(start.starts_with(b"<!doctype html") || start.starts_with(b"<html"))
}

pub(super) fn unreadable(named: &str, error: io::Error) -> Error {
    Error::new(ErrorKind::SourceFailed, format!("cannot read the image file '{named}'")).caused_by(error)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    struct Fixture {
        folder: tempfile::TempDir,
        cancel: CancelToken,
    }

    impl Fixture {
        fn new() -> Self {
            let fixture = Self { folder: tempfile::tempdir().expect("a folder"), cancel: CancelToken::new() };
            fs::write(fixture.at("disk"), vec![7; 1 << 20]).expect("written");
            fixture
        }

        fn at(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn inspect(&self) -> Candidate {
            let file = open_now(&self.at("disk")).expect("there");
            let witness = Witness::of(&file, "disk").expect("readable");
            let (compression, checksum) = (None, None);
            let plain = Plain { file, witness, named: "disk".to_owned(), compression, checksum };
            Candidate::inspect(plain, &self.cancel).expect("an image")
        }

        fn convert(&self, candidate: &Candidate) -> Result<(), Error> {
            candidate.convert(&self.at("out"), &mut |_| {}, &self.cancel)
        }
    }

    #[test]
    fn a_file_that_changes_is_refused() {
        let changes: [fn(&Path); 4] = [
            |path| File::options().write(true).open(path).unwrap().write_all_at(b"QFI", 0).unwrap(),
            |path| File::options().write(true).open(path).unwrap().set_len(512).unwrap(),
            |path| {
                // Its times can be set back, but not without a trace.
                let file = File::options().write(true).open(path).unwrap();
                let before = file.metadata().unwrap().modified().unwrap();
                file.write_all_at(b"QFI", 0).unwrap();
                file.set_modified(before).unwrap();
            },
            |path| fs::remove_file(path).unwrap(),
        ];
        for change in changes {
            let fixture = Fixture::new();
            let candidate = fixture.inspect();
            // Times are kept only so finely.
            std::thread::sleep(std::time::Duration::from_millis(20));
            change(&fixture.at("disk"));
            let error = fixture.convert(&candidate).expect_err("changed");
            assert_eq!(error.kind(), ErrorKind::SourceFailed);
            assert_eq!(error.to_string(), "the image file 'disk' changed while it was read");
        }
    }

    #[test]
    fn a_file_that_stays_is_converted() {
        let fixture = Fixture::new();
        let candidate = fixture.inspect();
        assert_eq!(candidate.header().virtual_size, 1 << 20);
        // Others may read it, and put something else beside it.
        fs::read(fixture.at("disk")).expect("readable");
        fs::write(fixture.at("other"), "x").expect("written");
        fixture.convert(&candidate).expect("converted");
    }

    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let fixture = Fixture::new();
        let pipe = fixture.at("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0)
            .expect("made");
        assert!(open_now(&pipe).is_err());
        assert!(open_now(fixture.folder.path()).is_err());
    }
}
