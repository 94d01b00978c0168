//! The disk backend and the VM store.

mod check;
mod holder;
mod inspect;
mod listing;
mod lock;
mod provenance;
mod prune;
mod reservation;
pub(crate) mod scratch;
mod tag;
mod vms;

#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

pub use check::ImageCheck;
pub use inspect::Inspection;
pub use listing::Listing;
pub(crate) use lock::Lock;
pub use provenance::{HistoryStep, MadeBy, Parent, Provenance};
pub(crate) use provenance::{Making, Recipe, Told, rfc3339, without_secrets_of_urls};
pub use prune::{PruneOptions, Pruned};
pub(crate) use reservation::Reservation;
pub(crate) use scratch::Scratch;
pub use tag::tag;
pub(crate) use vms::{backing_file, parts_of_disk};

use crate::event::Reporter;
use crate::image::Image;
use crate::{CancelToken, Error, ErrorKind, ImageName, Locations};

/// The images of a user, and the VMs that use them.
#[derive(Debug, Clone)]
pub struct Store {
    locations: Locations,
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
        listing::list(&self.locations.backend)
    }

    /// Returns one image, or `None` when the backend has none of that name.
    ///
    /// # Errors
    ///
    /// [`crate::ErrorKind::InvalidImage`] when the file is no standalone qcow2 image.
    pub fn image(&self, name: &ImageName) -> Result<Option<Image>, Error> {
        if listing::is_hidden(name.encoded()) {
            return Ok(None);
        }
        listing::read(&self.path_of(name), name.as_str())
    }

    /// Returns all that is known of one image, also how it was made.
    ///
    /// # Errors
    ///
    /// [`crate::ErrorKind::ImageNotFound`]; [`crate::ErrorKind::InvalidImage`] when the file is no standalone qcow2
    /// image.
    pub fn inspect(&self, name: &ImageName) -> Result<Inspection, Error> {
        inspect::inspect(self, name)
    }

    /// Finds out whether one image is whole: first the library itself follows its tables, then `qemu-img` does.
    /// Blocks for as long as it takes to read all tables.
    ///
    /// # Errors
    ///
    /// [`crate::ErrorKind::ImageNotFound`]; [`crate::ErrorKind::MissingProgram`] and
    /// [`crate::ErrorKind::ProgramFailed`] when `qemu-img` does not do its work. What is wrong with the image is no
    /// error, but in the [`ImageCheck`].
    pub fn check(&self, name: &ImageName, cancel: &CancelToken) -> Result<ImageCheck, Error> {
        check::check(self, name, cancel)
    }

    /// Returns the names of the VMs that have a disk on this image, sorted. The image need not exist.
    ///
    /// What a disk stands on is read from the disk itself; where that fails, the disk's name decides.
    ///
    /// # Errors
    ///
    /// [`crate::ErrorKind::Io`] when the VM store cannot be read.
    pub fn vms_using(&self, name: &ImageName) -> Result<Vec<String>, Error> {
        vms::using(&self.locations.vmstore, &self.path_of(name), name, vms::Which::Made)
    }

    /// Removes images, all or none. Returns a warning for each that was removed by `force` though VMs use it.
    ///
    /// A file of the backend that is no valid image is removed as well.
    ///
    /// # Errors
    ///
    /// [`crate::ErrorKind::ImageNotFound`]; [`crate::ErrorKind::ImageInUse`] without `force`.
    pub fn remove(&self, names: &[ImageName], force: bool) -> Result<Vec<String>, Error> {
        let mut warnings = Vec::new();
        let mut paths: Vec<PathBuf> = Vec::new();
        for name in names {
            let path = self.path_of(name);
            if paths.contains(&path) {
                continue;
            }
            if !self.has_file(name)? {
                return Err(no_image(name));
            }
            let vms = self.vms_using(name)?;
            if !vms.is_empty() && !force {
                return Err(in_use(name, vms).hint("remove these VMs first, or remove the image by force"));
            }
            if !vms.is_empty() {
                warnings.push(in_use(name, vms).to_string());
            }
            paths.push(path);
        }
        for path in paths {
            match fs::remove_file(&path) {
                // Another was quicker: it is gone, as was wished.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed.map_err(|error| failure("cannot remove", &path, error))?,
            }
        }
        // In this order: a record without an image does no harm.
        for name in names {
            if let Err(error) = self.provenance().remove(name) {
                tracing::warn!("{}", error.report());
            }
        }
        Ok(warnings)
    }

    /// Removes what nobody needs. Never waits: what somebody is at work on is needed.
    ///
    /// Removed is abandoned work, of processes that were killed; with [`PruneOptions::all`], also images that no VM
    /// has a disk on.
    ///
    /// ```no_run
    /// use transient_core::{Locations, PruneOptions, Store};
    ///
    /// let mut options = PruneOptions::default();
    /// options.all = true;
    /// options.dry_run = true;
    /// let pruned = Store::new(Locations::from_env()?).prune(&options)?;
    /// println!("{} bytes could be freed", pruned.freed);
    /// # Ok::<(), transient_core::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`crate::ErrorKind::Io`] when the backend or the VM store cannot be read, or an image cannot be removed.
    pub fn prune(&self, options: &PruneOptions) -> Result<Pruned, Error> {
        prune::prune(self, options)
    }

    /// Opens an image, for as long as its bytes are needed: it may be removed or replaced meanwhile.
    pub(crate) fn open(&self, name: &ImageName) -> Result<(File, Image), Error> {
        let path = self.path_of(name);
        let file = if listing::is_hidden(name.encoded()) { None } else { listing::open(&path)? };
        let file = file.ok_or_else(|| no_image(name))?;
        let image = listing::read_open(&file, &path, name.as_str())?;
        Ok((file, image))
    }

    /// Takes the name for a new image as [`Self::reserve`] does, but unless `replace`, refuses one that is taken.
    pub(crate) fn reserve_new(
        &self,
        name: &ImageName,
        replace: bool,
        reporter: &Reporter,
        cancel: &CancelToken,
    ) -> Result<Reservation, Error> {
        let check = || match !replace && self.has_file(name)? {
            true => Err(exists(name)),
            false => Ok(()),
        };
        check()?;
        let reservation = self.reserve(name, None, reporter, cancel)?;
        // What was waited for may have been the making of an image.
        check()?;
        Ok(reservation)
    }

    /// Takes the name for a new image, which must be free: neither is there an image, nor is anybody at work on one.
    pub(crate) fn reserve_free(&self, name: &ImageName) -> Result<Reservation, Error> {
        self.check_free(name)?;
        let reservation = Reservation::take_now(self, name)?;
        self.check_free(name)?;
        Ok(reservation)
    }

    /// Refuses the name of an image that exists, or of none that the backend can have.
    pub(crate) fn check_free(&self, name: &ImageName) -> Result<(), Error> {
        Reservation::check(self, name, None)?;
        if self.has_file(name)? { Err(exists(name)) } else { Ok(()) }
    }

    /// Takes the name for a new image and makes a folder for work on it, in the backend or, for a local
    /// image, in `local`. Waits until no other process has the name, and says so. Blocks.
    ///
    /// Before that, it clears away what processes left that were killed.
    pub(crate) fn reserve(
        &self,
        name: &ImageName,
        local: Option<&Path>,
        reporter: &Reporter,
        cancel: &CancelToken,
    ) -> Result<Reservation, Error> {
        Reservation::take(self, name, local, reporter, cancel)
    }

    /// Refuses what [`Self::reserve`] would refuse, and makes nothing. For a mistake to show before work begins.
    pub(crate) fn check_new(&self, name: &ImageName, local: Option<&Path>) -> Result<(), Error> {
        Reservation::check(self, name, local)
    }

    /// Refuses an image that exists and has a VM's disk on it: bytes under a disk must not change.
    fn check_replaceable(&self, name: &ImageName) -> Result<(), Error> {
        if !self.has_file(name)? {
            return Ok(());
        }
        let vms = self.vms_using(name)?;
        if vms.is_empty() {
            return Ok(());
        }
        Err(in_use(name, vms).hint("remove these VMs first, or give the new image another name"))
    }

    /// Whether the backend has a file for an image of that name, valid or not.
    fn has_file(&self, name: &ImageName) -> Result<bool, Error> {
        let path = self.path_of(name);
        match fs::symlink_metadata(&path) {
            Ok(metadata) => Ok(!metadata.is_dir() && !listing::is_hidden(name.encoded())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(failure("cannot read", &path, error)),
        }
    }

    /// Returns where it is told how images were made.
    fn provenance(&self) -> provenance::Folder {
        provenance::Folder::of(&self.locations.backend)
    }

    fn path_of(&self, name: &ImageName) -> PathBuf {
        self.locations.backend.join(name.encoded())
    }
}

