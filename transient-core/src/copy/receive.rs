//! A tar stream from a VM, of which nothing is trusted, as files of the host.

use std::fs;
use std::io::{self, BufRead, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use transient_guest::failure::Failure;
use transient_guest::inside;
use transient_guest::pack::Source;
use transient_guest::protocol::FailureCause;
use transient_guest::unpack::{Places, Site, unpack};

use crate::{Error, ErrorKind};

/// Where things are written, and under which name alone.
#[derive(Debug)]
pub(crate) struct Target {
    place: Place,
    path: PathBuf,
}

#[derive(Debug)]
enum Place {
    /// In this directory.
    There(OwnedFd, Places),
    /// In a directory that is to be made.
    New,
}

impl Target {
    /// Finds where a copy of `source`, which is in a VM, goes, one of `several` with that destination or the only one.
    pub(crate) fn find(source: &Path, destination: &Path, several: bool) -> Result<Self, Error> {
        let invalid = |message: String| Error::new(ErrorKind::InvalidArgument, message);
        let source = Source::of(source).map_err(|failure| invalid(failure.message))?;
        let needs_directory = several || destination.as_os_str().as_bytes().ends_with(b"/");
        let path = destination.to_owned();
        if destination.is_dir() {
            let places = source.name().map_or_else(Places::top, |name| Places::only(name, name));
            return Ok(Self { place: Place::There(open(destination)?, places), path });
        }
        if needs_directory {
            let message = format!("'{}' is no directory", destination.display());
            return Err(invalid(message).hint("make it, or name a file to be written"));
        }
        let (Some(folder), Some(own)) = (destination.parent(), destination.file_name()) else {
            return Err(invalid(format!("there is no directory '{}'", destination.display())));
        };
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let folder = open(folder)?;
        let place = match source.name() {
            Some(name) => Place::There(folder, Places::only(name, own)),
            None if destination.symlink_metadata().is_ok() => {
                return Err(invalid(format!("'{}' is no directory", destination.display())));
            }
            None => Place::New,
        };
        Ok(Self { place, path })
    }

    /// Unpacks the stream; `progress` is told the length of each piece that was read. Returns how many bytes it had, and
    /// what a person should know.
    pub(crate) fn receive(
        self,
        stream: &mut dyn BufRead,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(u64, Vec<String>), Error> {
        let made = matches!(self.place, Place::New);
        let (root, places) = match self.place {
            Place::There(root, places) => (root, places),
            Place::New => {
                fs::create_dir(&self.path).map_err(|error| {
                    Error::io(format!("cannot make the directory '{}'", self.path.display()), error)
                })?;
                (open(&self.path)?, Places::top())
            }
        };
        let mut stream = Counted { stream, read: 0, progress };
        let unpacked = unpack(&mut stream, root, places, Site::Host);
        if unpacked.is_err() && made {
            // Only if nothing came.
            let _ = fs::remove_dir(&self.path);
        }
        unpacked.map(|notes| (stream.read, notes)).map_err(unwritten)
    }
}

fn open(folder: &Path) -> Result<OwnedFd, Error> {
    inside::root(folder).map_err(|error| {
        let message = format!("cannot write to the directory '{}'", folder.display());
        Error::new(ErrorKind::InvalidArgument, message).caused_by(io::Error::from(error))
    })
}

fn unwritten(failure: Failure) -> Error {
    let kind = match failure.cause {
        FailureCause::NoSpace => ErrorKind::HostDiskFull,
        // The guest packs well, or is not what it was.
        FailureCause::BadArchive => ErrorKind::ConnectionLost,
        _ => ErrorKind::Io,
    };
    Error::new(kind, failure.message)
}

/// A stream that tells how much of it was read.
struct Counted<'a> {
    stream: &'a mut dyn BufRead,
    read: u64,
    progress: &'a mut dyn FnMut(u64),
}

impl BufRead for Counted<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.stream.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.stream.consume(count);
        self.read += count as u64;
        (self.progress)(count as u64);
    }
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::super::send;
    use super::*;

    fn stream(source: &Path) -> Vec<u8> {
        let mut bytes = Vec::new();
        send::Source::find(source).expect("found").send(&mut bytes, &mut |_| ()).expect("sent");
        bytes
    }

    fn receive(source: &Path, destination: &Path, bytes: &[u8]) -> Result<u64, Error> {
        let target = Target::find(source, destination, false)?;
        target.receive(&mut &bytes[..], &mut |_| ()).map(|(read, _)| read)
    }

    #[test]
    fn copies_go_where_cp_puts_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("source/d")).expect("made");
        fs::write(at("source/d/f"), "x").expect("written");
        let whole = stream(&at("source"));
        let contents = stream(&at("source/."));
        fs::create_dir(at("there")).expect("made");
        std::os::unix::fs::symlink("there", at("link")).expect("linked");
        for (source, destination, bytes, made) in [
            ("/v/source", "there", &whole, "there/source/d/f"),
            ("/v/source", "link/", &whole, "there/source/d/f"),
            ("/v/source", "new", &whole, "new/d/f"),
            ("/v/source/.", "contents", &contents, "contents/d/f"),
            ("/v/source/.", "there", &contents, "there/d/f"),
        ] {
            let _ = fs::remove_dir_all(at("there/source"));
            let read = receive(Path::new(source), &at(destination), bytes).expect("received");
            assert!(read > 512 && read <= bytes.len() as u64);
            assert_eq!(fs::read(at(made)).expect("there"), b"x", "{source} {destination}");
        }
        let file = stream(&at("source/d/f"));
        receive(Path::new("/v/f"), &at("g"), &file).expect("received");
        receive(Path::new("/v/f"), &at("g"), &file).expect("received again");
        assert_eq!(fs::read(at("g")).expect("there"), b"x");
        receive(Path::new("/v/source"), &at("g"), &whole).expect_err("a file is no directory");
        receive(Path::new("/v/f"), &at("new"), &file).expect("received");
        assert_eq!(fs::read(at("new/f")).expect("there"), b"x");
    }

    #[test]
    fn a_destination_that_cannot_be_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("file"), "").expect("written");
        let find = |source: &str, destination: &str, several| {
            Target::find(Path::new(source), &folder.path().join(destination), several)
        };
        for (source, destination, several) in [
            ("/f", "none/", false),
            ("/f", "none", true),
            ("/f", "file/", false),
            ("/f", "none/deep", false),
            ("/f/.", "file", false),
            ("/f/..", ".", false),
        ] {
            let error = find(source, destination, several).expect_err("refused");
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{source} {destination}: {error}");
        }
        find("/f", "file", false).expect("a file is replaced");
        find("/f", ".", true).expect("a directory");
    }

    #[test]
    fn a_stream_that_is_cut_off_leaves_nothing_in_part() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        fs::write(at("source"), [7; 5000]).expect("written");
        let bytes = stream(&at("source"));
        for length in [0, 100, 600, 5000] {
            let result = receive(Path::new("/source"), &at("copy"), &bytes[..length]);
            // Nothing at all is an empty archive.
            assert!(length == 0 || result.is_err_and(|error| error.kind() == ErrorKind::ConnectionLost));
            assert_eq!(fs::read_dir(folder.path()).expect("read").count(), 1);
        }
        receive(Path::new("/source/."), &at("new"), &bytes[..100]).expect_err("cut off");
        assert!(!at("new").exists());
    }
}
