//! COPY: files and directories of the build directory as a tar stream.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, openat, readlinkat, statat};
use tar::{Builder, EntryType, Header};

use super::context::{Hidden, Source};
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
        let target = source.target_name().map(Path::to_owned).unwrap_or_default();
        self.entry(source.folder.as_fd(), source.name.as_os_str(), &target, &source.shown)
    }

    /// Ends the stream.
    pub(super) fn finish(mut self) -> Result<(), Error> {
        self.tar.finish().map_err(|error| Error::io("cannot send to the builder VM", error))
    }

    fn entry(&mut self, folder: impl AsFd, name: &OsStr, target: &Path, shown: &Path) -> Result<(), Error> {
        let stat = statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| unreadable(shown, error.into()))?;
        if self.hidden.contains(&(stat.st_dev, stat.st_ino)) {
            return Ok(());
        }
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => self.directory(folder, name, target, shown, &stat),
            FileType::RegularFile => self.file(folder, name, target, shown, &stat),
            FileType::Symlink => {
                let link =
                    readlinkat(&folder, name, Vec::new()).map_err(|error| unreadable(shown, error.into()))?;
                let mut header = header(&stat, EntryType::Symlink);
                let link = Path::new(OsStr::from_bytes(link.as_bytes()));
                self.tar.append_link(&mut header, target, link).map_err(|error| unsent(shown, error))
            }
            FileType::Fifo => {
                let mut header = header(&stat, EntryType::Fifo);
                self.tar.append_data(&mut header, target, io::empty()).map_err(|error| unsent(shown, error))
            }
            _ => Err(Error::new(
                ErrorKind::InvalidSource,
                format!("cannot copy '{}': it is neither a file, a directory nor a link", shown.display()),
            )),
        }
    }

    fn directory(
        &mut self,
        folder: impl AsFd,
        name: &OsStr,
        target: &Path,
        shown: &Path,
        stat: &Stat,
    ) -> Result<(), Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened =
            openat(&folder, name, flags, Mode::empty()).map_err(|error| unreadable(shown, error.into()))?;
        if !target.as_os_str().is_empty() {
            let mut header = header(stat, EntryType::Directory);
            self.tar.append_data(&mut header, target, io::empty()).map_err(|error| unsent(shown, error))?;
        }
        for name in names(&opened, shown)? {
            self.entry(&opened, &name, &target.join(&name), &shown.join(&name))?;
        }
        Ok(())
    }

    fn file(
        &mut self,
        folder: impl AsFd,
        name: &OsStr,
        target: &Path,
        shown: &Path,
        stat: &Stat,
    ) -> Result<(), Error> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened =
            openat(&folder, name, flags, Mode::empty()).map_err(|error| unreadable(shown, error.into()))?;
        let mut header = header(stat, EntryType::Regular);
        header.set_size(u64::try_from(stat.st_size).unwrap_or(0));
        let counted = Counted {
            file: File::from(opened),
            left: header.size().unwrap_or(0),
            progress: &mut self.progress,
        };
        self.tar.append_data(&mut header, target, counted).map_err(|error| unsent(shown, error))
    }
}

/// Returns the bytes of all files of a source, for progress.
pub(super) fn total_size(source: &Source, hidden: &Hidden) -> u64 {
    size(&source.folder, source.name.as_os_str(), hidden)
}

/// What cannot be read counts nothing here; copying it tells why.
fn size(folder: impl AsFd, name: &OsStr, hidden: &Hidden) -> u64 {
    let Ok(stat) = statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) else { return 0 };
    if hidden.contains(&(stat.st_dev, stat.st_ino)) {
        return 0;
    }
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => u64::try_from(stat.st_size).unwrap_or(0),
        FileType::Directory => {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let Ok(opened) = openat(&folder, name, flags, Mode::empty()) else { return 0 };
            let names = names(&opened, Path::new("")).unwrap_or_default();
            names.iter().map(|name| size(&opened, name, hidden)).sum()
        }
        _ => 0,
    }
}

/// The names in a folder, sorted, so that the same folder always gives the same stream.
fn names(folder: &OwnedFd, shown: &Path) -> Result<Vec<std::ffi::OsString>, Error> {
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

fn unreadable(shown: &Path, error: io::Error) -> Error {
    Error::new(ErrorKind::InvalidSource, format!("cannot read '{}'", shown.display())).caused_by(error)
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
