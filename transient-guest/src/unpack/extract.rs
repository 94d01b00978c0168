//! Making the files of an archive.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::BufRead;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{AtFlags, Mode, OFlags, XattrFlags, futimens};
use rustix::io::Errno;

use super::Site;
use super::describe::LENDING;
use super::directories::{self, Directories};
use super::later::Later;
use super::make::{Error, Folder, make_special, timestamps, write_all};
use super::partial::Partial;
use super::placement::Places;
use crate::archive::{Archive, Broken, Kind, Member, SparseMap};
use crate::failure::{Doing, Failure};
use crate::inside;
use crate::notes::Notes;

/// How many directories are kept open.
const MOST_OPEN: usize = 256;
/// The most bytes that are kept in mind of what can only be done at the end.
const MOST_KEPT: usize = 256 << 20;
/// What one thing to do takes beside its bytes, about.
const KEPT_ONE: usize = 128;

/// Unpacks archives into a root directory, out of which no member can lead.
#[derive(Debug)]
pub(super) struct Extractor {
    root: OwnedFd,
    places: Places,
    pub(super) site: Site,
    folders: HashMap<PathBuf, Rc<Folder>>,
    later: Later,
    directories: Directories,
    /// How many bytes are kept in mind for the end.
    kept: usize,
    pub(super) notes: Notes,
}

impl Extractor {
    /// Unpacks into `root`, at the places that `places` says.
    pub(super) fn new(root: OwnedFd, places: Places, site: Site) -> Self {
        Self {
            root,
            places,
            site,
            folders: HashMap::new(),
            later: Later::default(),
            directories: Directories::default(),
            kept: 0,
            notes: Notes::default(),
        }
    }

    /// Unpacks all of an archive; returns what a person should know of it.
    pub(super) fn unpack<R: BufRead>(mut self, archive: &mut Archive<R>) -> Result<Vec<String>, Failure> {
        let base = self.places.base().to_owned();
        self.folder(&base)?;
        while let Some(member) = archive.next_member()? {
            let path = self.places.path(&member.path)?;
            if self.later.must_wait(&member, &self.places)? {
                self.keep(member.weight() + path.as_os_str().len())?;
                self.later.add(path, member);
            } else {
                self.later.forget(&path);
                self.place(archive, &member, &path)?;
            }
        }
        for (path, member) in self.later.take() {
            self.place(archive, &member, &path)?;
        }
        for (path, description) in self.directories.take() {
            directories::describe(&self.root, &path, self.site, description)
                .doing(|| format!("cannot set the mode and time of {}", path.display()))?;
        }
        Ok(self.notes.told())
    }

    /// Counts what is kept in mind for the end.
    fn keep(&mut self, bytes: usize) -> Result<(), Broken> {
        self.kept += bytes + KEPT_ONE;
        match self.kept > MOST_KEPT {
            true => Err(Broken("it has too many directories, and links that lead out of theirs".to_owned())),
            false => Ok(()),
        }
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
            _ => self.special(member, &folder, path, name),
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
        let create = |name: &OsStr, mode| rustix::fs::openat(&folder.file, name, flags, mode);
        if self.site == Site::Image {
            let mode = Mode::from_raw_mode(member.mode & 0o777);
            let file = self.anew(folder, name, || create(name, mode))?;
            return self.fill(archive, member, map, &file, folder, path).inspect_err(|_| {
                // What is left of it would have its name. It may be gone already.
                let _ = rustix::fs::unlinkat(&folder.file, name, AtFlags::empty());
            });
        }
        let (partial, file) = Partial::make(&folder.file, |name| create(name, Mode::RUSR | Mode::WUSR))?;
        self.fill(archive, member, map, &file, folder, path)?;
        Ok(partial.becomes(name)?)
    }

    fn fill<R: BufRead>(
        &mut self,
        archive: &mut Archive<R>,
        member: &Member,
        map: Option<&SparseMap>,
        file: &OwnedFd,
        folder: &Folder,
        path: &Path,
    ) -> Result<(), Error> {
        match map {
            None => write_all(archive, file, 0, archive.left())?,
            Some(map) => {
                for &(offset, length) in &map.parts {
                    write_all(archive, file, offset, length)?;
                }
                rustix::fs::ftruncate(file, map.size)?;
            }
        }
        self.describe(member, file, folder.gives_group, path)?;
        Ok(futimens(file, &timestamps(member.modified))?)
    }

    fn special(&mut self, member: &Member, folder: &Folder, path: &Path, name: &OsStr) -> Result<(), Error> {
        if self.site == Site::Image {
            self.anew(folder, name, || make_special(member, &folder.file, name))?;
            return self.describe_special(member, folder, path, name);
        }
        match Partial::make(&folder.file, |name| make_special(member, &folder.file, name)) {
            Err(Errno::PERM) if matches!(member.kind, Kind::CharacterDevice(..) | Kind::BlockDevice(..)) => {
                self.notes.skipped("device", path);
                Ok(())
            }
            made => {
                let (partial, ()) = made?;
                self.describe_special(member, folder, path, &partial.name)?;
                Ok(partial.becomes(name)?)
            }
        }
    }

    fn directory(&mut self, member: &Member, path: &Path) -> Result<(), Error> {
        if let (Some(parent), Some(name)) = (path.parent(), path.file_name()) {
            let folder = self.folder(parent)?;
            let make = || rustix::fs::mkdirat(&folder.file, name, Mode::RWXU);
            let is_directory = || directories::open(&self.root, path, self.site, OFlags::PATH).map(drop);
            match make() {
                // A directory stays, and in an image so does a link to one: images have links like /lib.
                Err(Errno::EXIST) => match (is_directory(), self.site) {
                    (Err(_), Site::Image) => self.anew(&folder, name, make)?,
                    (is_directory, _) => is_directory?,
                },
                made => made?,
            }
        }
        let file = directories::open(&self.root, path, self.site, OFlags::RDONLY)?;
        let mode = match self.own(member, &file)? {
            true => member.mode,
            false => member.mode & !LENDING,
        };
        self.set_attributes(path, &member.attributes, |name, value| {
            rustix::fs::fsetxattr(&file, name, value, XattrFlags::empty())
        })?;
        if self.directories.add(path, mode, member.modified) {
            self.keep(path.as_os_str().len())?;
        }
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
        let link_as = |name: &OsStr| {
            rustix::fs::linkat(&target_folder.file, target_name, &folder.file, name, AtFlags::empty())
        };
        if self.site == Site::Host {
            let (partial, ()) = Partial::make(&folder.file, link_as)?;
            return Ok(partial.becomes(name)?);
        }
        let link = || link_as(name);
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

    /// Opens a directory, in an image made where it is missing.
    fn folder(&mut self, path: &Path) -> Result<Rc<Folder>, Failure> {
        if let Some(folder) = self.folders.get(path) {
            return Ok(Rc::clone(folder));
        }
        let doing = || format!("cannot open the directory {}", path.display());
        let file = match self.site {
            Site::Image => inside::make_directory(&self.root, path, &mut Vec::new()),
            Site::Host => directories::open(&self.root, path, self.site, OFlags::PATH),
        };
        let file = file.doing(doing)?;
        let mode = rustix::fs::fstat(&file).doing(doing)?.st_mode;
        let folder = Rc::new(Folder { file, gives_group: Mode::from_raw_mode(mode).contains(Mode::SGID) });
        if self.folders.len() >= MOST_OPEN {
            self.folders.clear();
        }
        self.folders.insert(path.to_owned(), Rc::clone(&folder));
        Ok(folder)
    }
}
