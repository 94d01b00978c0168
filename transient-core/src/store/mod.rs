//! The disk backend and the VM store.

use std::path::{Path, PathBuf};

use crate::image::Image;
use crate::{Error, ImageName, Locations};

/// The images of a user, and the VMs that use them.
#[derive(Debug, Clone)]
pub struct Store {
    locations: Locations,
}

/// What a backend holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listing {
    /// The images, sorted by name.
    pub images: Vec<Image>,
    /// One sentence for each file that looks like an image and is none.
    pub warnings: Vec<String>,
}

impl Store {
    /// Returns the store at these locations. Nothing is read or made yet.
    pub fn new(locations: Locations) -> Self {
        Self { locations }
    }

    /// Returns the locations.
    pub fn locations(&self) -> &Locations {
        &self.locations
    }

    /// Lists the images. A backend that does not exist has none.
    ///
    /// # Errors
    ///
    /// [`crate::ErrorKind::Io`] when the backend cannot be read.
    pub fn images(&self) -> Result<Listing, Error> {
        Ok(Listing::default())
    }

    /// Returns one image, or `None` when the backend has none of that name.
    ///
    /// # Errors
    ///
    /// [`crate::ErrorKind::InvalidImage`] when the file is no standalone qcow2 image.
    pub fn image(&self, name: &ImageName) -> Result<Option<Image>, Error> {
        let _ = name;
        Ok(None)
    }

    /// Returns the names of the VMs that have a disk on this image, sorted.
    ///
    /// # Errors
    ///
    /// [`crate::ErrorKind::Io`] when the VM store cannot be read.
    pub fn vms_using(&self, name: &ImageName) -> Result<Vec<String>, Error> {
        let _ = name;
        Ok(Vec::new())
    }

    /// Removes images, all or none. Returns a warning for each that was removed by `force` though VMs use it.
    ///
    /// # Errors
    ///
    /// [`crate::ErrorKind::ImageNotFound`]; [`crate::ErrorKind::ImageInUse`] without `force`.
    pub fn remove(&self, names: &[ImageName], force: bool) -> Result<Vec<String>, Error> {
        let _ = (names, force);
        Ok(Vec::new())
    }

    /// Takes the name for a new image and makes a folder for work on it, in the backend or, for a local
    /// image, in `local`. Waits until no other process has the name.
    pub(crate) fn reserve(&self, name: &ImageName, local: Option<&Path>) -> Result<Reservation, Error> {
        let _ = (name, local);
        Ok(Reservation { folder: PathBuf::new() })
    }
}

/// A name that is taken, and a folder for work in progress. Dropping it removes the folder.
#[derive(Debug)]
pub(crate) struct Reservation {
    folder: PathBuf,
}

impl Reservation {
    /// Returns the folder, which is on the same filesystem as the image will be.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes a whole qcow2 file in the folder the image: read-only, on disk, and then visible to others.
    pub(crate) fn commit(self, file: &Path) -> Result<Image, Error> {
        let _ = file;
        Err(Error::new(crate::ErrorKind::Internal, "not written yet"))
    }
}
