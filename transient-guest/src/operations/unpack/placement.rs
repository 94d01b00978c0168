//! Where the members of an archive go.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use transient_guest::archive::{Broken, Result};
use transient_guest::protocol::Placement;

use crate::operations::inside;

/// Turns names of an archive into absolute paths of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Places {
    base: PathBuf,
    /// The first name of every path, and what stands in its place.
    renamed: Option<(OsString, OsString)>,
}

impl Places {
    /// Decides where things go: `placement` may depend on what is at `destination` inside `root` already.
    ///
    /// Returns also the directory that must be there.
    pub(super) fn new(root: &OwnedFd, destination: &Path, placement: &Placement) -> Self {
        let base = destination.to_owned();
        let Placement::AsOrInto(name) = placement else {
            return Self { base, renamed: None };
        };
        match (destination.parent(), destination.file_name()) {
            (Some(parent), Some(own)) if inside::directory(root, destination).is_err() => {
                Self { base: parent.to_owned(), renamed: Some((name.as_os_str().to_owned(), own.to_owned())) }
            }
            _ => Self { base, renamed: None },
        }
    }

    /// Returns the directory that everything goes into.
    pub(super) fn base(&self) -> &Path {
        &self.base
    }

    /// Returns the path in the image of a name in the archive.
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
                _ => path.push(part),
            }
            first = false;
        }
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn into(base: &str) -> Places {
        Places { base: base.into(), renamed: None }
    }

    #[test]
    fn names_stay_below_the_destination() {
        let places = into("/opt");
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

    proptest! {
        #[test]
        fn no_name_leads_out(name in prop::collection::vec(prop::sample::select(&b"a./\0"[..]), 0..12)) {
            if let Ok(path) = into("/x").path(&name) {
                prop_assert!(path.starts_with("/x"));
                prop_assert!(path.components().all(|part| part != std::path::Component::ParentDir));
            }
        }
    }
}
