//! A folder of this host as an SFTP server, confined to it:
//! <https://datatracker.ietf.org/doc/html/draft-ietf-secsh-filexfer-02>, with OpenSSH's extensions (its file PROTOCOL).
//!
//! The guest is not trusted: every path is resolved by the kernel inside the folder (`RESOLVE_IN_ROOT`), so that neither
//! `..` nor a link, be it made by the guest meanwhile, leads out of it.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use russh_sftp::extensions::{FSYNC, HARDLINK, STATVFS, Statvfs};
use russh_sftp::protocol::{
    Attrs, Data, ExtendedReply, File as Entry, FileAttributes, Handle, Name, OpenFlags, Packet, Status,
    StatusCode, Version,
};
use russh_sftp::server::Handler;
use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, RawMode, ResolveFlags, Stat, Timespec, Timestamps, Uid,
};
use rustix::io::Errno;

use crate::vm::config::SharedFolder;
use crate::{Error, ErrorKind};

/// The most that is read at a time.
const LONGEST_READ: u32 = 255 * 1024;
/// The most files that a guest may have open.
const MOST_OPEN: usize = 4096;
/// How many entries of a folder are told at a time.
const ENTRIES: usize = 128;
/// What the guest may set of a file's mode: nothing that runs with another's rights on this host.
const MODE: RawMode = 0o1777;
const POSIX_RENAME: &str = "posix-rename@openssh.com";

/// The folder, as one guest uses it.
pub(super) struct Share {
    root: OwnedFd,
    read_only: bool,
    open: HashMap<String, Open>,
    next: u64,
}

enum Open {
    File(File),
    /// What is left to tell of a folder.
    Folder(Vec<Entry>),
}

/// Why a request is refused.
pub(super) struct Refused(StatusCode, String);

impl From<Refused> for russh_sftp::server::StatusReply {
    fn from(refused: Refused) -> Self {
        refused.0.with_message(refused.1)
    }
}

impl From<Errno> for Refused {
    fn from(error: Errno) -> Self {
        let code = match error {
            Errno::NOENT | Errno::NOTDIR | Errno::LOOP => StatusCode::NoSuchFile,
            Errno::ACCESS | Errno::PERM | Errno::ROFS => StatusCode::PermissionDenied,
            _ => StatusCode::Failure,
        };
        Self(code, std::io::Error::from(error).to_string())
    }
}

impl From<std::io::Error> for Refused {
    fn from(error: std::io::Error) -> Self {
        error.raw_os_error().map_or_else(
            || Self(StatusCode::Failure, error.to_string()),
            |number| Errno::from_raw_os_error(number).into(),
        )
    }
}

type Result<T> = std::result::Result<T, Refused>;

