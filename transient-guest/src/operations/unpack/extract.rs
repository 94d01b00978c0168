//! Making the files of an archive.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::io::{self, BufRead};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid, XattrFlags, fchmod, fchown, futimens};
use rustix::io::Errno;
use transient_guest::archive::{Archive, Broken, Kind, Member, SparseMap};

use super::later::Later;
use super::make::{Error, Folder, make_special, set_directory_time, timestamps, write_all};
use super::placement::Places;
use crate::operations::failure::{Doing, Failure};
use crate::operations::inside;

/// How many directories are kept open.
const MOST_OPEN: usize = 256;

/// Unpacks archives into a root directory, out of which no member can lead.
#[derive(Debug)]
pub(super) struct Extractor {
    root: OwnedFd,
    places: Places,
    folders: HashMap<PathBuf, Rc<Folder>>,
    later: Later,
    /// Directories get their times at the end, for what is made in them changes these.
    times: Vec<(PathBuf, (i64, u32))>,
    /// How many files could not have all their extended attributes, and the first of them.
    lost_attributes: Option<(u64, PathBuf, Errno)>,
}

impl Extractor {
    /// Unpacks into `root`, at the places that `places` says.
    pub(super) fn new(root: OwnedFd, places: Places) -> Self {
        Self {
            root,
            places,
            folders: HashMap::new(),
            later: Later::default(),
            times: Vec::new(),
            lost_attributes: None,
        }
    }

    /// Unpacks all of an archive; returns what a person should know of it.
    pub(super) fn unpack<R: BufRead>(mut self, archive: &mut Archive<R>) -> Result<Option<String>, Failure> {
        let base = self.places.base().to_owned();
        self.folder(&base)?;
        while let Some(member) = archive.next_member()? {
            let path = self.places.path(&member.path)?;
            if self.later.must_wait(&member, &self.places)? {
                self.later.add(path, member);
            } else {
                self.later.forget(&path);
                self.place(archive, &member, &path)?;
            }
        }
        for (path, member) in self.later.take() {
            self.place(archive, &member, &path)?;
        }
        for (path, modified) in self.times.iter().rev() {
            set_directory_time(&self.root, path, *modified)
                .doing(|| format!("cannot set the time of {}", path.display()))?;
        }
        Ok(self.lost_attributes.map(|(count, path, error)| {
            let path = path.display();
            format!(
                "{count} files could not keep extended attributes, the first is {path}: {}",
                io::Error::from(error)
            )
        }))
    }

    fn place<R: BufRead>(
        &mut self,
        archive: &mut Archive<R>,
        member: &Member,
        path: &Path,
    ) -> Result<(), Failure> {
        self.make(archive, member, path)
            .map_err(|error| error.into_failure(|| format!("cannot unpack {}", path.display())))
    }

