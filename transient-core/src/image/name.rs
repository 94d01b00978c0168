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
        Ok(Self { encoded: name.clone(), name })
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