impl Share {
    pub(super) fn open(folder: &SharedFolder) -> std::result::Result<Self, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(&folder.host, flags, Mode::empty()).map_err(|error| {
            let message = format!("the folder '{}' cannot be shared", folder.host.display());
            Error::new(ErrorKind::InvalidArgument, message).caused_by(std::io::Error::from(error))
        })?;
        Ok(Self { root, read_only: folder.read_only, open: HashMap::new(), next: 0 })
    }

    fn resolve(&self, path: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        // The empty path is the folder itself.
        let path = if path.is_empty() { "." } else { path };
        Ok(rustix::fs::openat2(&self.root, path, flags | OFlags::CLOEXEC, mode, resolve)?)
    }

    /// Returns the folder that something is in, and its name there, which is not followed.
    fn parent<'p>(&self, path: &'p str) -> Result<(OwnedFd, &'p Path)> {
        let trimmed = path.trim_end_matches('/');
        let (parent, name) = trimmed.rsplit_once('/').unwrap_or(("", trimmed));
        let parent = if parent.is_empty() { "/" } else { parent };
        let folder = self.resolve(parent, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
        // Of the folder itself, and of what is above one, nothing can be done by name.
        let name = if matches!(name, "" | "." | "..") { "." } else { name };
        Ok((folder, Path::new(name)))
    }

    /// As [`Self::parent`], for what changes something.
    fn parent_to_change<'p>(&self, path: &'p str) -> Result<(OwnedFd, &'p Path)> {
        self.check_writable()?;
        match self.parent(path)? {
            (_, name) if name == Path::new(".") => Err(Errno::PERM.into()),
            found => Ok(found),
        }
    }

    fn check_writable(&self) -> Result<()> {
        if self.read_only { Err(Errno::ROFS.into()) } else { Ok(()) }
    }

    fn keep(&mut self, id: u32, open: Open) -> Result<Handle> {
        if self.open.len() >= MOST_OPEN {
            return Err(Errno::MFILE.into());
        }
        self.next += 1;
        let handle = self.next.to_string();
        self.open.insert(handle.clone(), open);
        Ok(Handle { id, handle })
    }

    fn file(&self, handle: &str) -> Result<&File> {
        match self.open.get(handle) {
            Some(Open::File(file)) => Ok(file),
            _ => Err(Errno::BADF.into()),
        }
    }

    fn change(&self, file: &OwnedFd, attributes: &FileAttributes) -> Result<()> {
        // Through the number of the descriptor: one that only names a file can change nothing itself.
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file));
        if let Some(size) = attributes.size {
            File::options().write(true).open(&path)?.set_len(size)?;
        }
        if attributes.uid.is_some() || attributes.gid.is_some() {
            let (owner, group) = (attributes.uid.map(Uid::from_raw), attributes.gid.map(Gid::from_raw));
            rustix::fs::chown(&path, owner, group)?;
        }
        if let Some(mode) = attributes.permissions {
            rustix::fs::chmod(&path, Mode::from_raw_mode(mode & MODE))?;
        }
        if attributes.atime.is_some() || attributes.mtime.is_some() {
            let time = |seconds: Option<u32>| match seconds {
                Some(seconds) => Timespec { tv_sec: seconds.into(), tv_nsec: 0 },
                None => Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
            };
            let times =
                Timestamps { last_access: time(attributes.atime), last_modification: time(attributes.mtime) };
            rustix::fs::utimensat(rustix::fs::CWD, &path, &times, AtFlags::empty())?;
        }
        Ok(())
    }

    fn entries(&self, path: &str) -> Result<Vec<Entry>> {
        let folder = self.resolve(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
        let mut entries = Vec::new();
        for entry in Dir::read_from(&folder)? {
            let entry = entry?;
            // The protocol's implementation has names as text.
            let Ok(name) = entry.file_name().to_str() else { continue };
            if let Ok(stat) = rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
                entries.push(Entry {
                    filename: name.to_owned(),
                    longname: name.to_owned(),
                    attrs: attributes(&stat),
                });
            }
        }
        Ok(entries)
    }
}

fn attributes(stat: &Stat) -> FileAttributes {
    let seconds = |time: i64| u32::try_from(time).unwrap_or(0);
    FileAttributes {
        size: u64::try_from(stat.st_size).ok(),
        uid: Some(stat.st_uid),
        gid: Some(stat.st_gid),
        permissions: Some(stat.st_mode),
        atime: Some(seconds(stat.st_atime)),
        mtime: Some(seconds(stat.st_mtime)),
        user: None,
        group: None,
    }
}

fn done(id: u32) -> Status {
    Status { id, status_code: StatusCode::Ok, error_message: String::new(), language_tag: String::new() }
}

impl Handler for Share {
    type Error = Refused;

    fn unimplemented(&self) -> Refused {
        Refused(StatusCode::OpUnsupported, "not supported".to_owned())
    }

    async fn init(&mut self, _version: u32, _extensions: HashMap<String, String>) -> Result<Version> {
        let mut version = Version::new();
        for (extension, number) in [(POSIX_RENAME, "1"), (HARDLINK, "1"), (FSYNC, "1"), (STATVFS, "2")] {
            version.extensions.insert(extension.to_owned(), number.to_owned());
        }
        Ok(version)
    }

    async fn open(
        &mut self,
        id: u32,
        path: String,
        flags: OpenFlags,
        wanted: FileAttributes,
    ) -> Result<Handle> {
        let writes =
            flags.intersects(OpenFlags::WRITE | OpenFlags::APPEND | OpenFlags::CREATE | OpenFlags::TRUNCATE);
        if writes {
            self.check_writable()?;
        }
        let mut how =
            match (flags.contains(OpenFlags::READ), flags.intersects(OpenFlags::WRITE | OpenFlags::APPEND)) {
                (true, true) => OFlags::RDWR,
                (false, true) => OFlags::WRONLY,
                _ => OFlags::RDONLY,
            };
        how.set(OFlags::CREATE, flags.contains(OpenFlags::CREATE));
        how.set(OFlags::TRUNC, flags.contains(OpenFlags::TRUNCATE));
        how.set(OFlags::EXCL, flags.contains(OpenFlags::EXCLUDE));
        // A pipe must not stop us until somebody opens its other end, and a terminal must not become ours.
        how |= OFlags::NONBLOCK | OFlags::NOCTTY;
        let mode = match how.contains(OFlags::CREATE) {
            true => Mode::from_raw_mode(wanted.permissions.unwrap_or(0o666) & MODE),
            false => Mode::empty(),
        };
        let file = self.resolve(&path, how, mode)?;
        if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::RegularFile {
            return Err(Errno::ACCESS.into());
        }
        self.keep(id, Open::File(file.into()))
    }