    fn make<R: BufRead>(
        &mut self,
        archive: &mut Archive<R>,
        member: &Member,
        path: &Path,
    ) -> Result<(), Error> {
        if member.kind == Kind::Directory {
            return self.directory(member, path);
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Errno::ISDIR.into());
        };
        if path == self.places.base() {
            let what = "one of its members would take the place of the directory that it is unpacked into";
            return Err(Broken(what.to_owned()).into());
        }
        let folder = self.folder(parent)?;
        match &member.kind {
            Kind::File(map) => self.file(archive, member, map.as_ref(), &folder, path, name),
            Kind::HardLink(target) => self.hard_link(target, &folder, name),
            _ => {
                self.anew(&folder, name, || make_special(member, &folder.file, name))?;
                self.describe_special(member, &folder, path, name)
            }
        }
    }

    fn file<R: BufRead>(
        &mut self,
        archive: &mut Archive<R>,
        member: &Member,
        map: Option<&SparseMap>,
        folder: &Folder,
        path: &Path,
        name: &OsStr,
    ) -> Result<(), Error> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(member.mode & 0o777);
        let file = self.anew(folder, name, || rustix::fs::openat(&folder.file, name, flags, mode))?;
        match map {
            None => write_all(archive, &file, 0, archive.left())?,
            Some(map) => {
                for &(offset, length) in &map.parts {
                    write_all(archive, &file, offset, length)?;
                }
                rustix::fs::ftruncate(&file, map.size)?;
            }
        }
        self.describe(member, &file, folder.gives_group, path)?;
        Ok(futimens(&file, &timestamps(member.modified))?)
    }

    fn directory(&mut self, member: &Member, path: &Path) -> Result<(), Error> {
        if let (Some(parent), Some(name)) = (path.parent(), path.file_name()) {
            let folder = self.folder(parent)?;
            let make = || rustix::fs::mkdirat(&folder.file, name, Mode::RWXU);
            match make() {
                // A directory stays, and so does a link to one: images have links like /lib.
                Err(Errno::EXIST) if inside::directory(&self.root, path).is_ok() => {}
                Err(Errno::EXIST) => self.anew(&folder, name, make)?,
                made => made?,
            }
        }
        let file = inside::open(&self.root, path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
        fchown(&file, Some(Uid::from_raw(member.owner)), Some(Gid::from_raw(member.group)))?;
        fchmod(&file, Mode::from_raw_mode(member.mode))?;
        self.set_attributes(path, &member.attributes, |name, value| {
            rustix::fs::fsetxattr(&file, name, value, XattrFlags::empty())
        })?;
        // Its group may be given to what is made in it from now on.
        self.folders.remove(path);
        self.times.push((path.to_owned(), member.modified));
        Ok(())
    }

    fn hard_link(&mut self, target: &[u8], folder: &Folder, name: &OsStr) -> Result<(), Error> {
        let target = self.places.path(target)?;
        let (Some(parent), Some(target_name)) = (target.parent(), target.file_name()) else {
            return Err(Errno::ISDIR.into());
        };
        let target_folder = self.folder(parent)?;
        let from = match rustix::fs::statat(&target_folder.file, target_name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => {
                let target = target.display();
                return Err(Broken(format!("a hard link leads to {target}, which is not there")).into());
            }
            from => from?,
        };
        let link =
            || rustix::fs::linkat(&target_folder.file, target_name, &folder.file, name, AtFlags::empty());
        if link() != Err(Errno::EXIST) {
            return self.anew(folder, name, || match link() {
                // It was made a moment ago.
                Err(Errno::EXIST) => Ok(()),
                made => made,
            });
        }
        let there = rustix::fs::statat(&folder.file, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if (from.st_dev, from.st_ino) == (there.st_dev, there.st_ino) {
            return Ok(());
        }
        self.anew(folder, name, link)
    }

    /// Makes something new; what is there under its name is removed first, never written to.
    fn anew<T>(
        &mut self,
        folder: &Folder,
        name: &OsStr,
        make: impl Fn() -> rustix::io::Result<T>,
    ) -> Result<T, Error> {
        match make() {
            Err(Errno::EXIST) => {}
            made => return Ok(made?),
        }
        match rustix::fs::unlinkat(&folder.file, name, AtFlags::empty()) {
            Err(Errno::ISDIR) => rustix::fs::unlinkat(&folder.file, name, AtFlags::REMOVEDIR)?,
            removed => removed?,
        }
        // What was removed may have been a directory or a link that was on the way to one that is open.
        self.folders.clear();
        Ok(make()?)
    }

    fn describe(
        &mut self,
        member: &Member,
        file: &OwnedFd,
        gives_group: bool,
        path: &Path,
    ) -> Result<(), Error> {
        // Files that are made belong to root, and have their mode but for the special bits.
        if member.owner != 0 || member.group != 0 || gives_group {
            fchown(file, Some(Uid::from_raw(member.owner)), Some(Gid::from_raw(member.group)))?;
        }
        if member.mode & !0o777 != 0 {
            fchmod(file, Mode::from_raw_mode(member.mode))?;
        }
        // After the owner, for a change of that takes capabilities away.
        self.set_attributes(path, &member.attributes, |name, value| {
            rustix::fs::fsetxattr(file, name, value, XattrFlags::empty())
        })
    }

    fn describe_special(
        &mut self,
        member: &Member,
        folder: &Folder,
        path: &Path,
        name: &OsStr,
    ) -> Result<(), Error> {
        if member.owner != 0 || member.group != 0 || folder.gives_group {
            let (owner, group) = (Uid::from_raw(member.owner), Gid::from_raw(member.group));
            rustix::fs::chownat(&folder.file, name, Some(owner), Some(group), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        if member.mode & !0o777 != 0 && !matches!(member.kind, Kind::Link(_)) {
            rustix::fs::chmodat(&folder.file, name, Mode::from_raw_mode(member.mode), AtFlags::empty())?;
        }
        if !member.attributes.is_empty() {
            // There is no call that takes a directory and a name.
            rustix::process::fchdir(&folder.file)?;
            self.set_attributes(path, &member.attributes, |attribute, value| {
                rustix::fs::lsetxattr(name, attribute, value, XattrFlags::empty())
            })?;
        }
        let times = timestamps(member.modified);
        Ok(rustix::fs::utimensat(&folder.file, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    fn set_attributes(
        &mut self,
        path: &Path,
        attributes: &BTreeMap<Vec<u8>, Vec<u8>>,
        set: impl Fn(&OsStr, &[u8]) -> rustix::io::Result<()>,
    ) -> Result<(), Error> {
        let mut lost = None;
        for (name, value) in attributes {
            match set(OsStr::from_bytes(name), value) {
                Ok(()) => {}
                // The filesystem, or the kind of file, cannot have this one.
                Err(error @ (Errno::OPNOTSUPP | Errno::PERM | Errno::INVAL)) => lost = Some(error),
                Err(error) => return Err(error.into()),
            }
        }
        if let Some(error) = lost {
            let (count, ..) = self.lost_attributes.get_or_insert_with(|| (0, path.to_owned(), error));
            *count += 1;
        }
        Ok(())
    }

    /// Opens a directory of the image, made where it is missing.
    fn folder(&mut self, path: &Path) -> Result<Rc<Folder>, Failure> {
        if let Some(folder) = self.folders.get(path) {
            return Ok(Rc::clone(folder));
        }
        let doing = || format!("cannot make the directory {}", path.display());
        let file = inside::make_directory(&self.root, path, &mut Vec::new()).doing(doing)?;
        let mode = rustix::fs::fstat(&file).doing(doing)?.st_mode;
        let folder = Rc::new(Folder { file, gives_group: Mode::from_raw_mode(mode).contains(Mode::SGID) });
        if self.folders.len() >= MOST_OPEN {
            self.folders.clear();
        }
        self.folders.insert(path.to_owned(), Rc::clone(&folder));
        Ok(folder)
    }
}
