//! Names of images, and their form on disk.

use crate::{Error, ErrorKind};

/// The name of an image: any non-empty text without NUL whose encoded form can be a file name.
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
        if name.is_empty() {
            return Err(Error::new(ErrorKind::InvalidImageName, "an image name must not be empty"));
        }
        const SAFE: &percent_encoding::AsciiSet =
            &percent_encoding::NON_ALPHANUMERIC.remove(b'_').remove(b'.').remove(b'~');
        Ok(Self { encoded: percent_encoding::utf8_percent_encode(&name, SAFE).to_string(), name })
    }

    /// Returns the name as people write it.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// Returns the name of the image's file in the backend.
    pub fn encoded(&self) -> &str {
        &self.encoded
    }

    /// Returns the name of an image whose file has this name.
    pub fn from_encoded(encoded: &std::ffi::OsStr) -> Option<Self> {
        let name = percent_encoding::percent_decode_str(encoded.to_str()?).decode_utf8().ok()?;
        Self::new(name).ok()
    }
}
