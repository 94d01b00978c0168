//! The build directory: nothing outside it can be named by an Imagefile.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, openat, openat2, statat};
use rustix::io::Errno;

use crate::{Error, ErrorKind};

/// An open build directory.
#[derive(Debug)]
pub(super) struct Context {
    folder: OwnedFd,
    path: PathBuf,
    hidden: Hidden,
}

/// Files that are never copied: device and inode numbers.
pub(super) type Hidden = Vec<(u64, u64)>;

impl Context {
    /// Opens the build directory.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = openat(CWD, path, flags, Mode::empty()).map_err(|error| {
            let error = Error::new(
                ErrorKind::InvalidArgument,
                format!("cannot open the build directory '{}'", path.display()),
            )
            .caused_by(std::io::Error::from(error));
            error.hint("name a directory that exists; paths in the Imagefile are relative to it")
        })?;
        Ok(Self { folder, path: path.to_owned(), hidden: Hidden::new() })
    }

    /// Leaves files of the build itself out of every directory that is copied.
    pub(super) fn hide<'a>(&mut self, paths: impl IntoIterator<Item = &'a Path>) {
        let stats = paths.into_iter().filter_map(|path| statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).ok());
        self.hidden.extend(stats.map(|stat| (stat.st_dev, stat.st_ino)));
    }

    /// Returns the files that are never copied.
    pub(super) fn hidden(&self) -> Hidden {
        self.hidden.clone()
    }

    /// Finds a source. Links on the way to it are followed inside the build directory; the source itself is not.
    pub(super) fn find(&self, source: &Path) -> Result<Source, Error> {
        let shown = self.path.join(source);
        // The last name is looked at in its folder, so that a link there is seen as one.
        let (folder, name) = match (source.parent(), source.file_name()) {
            (Some(parent), Some(name)) if !parent.as_os_str().is_empty() => {
                (self.beneath(parent, source)?, PathBuf::from(name))
            }
            (_, Some(name)) => (self.beneath(Path::new("."), source)?, PathBuf::from(name)),
            (_, None) => (self.beneath(source, source)?, PathBuf::from(".")),
        };
        let kind = FileType::from_raw_mode(
            statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|error| self.unreadable(source, error))?
                .st_mode,
        );
        Ok(Source { folder, name, shown, kind })
    }

    /// Opens a source as a file, following links inside the build directory.
    pub(super) fn open_file(&self, source: &Path) -> Result<File, Error> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let file = openat2(&self.folder, source, flags, Mode::empty(), resolve);
        file.map(File::from).map_err(|error| self.unreadable(source, error))
    }

    fn beneath(&self, folder: &Path, source: &Path) -> Result<OwnedFd, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        openat2(&self.folder, folder, flags, Mode::empty(), resolve)
            .map_err(|error| self.unreadable(source, error))
    }

    fn unreadable(&self, source: &Path, error: Errno) -> Error {
        let (source, folder) = (source.display(), self.path.display());
        match error {
            Errno::XDEV => {
                Error::new(ErrorKind::InvalidSource, format!("'{source}' leaves the build directory"))
                    .hint(format!("put what is to be copied below {folder}; a build reads nothing else"))
            }
            Errno::NOENT | Errno::NOTDIR => Error::new(
                ErrorKind::InvalidSource,
                format!("there is no '{source}' in the build directory {folder}"),
            ),
            error => Error::new(
                ErrorKind::InvalidSource,
                format!("cannot read '{source}' in the build directory {folder}"),
            )
            .caused_by(std::io::Error::from(error)),
        }
    }
}

/// A file, directory or link of the build directory.
#[derive(Debug)]
pub(super) struct Source {
    /// The folder that it is in.
    pub(super) folder: OwnedFd,
    /// Its name there; `.` for the build directory itself.
    pub(super) name: PathBuf,
    /// Its path, for messages.
    pub(super) shown: PathBuf,
    pub(super) kind: FileType,
}

impl Source {
    /// The name under which it goes into the image; none for a directory that was named by `.`: then
    /// only what is in it goes.
    pub(super) fn target_name(&self) -> Option<&Path> {
        (self.name != Path::new(".")).then_some(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn context() -> (tempfile::TempDir, Context) {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("dir")).expect("made");
        std::fs::write(folder.path().join("dir/file"), "x").expect("written");
        symlink("dir", folder.path().join("inside")).expect("linked");
        symlink("/etc", folder.path().join("outside")).expect("linked");
        symlink("../../etc", folder.path().join("up")).expect("linked");
        let context = Context::open(folder.path()).expect("opened");
        (folder, context)
    }

    #[test]
    fn a_source_is_found_through_links_that_stay_inside() {
        let (_folder, context) = context();
        assert_eq!(context.find(Path::new("inside/file")).expect("found").kind, FileType::RegularFile);
        assert_eq!(context.find(Path::new("inside")).expect("found").kind, FileType::Symlink);
        assert_eq!(context.find(Path::new(".")).expect("found").target_name(), None);
        assert_eq!(context.find(Path::new("dir/")).expect("found").target_name(), Some(Path::new("dir")));
        context.open_file(Path::new("inside/file")).expect("opened");
    }

    #[test]
    fn a_source_that_leaves_the_build_directory_is_refused() {
        let (_folder, context) = context();
        for source in ["outside/passwd", "up/passwd", "../x", "/etc/passwd", "dir/../../x"] {
            let error = context.find(Path::new(source)).expect_err("refused");
            assert_eq!(error.kind(), ErrorKind::InvalidSource, "{source}");
            assert!(error.to_string().contains("leaves the build directory"), "{source}: {error}");
            context.open_file(Path::new(source)).expect_err("refused");
        }
    }

    #[test]
    fn a_source_that_is_missing_is_named() {
        let (_folder, context) = context();
        let error = context.find(Path::new("dir/nothing")).expect_err("missing");
        assert!(error.to_string().contains("there is no 'dir/nothing'"), "{error}");
    }
}
