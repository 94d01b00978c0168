//! Paths that are resolved inside a root directory, as a process chrooted there would see them.
//!
//! A link in the image, absolute or not, can so never lead out of the image.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, Result};

/// Opens a directory for others to be resolved in.
pub fn root(path: &Path) -> Result<OwnedFd> {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Opens `path` inside `root`.
pub fn open(root: impl AsFd, path: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd> {
    rustix::fs::openat2(
        root,
        path,
        flags | OFlags::CLOEXEC,
        mode,
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    )
}

/// As [`open`], but a link anywhere in `path` is an error.
pub fn open_without_links(root: impl AsFd, path: &Path, flags: OFlags) -> Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
}

/// Opens the directory `path` inside `root`, for use as a place only (`O_PATH`).
pub fn directory(root: impl AsFd, path: &Path) -> Result<OwnedFd> {
    open(root, path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())
}

/// Opens the directory `path` inside `root`; it and those above it are made where they are missing.
///
/// The paths of those that were made are appended to `made`, the shallowest first.
pub fn make_directory(root: impl AsFd, path: &Path, made: &mut Vec<PathBuf>) -> Result<OwnedFd> {
    let root = root.as_fd();
    match directory(root, path) {
        Err(Errno::NOENT) => {}
        found => return found,
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Errno::NOENT);
    };
    let parent = make_directory(root, parent, made)?;
    match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
        Ok(()) => made.push(path.to_owned()),
        Err(Errno::EXIST) => {}
        Err(error) => return Err(error),
    }
    directory(root, path)
}

/// Removes directories that were made, the deepest first; one that is no longer empty stays.
pub fn remove_made(root: impl AsFd, made: &[PathBuf]) {
    for path in made.iter().rev() {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { continue };
        if let Ok(parent) = directory(root.as_fd(), parent) {
            // It is no failure if something was put there meanwhile: then it is no longer ours.
            let _ = rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR);
        }
    }
}

/// Returns a path that leads to an open file, for calls that take no descriptor.
pub fn path_of(file: impl AsFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_fd().as_raw_fd()))
}

/// Returns a path that leads to what has a name in an open directory, a link too, for calls that take no descriptor.
pub fn path_in(folder: impl AsFd, name: &OsStr) -> PathBuf {
    path_of(folder).join(name)
}

/// Returns where the last link of `path` leads, inside `root`; the target itself may be missing.
pub fn follow(root: impl AsFd, path: &Path) -> Result<PathBuf> {
    const MOST_LINKS: usize = 16;
    let root = root.as_fd();
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        let link = match open(root, &path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(link) => link,
            Err(Errno::NOENT) => return Ok(path),
            Err(error) => return Err(error),
        };
        match rustix::fs::readlinkat(&link, "", Vec::new()) {
            Ok(target) => {
                let target = OsString::from_vec(target.into_bytes());
                path = path.parent().unwrap_or(Path::new("/")).join(target);
            }
            // Not a link.
            Err(Errno::INVAL | Errno::NOENT) => return Ok(path),
            Err(error) => return Err(error),
        }
    }
    Err(Errno::LOOP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_resolve_inside_the_root() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("etc")).unwrap();
        std::os::unix::fs::symlink("/etc", folder.path().join("abs")).unwrap();
        std::os::unix::fs::symlink("../../../../../etc", folder.path().join("up")).unwrap();
        let root = root(folder.path()).unwrap();
        for link in ["abs", "up"] {
            let mut made = Vec::new();
            make_directory(&root, &Path::new("/").join(link).join("new/deep"), &mut made).unwrap();
            assert!(folder.path().join("etc/new/deep").is_dir());
            assert_eq!(made.len(), 2);
            remove_made(&root, &made);
            assert!(!folder.path().join("etc/new").exists());
        }
    }

    #[test]
    fn what_is_no_longer_empty_stays() {
        let folder = tempfile::tempdir().unwrap();
        let root = root(folder.path()).unwrap();
        let mut made = Vec::new();
        make_directory(&root, Path::new("/a/b"), &mut made).unwrap();
        std::fs::write(folder.path().join("a/file"), "x").unwrap();
        remove_made(&root, &made);
        assert!(folder.path().join("a").exists() && !folder.path().join("a/b").exists());
    }

    #[test]
    fn a_dangling_link_is_followed_to_where_its_target_would_be() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("etc")).unwrap();
        std::os::unix::fs::symlink("../run/x/y", folder.path().join("etc/a")).unwrap();
        std::os::unix::fs::symlink("/etc/a", folder.path().join("etc/b")).unwrap();
        std::os::unix::fs::symlink("loop", folder.path().join("etc/loop")).unwrap();
        let root = root(folder.path()).unwrap();
        assert_eq!(follow(&root, Path::new("/etc/b")).unwrap(), Path::new("/etc/../run/x/y"));
        assert_eq!(follow(&root, Path::new("/etc/none")).unwrap(), Path::new("/etc/none"));
        assert_eq!(follow(&root, Path::new("/etc/loop")).unwrap_err(), Errno::LOOP);
    }
}
