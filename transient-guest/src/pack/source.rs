//! What a person names to be copied.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::failure::Failure;

/// A path of which a file, directory or link is packed, or what is in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source<'a> {
    /// It itself.
    Named {
        /// The directory that it is in; empty is the working directory.
        folder: &'a Path,
        /// Its name there.
        name: &'a OsStr,
    },
    /// What is in this directory, which was named as `.` or `/`, or with `/.` at its end.
    Contents(&'a Path),
}

impl<'a> Source<'a> {
    /// Understands a path as `cp` does.
    ///
    /// # Errors
    ///
    /// When it is empty or ends in `..`: then there is no name to give what is packed.
    pub fn of(path: &'a Path) -> Result<Self, Failure> {
        let bytes = path.as_os_str().as_bytes();
        let trimmed = bytes.iter().rposition(|&byte| byte != b'/').map_or(&[][..], |last| &bytes[..=last]);
        if trimmed == b"." || trimmed.ends_with(b"/.") || !bytes.is_empty() && trimmed.is_empty() {
            return Ok(Self::Contents(path));
        }
        match (path.parent(), path.file_name()) {
            (Some(folder), Some(name)) => Ok(Self::Named { folder, name }),
            _ => Err(Failure::other(format!("'{}' has no name to be copied under", path.display()))),
        }
    }

    /// Returns its name at the top of the stream; `None` when there is only what is in it.
    pub fn name(self) -> Option<&'a OsStr> {
        match self {
            Self::Named { name, .. } => Some(name),
            Self::Contents(_) => None,
        }
    }

    /// Returns the directory to be opened, and the name in it that is packed.
    pub fn place(self) -> (&'a Path, &'a OsStr) {
        match self {
            Self::Named { folder, name } if folder.as_os_str().is_empty() => (Path::new("."), name),
            Self::Named { folder, name } => (folder, name),
            Self::Contents(folder) => (folder, OsStr::new(".")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_understood_as_by_cp() {
        let place = |path| Source::of(Path::new(path)).map(Source::place).unwrap();
        for (path, folder, name) in [
            ("/etc/fstab", "/etc", "fstab"),
            ("/etc/", "/", "etc"),
            ("file", ".", "file"),
            ("./file", ".", "file"),
            ("/", "/", "."),
            ("//", "//", "."),
            (".", ".", "."),
            ("./", "./", "."),
            ("/etc/.", "/etc/.", "."),
            ("a/./", "a/./", "."),
            ("..a/b.", "..a", "b."),
        ] {
            assert_eq!(place(path), (Path::new(folder), OsStr::new(name)), "{path}");
        }
        for path in ["", "..", "/etc/.."] {
            assert!(Source::of(Path::new(path)).is_err(), "{path}");
        }
    }
}