    async fn close(&mut self, id: u32, handle: String) -> Result<Status> {
        self.open.remove(&handle).map(|_| done(id)).ok_or_else(|| Errno::BADF.into())
    }

    async fn read(&mut self, id: u32, handle: String, offset: u64, length: u32) -> Result<Data> {
        let mut data = vec![0; length.min(LONGEST_READ) as usize];
        let mut filled = 0;
        while filled < data.len() {
            match self.file(&handle)?.read_at(&mut data[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(length) => filled += length,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        if filled == 0 && length > 0 {
            return Err(Refused(StatusCode::Eof, String::new()));
        }
        data.truncate(filled);
        Ok(Data { id, data })
    }

    async fn write(&mut self, id: u32, handle: String, offset: u64, data: Vec<u8>) -> Result<Status> {
        self.check_writable()?;
        self.file(&handle)?.write_all_at(&data, offset)?;
        Ok(done(id))
    }

    async fn lstat(&mut self, id: u32, path: String) -> Result<Attrs> {
        let (folder, name) = self.parent(&path)?;
        let stat = rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(Attrs { id, attrs: attributes(&stat) })
    }

    async fn stat(&mut self, id: u32, path: String) -> Result<Attrs> {
        let file = self.resolve(&path, OFlags::PATH, Mode::empty())?;
        Ok(Attrs { id, attrs: attributes(&rustix::fs::fstat(&file)?) })
    }

    async fn fstat(&mut self, id: u32, handle: String) -> Result<Attrs> {
        Ok(Attrs { id, attrs: attributes(&rustix::fs::fstat(self.file(&handle)?)?) })
    }

    async fn setstat(&mut self, id: u32, path: String, attrs: FileAttributes) -> Result<Status> {
        self.check_writable()?;
        let file = self.resolve(&path, OFlags::PATH, Mode::empty())?;
        self.change(&file, &attrs)?;
        Ok(done(id))
    }

    async fn fsetstat(&mut self, id: u32, handle: String, attrs: FileAttributes) -> Result<Status> {
        self.check_writable()?;
        let file = self.file(&handle)?.try_clone()?;
        self.change(&file.into(), &attrs)?;
        Ok(done(id))
    }

    async fn opendir(&mut self, id: u32, path: String) -> Result<Handle> {
        let mut entries = self.entries(&path)?;
        entries.reverse();
        self.keep(id, Open::Folder(entries))
    }

    async fn readdir(&mut self, id: u32, handle: String) -> Result<Name> {
        let Some(Open::Folder(entries)) = self.open.get_mut(&handle) else { return Err(Errno::BADF.into()) };
        if entries.is_empty() {
            return Err(Refused(StatusCode::Eof, String::new()));
        }
        let files = entries.split_off(entries.len().saturating_sub(ENTRIES)).into_iter().rev().collect();
        Ok(Name { id, files })
    }

    async fn remove(&mut self, id: u32, path: String) -> Result<Status> {
        let (folder, name) = self.parent_to_change(&path)?;
        rustix::fs::unlinkat(&folder, name, AtFlags::empty())?;
        Ok(done(id))
    }

    async fn mkdir(&mut self, id: u32, path: String, attrs: FileAttributes) -> Result<Status> {
        let (folder, name) = self.parent_to_change(&path)?;
        rustix::fs::mkdirat(&folder, name, Mode::from_raw_mode(attrs.permissions.unwrap_or(0o777) & MODE))?;
        Ok(done(id))
    }

    async fn rmdir(&mut self, id: u32, path: String) -> Result<Status> {
        let (folder, name) = self.parent_to_change(&path)?;
        rustix::fs::unlinkat(&folder, name, AtFlags::REMOVEDIR)?;
        Ok(done(id))
    }

    async fn realpath(&mut self, id: u32, path: String) -> Result<Name> {
        let path = if path.starts_with('/') { path } else { format!("/{}", path.trim_start_matches("./")) };
        let path = if path == "/." { "/".to_owned() } else { path };
        Ok(Name {
            id,
            files: vec![Entry { filename: path.clone(), longname: path, attrs: FileAttributes::empty() }],
        })
    }

    async fn rename(&mut self, id: u32, from: String, to: String) -> Result<Status> {
        let ((from, old), (to, new)) = (self.parent_to_change(&from)?, self.parent_to_change(&to)?);
        // The protocol's own renaming replaces nothing.
        rustix::fs::renameat_with(&from, old, &to, new, rustix::fs::RenameFlags::NOREPLACE)?;
        Ok(done(id))
    }

    async fn readlink(&mut self, id: u32, path: String) -> Result<Name> {
        let (folder, name) = self.parent(&path)?;
        let link = rustix::fs::readlinkat(&folder, name, Vec::new())?;
        let link = link.to_str().map_err(|_| Errno::ILSEQ)?.to_owned();
        Ok(Name {
            id,
            files: vec![Entry { filename: link.clone(), longname: link, attrs: FileAttributes::empty() }],
        })
    }

    /// OpenSSH's client sends what the link leads to first, against the draft; `sshfs` does as well.
    async fn symlink(&mut self, id: u32, target: String, link: String) -> Result<Status> {
        let (folder, name) = self.parent_to_change(&link)?;
        rustix::fs::symlinkat(&target, &folder, name)?;
        Ok(done(id))
    }

    async fn extended(&mut self, id: u32, request: String, data: Vec<u8>) -> Result<Packet> {
        let mut texts = Texts(&data);
        match request.as_str() {
            POSIX_RENAME => {
                let (from, to) = (texts.next()?, texts.next()?);
                let ((from, old), (to, new)) = (self.parent_to_change(from)?, self.parent_to_change(to)?);
                rustix::fs::renameat(&from, old, &to, new)?;
            }
            HARDLINK => {
                let (from, to) = (texts.next()?, texts.next()?);
                let ((from, old), (to, new)) = (self.parent_to_change(from)?, self.parent_to_change(to)?);
                rustix::fs::linkat(&from, old, &to, new, AtFlags::empty())?;
            }
            FSYNC => self.file(texts.next()?)?.sync_all()?,
            STATVFS => {
                let file = self.resolve(texts.next()?, OFlags::PATH, Mode::empty())?;
                let data = encoded(&rustix::fs::fstatvfs(&file)?);
                return Ok(Packet::ExtendedReply(ExtendedReply { id, data }));
            }
            _ => return Err(self.unimplemented()),
        }
        Ok(Packet::Status(done(id)))
    }
}

fn encoded(stat: &rustix::fs::StatVfs) -> Vec<u8> {
    let stat = Statvfs {
        block_size: stat.f_bsize,
        fragment_size: stat.f_frsize,
        blocks: stat.f_blocks,
        blocks_free: stat.f_bfree,
        blocks_avail: stat.f_bavail,
        inodes: stat.f_files,
        inodes_free: stat.f_ffree,
        inodes_avail: stat.f_favail,
        fs_id: stat.f_fsid,
        flags: stat.f_flag.bits(),
        name_max: stat.f_namemax,
    };
    let fields = [
        stat.block_size,
        stat.fragment_size,
        stat.blocks,
        stat.blocks_free,
        stat.blocks_avail,
        stat.inodes,
        stat.inodes_free,
        stat.inodes_avail,
        stat.fs_id,
        stat.flags,
        stat.name_max,
    ];
    fields.iter().flat_map(|field| field.to_be_bytes()).collect()
}

/// The texts in a request, each after its length in four bytes.
struct Texts<'a>(&'a [u8]);

impl<'a> Texts<'a> {
    fn next(&mut self) -> Result<&'a str> {
        let bad = || Refused(StatusCode::BadMessage, "a text is cut off".to_owned());
        let (length, rest) = self.0.split_first_chunk::<4>().ok_or_else(bad)?;
        let (text, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize).ok_or_else(bad)?;
        self.0 = rest;
        std::str::from_utf8(text).map_err(|_| bad())
    }
}

#[cfg(test)]
mod tests;
