//! Names of images, and their form on disk.

use std::ffi::OsStr;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::{Error, ErrorKind};

/// All but ASCII letters, digits, `_`, `.` and `~`. A `-` too: it separates the parts of other file names.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'.').remove(b'~');
/// What Linux allows for the name of a file.
const LONGEST: usize = 255;
/// How the names of image files end.
const EXTENSIONS: [&str; 16] = [
    "img", "image", "raw", "qcow2", "qcow", "qed", "vmdk", "vhdx", "vhd", "vdi", "hdd", "gz", "bz2", "xz",
    "zst", "zstd",
];

/// The name of an image: any non-empty text without NUL whose encoded form can be a file name.
///
/// ```
/// let name = transient_core::ImageName::new("centos/7:2004.01")?;
/// assert_eq!(name.encoded(), "centos%2F7%3A2004.01");
/// # Ok::<(), transient_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageName {
    name: String,
    encoded: String,
}

impl ImageName {
    /// Checks a name.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidImageName`], saying which rule it breaks.
    pub fn new(name: impl Into<String>) -> Result<Self, Error> {
        let name = name.into();
        let invalid = |message: &str| Err(Error::new(ErrorKind::InvalidImageName, message));
        if name.is_empty() {
            return invalid("an image name must not be empty");
        }
        if name.contains('\0') {
            return invalid("an image name must not have a NUL character");
        }
        if matches!(name.as_str(), "." | "..") {
            return invalid(&format!("an image cannot be named '{name}'"));
        }
        let encoded = utf8_percent_encode(&name, ESCAPED).to_string();
        if encoded.len() > LONGEST {
            let error = Error::new(ErrorKind::InvalidImageName, "an image name is too long");
            let hint = format!("its file name would have {} bytes, the most is {LONGEST}", encoded.len());
            return Err(error.hint(hint));
        }
        Ok(Self { name, encoded })
    }

    /// Returns the name of the image that is kept in a file of this name; `None` when such a file is no image.
    ///
    /// Names that the library itself would write otherwise (`%2f`, a raw blank) are understood as well.
    /// [`Self::encoded`] is then not the name of that file.
    pub fn from_encoded(file_name: &OsStr) -> Option<Self> {
        let file_name = file_name.to_str()?;
        if file_name.contains('-') || file_name.starts_with('.') {
            return None;
        }
        Self::new(percent_decode_str(file_name).decode_utf8().ok()?).ok()
    }

    /// Returns the name that an image of this file may have: the file's, without what tells its format and compression.
    ///
    /// ```
    /// use std::path::Path;
    /// use transient_core::ImageName;
    ///
    /// assert_eq!(ImageName::of_file(Path::new("/tmp/debian-12.5.qcow2.xz"))?.as_str(), "debian-12.5");
    /// # Ok::<(), transient_core::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidImageName`] when nothing is left, or what is left is no UTF-8.
    pub fn of_file(path: &Path) -> Result<Self, Error> {
        let mut rest = path.file_name().map(Path::new).unwrap_or(Path::new(""));
        let is_known =
            |extension: &OsStr| EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known));
        while rest.extension().is_some_and(is_known) {
            rest = rest.file_stem().map(Path::new).unwrap_or(rest);
        }
        let name = rest.to_str().map(Self::new);
        name.and_then(Result::ok).ok_or_else(|| {
            let message = format!("'{}' gives no name for an image", path.display());
            Error::new(ErrorKind::InvalidImageName, message).hint("give the image a name of its own")
        })
    }

    /// Returns the name as people write it.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// Returns the name of the image's file in the backend.
    pub fn encoded(&self) -> &str {
        &self.encoded
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)
    }
}

impl FromStr for ImageName {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::new(name)
    }
}

impl serde::Serialize for ImageName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_encoded_as_they_always_were() {
        for (name, encoded) in [
            ("centos/7:2004.01", "centos%2F7%3A2004.01"),
            ("a-b", "a%2Db"),
            ("A_z.0~", "A_z.0~"),
            ("a b+%", "a%20b%2B%25"),
            ("ä", "%C3%A4"),
        ] {
            assert_eq!(ImageName::new(name).unwrap().encoded(), encoded);
            assert_eq!(ImageName::from_encoded(OsStr::new(encoded)).unwrap().as_str(), name);
        }
    }

    #[test]
    fn files_give_names() {
        let of = |path: &str| ImageName::of_file(Path::new(path)).map(|name| name.name);
        for (path, name) in [
            ("a/b.qcow2", "b"),
            ("Debian-12.5.IMG.Xz", "Debian-12.5"),
            ("web.v2", "web.v2"),
            ("plain", "plain"),
            (".raw", ".raw"),
        ] {
            assert_eq!(of(path).unwrap(), name);
        }
        for path in ["/", "..", ""] {
            assert_eq!(of(path).unwrap_err().kind(), ErrorKind::InvalidImageName, "{path}");
        }
    }

    #[test]
    fn what_cannot_be_a_file_is_refused() {
        for name in ["", ".", "..", "a\0b", &"a".repeat(256), &"-".repeat(86)] {
            let error = ImageName::new(name).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidImageName, "{name:?}");
        }
        assert!(ImageName::new("a".repeat(255)).is_ok());
        assert!(ImageName::new("-".repeat(85)).is_ok());
    }

    #[test]
    fn other_files_of_the_backend_are_no_images() {
        use std::os::unix::ffi::OsStrExt as _;
        for file in ["", ".working", "vm-0-image", "%00", "%FF"] {
            assert_eq!(ImageName::from_encoded(OsStr::new(file)), None, "{file}");
        }
        assert_eq!(ImageName::from_encoded(OsStr::from_bytes(b"\xff")), None);
    }

    #[test]
    fn a_stray_percent_sign_stands_for_itself() {
        assert_eq!(ImageName::from_encoded(OsStr::new("a%zz%2f")).unwrap().as_str(), "a%zz/");
    }

    proptest! {
        #[test]
        fn encoding_is_undone(name in "\\PC{1,40}") {
            if let Ok(name) = ImageName::new(name) {
                prop_assert!(name.encoded().bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.~%".contains(&byte)));
                // A leading dot hides a file from the listing, then and now.
                if !name.as_str().starts_with('.') {
                    prop_assert_eq!(ImageName::from_encoded(OsStr::new(name.encoded())), Some(name));
                }
            }
        }
    }
}
