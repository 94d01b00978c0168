//! Where the members of an archive go.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::archive::{Broken, Result};
use crate::inside;
use crate::protocol::Placement;

/// Turns names of an archive into absolute paths inside the directory that it is unpacked into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    base: PathBuf,
    /// The first name of a path, and what stands in its place.
    renamed: Option<(OsString, OsString)>,
    /// Whether a path may begin with any other name.
    others: bool,
}

impl Places {
    /// Everything keeps its name, right in the directory.
    pub fn top() -> Self {
        Self::into(Path::new("/"))
    }

    /// There is nothing but one file, directory or link, which the archive calls `name`; it will be called `own`.
    pub fn only(name: &OsStr, own: &OsStr) -> Self {
        let renamed = Some((name.to_owned(), own.to_owned()));
        Self { base: PathBuf::from("/"), renamed, others: false }
    }

    fn into(base: &Path) -> Self {
        Self { base: base.to_owned(), renamed: None, others: true }
    }

    /// Decides where things go: `placement` may depend on what is at `destination` inside `root` already.
    pub fn new(root: &OwnedFd, destination: &Path, placement: &Placement) -> Self {
        let Placement::AsOrInto(name) = placement else {
            return Self::into(destination);
        };
        match (destination.parent(), destination.file_name()) {
            (Some(parent), Some(own)) if inside::directory(root, destination).is_err() => {
                let renamed = Some((name.as_os_str().to_owned(), own.to_owned()));
                Self { base: parent.to_owned(), renamed, others: true }
            }
            _ => Self::into(destination),
        }
    }

    /// Returns the directory that everything goes into.
    pub(super) fn base(&self) -> &Path {
        &self.base
    }

    /// Returns the path of a name in the archive.
    pub(super) fn path(&self, name: &[u8]) -> Result<PathBuf> {
        let mut path = self.base.clone();
        let mut first = true;
        for part in name.split(|&byte| byte == b'/') {
            match part {
                b"" | b"." => continue,
                b".." => {
                    return Err(Broken(format!(
                        "{:?} would lead out of the directory that it is unpacked into",
                        OsStr::from_bytes(name)
                    )));
                }
                _ if part.contains(&0) => {
                    return Err(Broken(format!("{:?} is no name", OsStr::from_bytes(name))));
                }
                _ => {}
            }
            let part = OsString::from_vec(part.to_vec());
            match &self.renamed {
                Some((from, to)) if first && *from == part => path.push(to),
                Some((from, _)) if first && !self.others => {
                    return Err(Broken(format!("it holds {part:?}, which is not {from:?}")));
                }
                _ => path.push(part),
            }
            first = false;
        }
        if first && !self.others {
            return Err(Broken("a member has no name".to_owned()));
        }
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_stay_below_the_destination() {
        let places = Places::into(Path::new("/opt"));
        assert_eq!(places.path(b"./a//b/./c/").unwrap(), Path::new("/opt/a/b/c"));
        assert_eq!(places.path(b"/etc/passwd").unwrap(), Path::new("/opt/etc/passwd"));
        assert_eq!(places.path(b"./").unwrap(), Path::new("/opt"));
        assert_eq!(places.path(b"..a/b..").unwrap(), Path::new("/opt/..a/b.."));
        for name in [&b".."[..], b"a/../b", b"a/..", b"/../etc"] {
            assert!(places.path(name).is_err());
        }
    }

    #[test]
    fn a_single_source_takes_the_name_of_a_new_destination() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("there")).unwrap();
        std::os::unix::fs::symlink("/there", folder.path().join("link")).unwrap();
        let root = inside::root(folder.path()).unwrap();
        let placement = Placement::AsOrInto("src".into());
        let place = |destination: &str, name: &[u8]| {
            Places::new(&root, Path::new(destination), &placement).path(name).unwrap()
        };
        assert_eq!(place("/there", b"src/a"), Path::new("/there/src/a"));
        assert_eq!(place("/link", b"src"), Path::new("/link/src"));
        assert_eq!(place("/new/name", b"src/src/a"), Path::new("/new/name/src/a"));
        assert_eq!(place("/new", b"./src"), Path::new("/new"));
        assert_eq!(place("/", b"src"), Path::new("/src"));
    }

    #[test]
    fn one_thing_is_all_that_comes() {
        let places = Places::only(OsStr::new("etc"), OsStr::new("copy"));
        assert_eq!(places.path(b"./etc/etc/fstab").unwrap(), Path::new("/copy/etc/fstab"));
        assert_eq!(places.path(b"/etc/").unwrap(), Path::new("/copy"));
        for name in [&b".bashrc"[..], b"./", b"", b"etc2/x", b"copy/x", b"./.ssh/etc"] {
            assert!(places.path(name).is_err(), "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn no_other_name_comes(name in prop::collection::vec(prop::sample::select(&b"a./b"[..]), 0..12)) {
            if let Ok(path) = Places::only(OsStr::new("a"), OsStr::new("x")).path(&name) {
                prop_assert!(path.starts_with("/x"));
                prop_assert!(path.components().all(|part| part != std::path::Component::ParentDir));
            }
        }

        #[test]
        fn no_name_leads_out(name in prop::collection::vec(prop::sample::select(&b"a./\0"[..]), 0..12)) {
            if let Ok(path) = Places::into(Path::new("/x")).path(&name) {
                prop_assert!(path.starts_with("/x"));
                prop_assert!(path.components().all(|part| part != std::path::Component::ParentDir));
            }
        }
    }
}
