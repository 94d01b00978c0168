//! Packing files into a tar stream, with all that [`unpack`](crate::unpack) can restore.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat, statat};

use crate::archive::SparseMap;
use crate::failure::{Doing, Failure};
use crate::inside;
use crate::notes::Notes;
use entry::Entry;
pub use source::Source;

mod entry;
mod holes;
mod source;

/// How much of a file is read at a time.
const CHUNK: usize = 256 << 10;
/// Labels belong to the system that a file is on, which sets them anew.
const LABEL: &str = "security.selinux";
/// What no archive ends without.
const END: [u8; 1024] = [0; 1024];

/// Writes files into a tar stream: owners, modes, times, holes, hard links and extended attributes are kept.
pub struct Packer<'a, W: Write> {
    output: W,
    progress: Box<dyn FnMut(u64) + 'a>,
    /// Files with several names, by device and inode, and the name that each has in the stream.
    named: HashMap<(u64, u64), Vec<u8>>,
    notes: Notes,
    buffer: Vec<u8>,
}

impl<W: Write> std::fmt::Debug for Packer<'_, W> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Packer").field("notes", &self.notes).finish_non_exhaustive()
    }
}

/// Where something is that is packed: in an open directory, its name in the stream, and its path for people.
struct Place<'a> {
    folder: &'a OwnedFd,
    name: &'a OsStr,
    target: Vec<u8>,
    shown: PathBuf,
}

impl<'a, W: Write> Packer<'a, W> {
    /// Begins a stream; `progress` is told the length of each piece that was read.
    pub fn new(output: W, progress: Box<dyn FnMut(u64) + 'a>) -> Self {
        Self { output, progress, named: HashMap::new(), notes: Notes::default(), buffer: vec![0; CHUNK] }
    }

    /// Adds what has this name in a directory and, if it is a directory itself, all that is in it: nothing else, if the
    /// name is `.`. `shown` is its path, for messages.
    ///
    /// # Errors
    ///
    /// When something cannot be read, or the output not written to.
    pub fn add(&mut self, folder: &OwnedFd, name: &OsStr, shown: &Path) -> Result<(), Failure> {
        self.visit(&Place { folder, name, target: name.as_bytes().to_vec(), shown: shown.to_owned() })
    }

    /// Ends the stream. Returns what a person should know of it, a sentence each.
    ///
    /// # Errors
    ///
    /// When the output cannot be written to.
    pub fn finish(mut self) -> Result<Vec<String>, Failure> {
        self.write(&END)?;
        Ok(self.notes.told())
    }

    fn visit(&mut self, place: &Place<'_>) -> Result<(), Failure> {
        let reading = || format!("cannot read {}", place.shown.display());
        let stat = statat(place.folder, place.name, AtFlags::SYMLINK_NOFOLLOW).doing(reading)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory {
            return self.directory(place);
        }
        if kind == FileType::Socket {
            self.notes.skipped("socket", &place.shown);
            return Ok(());
        }
        let key = (stat.st_dev, stat.st_ino);
        if let Some(first) = self.named.get(&key) {
            let entry = Entry { link: Some(first), ..Entry::new(&place.target, &stat) };
            let header = entry.hard_link();
            return self.write(&header);
        }
        if stat.st_nlink > 1 {
            self.named.insert(key, place.target.clone());
        }
        match kind {
            FileType::RegularFile => self.file(place),
            FileType::Symlink => {
                let link = readlinkat(place.folder, place.name, Vec::new()).doing(reading)?;
                let entry = Entry { link: Some(link.as_bytes()), ..self.entry(place, &stat)? };
                self.write(&entry.header())
            }
            _ => {
                let entry = self.entry(place, &stat)?;
                self.write(&entry.header())
            }
        }
    }

    fn directory(&mut self, place: &Place<'_>) -> Result<(), Failure> {
        let reading = || format!("cannot read {}", place.shown.display());
        let opened = open(place, OFlags::DIRECTORY).doing(reading)?;
        let inside = if place.name == "." {
            Vec::new()
        } else {
            let stat = fstat(&opened).doing(reading)?;
            let entry = self.entry(place, &stat)?;
            self.write(&entry.header())?;
            [&place.target, &b"/"[..]].concat()
        };
        for name in names(&opened).doing(reading)? {
            let target = [&inside, name.as_bytes()].concat();
            let shown = place.shown.join(&name);
            self.visit(&Place { folder: &opened, name: &name, target, shown })?;
        }
        Ok(())
    }

    fn file(&mut self, place: &Place<'_>) -> Result<(), Failure> {
        let reading = || format!("cannot read {}", place.shown.display());
        // Another kind of thing may have taken its place: a pipe would be waited for.
        let file = File::from(open(place, OFlags::NONBLOCK).doing(reading)?);
        let stat = fstat(&file).doing(reading)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Failure::other(format!("{} was replaced while it was read", place.shown.display())));
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let holes = holes::find(&file, &stat);
        let entry = Entry { size, holes: holes.as_ref(), ..self.entry(place, &stat)? };
        self.write(&entry.header())?;
        let whole = SparseMap { parts: vec![(0, size)], size };
        let parts = &holes.as_ref().unwrap_or(&whole).parts;
        for &(offset, length) in parts {
            self.part(&file, offset, length, &place.shown)?;
        }
        let written: u64 = parts.iter().map(|(_, length)| length).sum();
        self.write(entry::padding(written))
    }

    fn part(&mut self, file: &File, mut at: u64, length: u64, shown: &Path) -> Result<(), Failure> {
        use std::os::unix::fs::FileExt;
        let end = at + length;
        while at < end {
            let most = usize::try_from(end - at).unwrap_or(usize::MAX).min(CHUNK);
            let read = match file.read_at(&mut self.buffer[..most], at) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read.doing(|| format!("cannot read {}", shown.display()))?,
            };
            if read == 0 {
                let shown = shown.display();
                return Err(Failure::other(format!("{shown} became shorter while it was read")));
            }
            self.output.write_all(&self.buffer[..read]).doing(|| SENDING)?;
            (self.progress)(read as u64);
            at += read as u64;
        }
        Ok(())
    }

    /// Describes what is to be packed.
    fn entry<'p>(&mut self, place: &'p Place<'_>, stat: &'p Stat) -> Result<Entry<'p>, Failure> {
        let attributes = attributes(place).doing(|| format!("cannot read {}", place.shown.display()))?;
        Ok(Entry { attributes, ..Entry::new(&place.target, stat) })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.output.write_all(bytes).doing(|| SENDING)
    }
}

const SENDING: &str = "cannot write the archive";

fn open(place: &Place<'_>, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(place.folder, place.name, flags, Mode::empty())
}

/// Returns the names in a directory in an order that is always the same.
fn names(folder: impl AsFd) -> rustix::io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name != "." && name != ".." {
            names.push(name.to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Returns the extended attributes; none where the filesystem has none.
fn attributes(place: &Place<'_>) -> io::Result<Vec<(OsString, Vec<u8>)>> {
    let path = inside::path_in(place.folder, place.name);
    let names = match xattr::list(&path) {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => return Ok(Vec::new()),
        names => names?,
    };
    let mut attributes = Vec::new();
    for name in names.filter(|name| name != LABEL) {
        if let Some(value) = xattr::get(&path, &name)? {
            attributes.push((name, value));
        }
    }
    Ok(attributes)
}

#[cfg(test)]
mod tests;
