//! COPY: files and directories of the build directory as a tar stream.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use rustix::fs::{FileType, Stat};
use tar::{Builder, EntryType, Header};

use super::context::{Hidden, Source};
use super::walk::{Found, walk};
use crate::{Error, ErrorKind};

/// Writes sources into a tar stream: modes and times kept, links as links, owner root.
pub(super) struct Copier<W: Write> {
    tar: Builder<W>,
    hidden: Hidden,
    progress: Box<dyn FnMut(u64) + Send>,
}

impl<W: Write> Copier<W> {
    /// `hidden` is left out; `progress` is told the length of each piece that was read.
    pub(super) fn new(output: W, hidden: Hidden, progress: Box<dyn FnMut(u64) + Send>) -> Self {
        Self { tar: Builder::new(output), hidden, progress }
    }

    /// Adds a source and, if it is a directory, all that is in it.
    pub(super) fn add(&mut self, source: &Source) -> Result<(), Error> {
        let hidden = self.hidden.clone();
        walk(source, &hidden, &mut |found| self.append(found))
    }

    /// Ends the stream.
    pub(super) fn finish(mut self) -> Result<(), Error> {
        self.tar.finish().map_err(|error| Error::io("cannot send to the builder VM", error))
    }

    fn append(&mut self, found: &Found<'_>) -> Result<(), Error> {
        let (target, shown) = (found.target, found.shown);
        let sent = match found.kind() {
            // Of the build directory itself, only what is in it goes.
            FileType::Directory if target.as_os_str().is_empty() => Ok(()),
            FileType::Directory => {
                self.tar.append_data(&mut header(&found.stat, EntryType::Directory), target, io::empty())
            }
            FileType::RegularFile => self.append_file(found)?,
            FileType::Symlink => {
                let link = found.link()?;
                self.tar.append_link(&mut header(&found.stat, EntryType::Symlink), target, link)
            }
            FileType::Fifo => {
                self.tar.append_data(&mut header(&found.stat, EntryType::Fifo), target, io::empty())
            }
            _ => {
                let message = format!(
                    "cannot copy '{}': it is neither a file, a directory nor a link",
                    shown.display()
                );
                return Err(Error::new(ErrorKind::InvalidSource, message));
            }
        };
        sent.map_err(|error| unsent(shown, error))
    }

    fn append_file(&mut self, found: &Found<'_>) -> Result<io::Result<()>, Error> {
        let mut header = header(&found.stat, EntryType::Regular);
        header.set_size(found.size());
        let counted = Counted { file: found.open()?, left: found.size(), progress: &mut self.progress };
        Ok(self.tar.append_data(&mut header, found.target, counted))
    }
}

/// Returns the bytes of all files of a source, for progress. What cannot be read counts nothing here; copying it
/// tells why.
pub(super) fn total_size(source: &Source, hidden: &Hidden) -> u64 {
    let mut total = 0;
    let counted = walk(source, hidden, &mut |found| {
        if found.kind() == FileType::RegularFile {
            total += found.size();
        }
        Ok(())
    });
    if let Err(error) = counted {
        tracing::debug!("'{}' is not counted whole: {error}", source.shown.display());
    }
    total
}

fn header(stat: &Stat, kind: EntryType) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(stat.st_mode & 0o7777);
    header.set_uid(0);
    header.set_gid(0);
    // Before 1970 a file's time cannot be told in this form.
    header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or(0));
    header.set_size(0);
    header
}

/// A file that has to have as many bytes as its header says.
struct Counted<'a> {
    file: File,
    left: u64,
    progress: &'a mut (dyn FnMut(u64) + Send),
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if room == 0 {
            return Ok(0);
        }
        let length = self.file.read(&mut buffer[..room])?;
        if length == 0 {
            return Err(io::Error::other("it became shorter while it was read"));
        }
        self.left -= length as u64;
        (self.progress)(length as u64);
        Ok(length)
    }
}

fn unsent(shown: &Path, error: io::Error) -> Error {
    Error::new(ErrorKind::InvalidSource, format!("cannot copy '{}'", shown.display())).caused_by(error)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::super::context::Context;
    use super::*;

    #[test]
    fn a_directory_goes_with_what_is_in_it_owned_by_root() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("d");
        std::fs::create_dir_all(root.join("empty")).expect("made");
        std::fs::write(root.join("tool"), "#!/bin/sh\n").expect("written");
        std::fs::set_permissions(root.join("tool"), std::fs::Permissions::from_mode(0o4755)).expect("set");
        symlink("/nowhere/at/all", root.join("link")).expect("linked");
        let long = "n".repeat(200);
        std::fs::write(root.join(&long), "").expect("written");

        std::fs::create_dir(root.join("scratch")).expect("made");
        std::fs::write(root.join("scratch/disk"), "not to be copied").expect("written");
        let mut context = Context::open(folder.path()).expect("opened");
        context.hide([root.join("scratch").as_path()]);
        let mut bytes = Vec::new();
        let mut copier = Copier::new(&mut bytes, context.hidden(), Box::new(|_| ()));
        copier.add(&context.find(Path::new("d")).expect("found")).expect("added");
        copier.finish().expect("finished");

        let mut archive = tar::Archive::new(&bytes[..]);
        let seen: Vec<_> = archive
            .entries()
            .expect("entries")
            .map(|entry| {
                let entry = entry.expect("an entry");
                let header = entry.header();
                assert_eq!((header.uid().expect("uid"), header.gid().expect("gid")), (0, 0));
                let path = entry.path().expect("a path").into_owned();
                (
                    path,
                    header.mode().expect("mode"),
                    header.entry_type(),
                    entry.link_name().expect("link").map(|link| link.into_owned()),
                )
            })
            .collect();
        let mode_of =
            |name: &str| seen.iter().find(|entry| entry.0 == Path::new("d").join(name)).expect("present");
        assert_eq!(seen.len(), 5);
        assert_eq!(mode_of("tool").1, 0o4755);
        assert_eq!(mode_of("link").3.as_deref(), Some(Path::new("/nowhere/at/all")));
        assert_eq!(mode_of(&long).2, EntryType::Regular);
        assert_eq!(mode_of("empty").2, EntryType::Directory);
    }
}