/// Whether a file is there, and is a qcow2 image that stands on no other file.
pub(crate) fn is_standalone(path: &Path) -> Result<bool, Error> {
    listing::read(path, "").map(|image| image.is_some())
}

fn no_image(name: &ImageName) -> Error {
    Error::new(ErrorKind::ImageNotFound, format!("No image in backend with name '{}'", name.as_str()))
}

fn exists(name: &ImageName) -> Error {
    let message = format!("An image with the name '{}' already exists", name.as_str());
    Error::new(ErrorKind::ImageExists, message).hint("choose another name, or have it replaced by force")
}

fn in_use(name: &ImageName, vms: Vec<String>) -> Error {
    let list = vms.iter().map(|vm| quoted(vm)).collect::<Vec<_>>().join(", ");
    let message = format!("Backend '{}' is in use by [{list}]", name.as_str());
    Error::new(ErrorKind::ImageInUse, message).with_vms(vms)
}

/// Quotes a name as scripts know it from release 0.25: in single quotes, unless only those are in it.
fn quoted(name: &str) -> String {
    let quote = if name.contains('\'') && !name.contains('"') { '"' } else { '\'' };
    let mut quoted = String::from(quote);
    for character in name.chars() {
        match character {
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\\' => quoted.push_str("\\\\"),
            _ if character == quote => quoted.extend(['\\', quote]),
            _ if character.is_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(character))),
            _ => quoted.push(character),
        }
    }
    quoted.push(quote);
    quoted
}

/// An error of the operating system about a path of the backend, with what can be done about it.
pub(crate) fn failure(what: &str, path: &Path, error: io::Error) -> Error {
    failure_in("backend", what, path, error)
}

/// As [`failure`], about what people call `place`.
fn failure_in(place: &str, what: &str, path: &Path, error: io::Error) -> Error {
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            format!("check its owner and permissions, or choose another {place}")
        }
        io::ErrorKind::ReadOnlyFilesystem => format!("the filesystem is read-only; choose another {place}"),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            format!("free some space on that disk, or choose a {place} on another one")
        }
        io::ErrorKind::NotADirectory => {
            format!("a part of the path is a file; choose another {place}, or remove that file")
        }
        _ => return Error::io(format!("{what} '{}'", path.display()), error),
    };
    Error::io(format!("{what} '{}'", path.display()), error).hint(hint)
}
