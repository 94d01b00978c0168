//! Names that are taken for a new image, and making work in progress an image.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::lock::Lock;
use super::provenance::{Folder, Told, Written};
use super::scratch::{Scratch, sweep};
use super::tag::link;
use super::{Store, failure, listing};
use crate::event::Reporter;
use crate::image::Image;
use crate::{CancelToken, Error, ErrorKind, ImageName};

/// Where work in progress is, in the backend.
pub(super) const WORKING: &str = ".working";
/// How scratch folders there begin. A raw `-` is in no encoded name, so none is taken for another's lock.
pub(super) const SCRATCH: &str = ".build-";
/// Nobody may write: not even QEMU's `commit` key, by which a VM's disk would end in its backing file.
const READ_ONLY: u32 = 0o444;
/// The longest name of a file.
const LONGEST_NAME: usize = 255;

/// A name that is taken, and a folder for work in progress. Dropping it removes the folder and frees the name.
#[derive(Debug)]
pub(crate) struct Reservation {
    // In this order: the name is freed last.
    scratch: Scratch,
    store: Store,
    name: ImageName,
    place: Place,
    told: Option<Told>,
    _lock: Lock,
}

/// Where an image will be, and where work on it is done.
#[derive(Debug)]
struct Place {
    /// Where the image will be.
    destination: PathBuf,
    /// The folder that it will be in.
    folder: PathBuf,
    /// The folder for locks and scratch folders.
    working: PathBuf,
    /// The file whose lock takes the name.
    lock: PathBuf,
    /// How the names of scratch folders begin.
    prefix: String,
    /// Whether this is a file in a build directory, and no image of the backend.
    local: bool,
}

impl Place {
    fn of(store: &Store, name: &ImageName, local: Option<&Path>) -> Result<Self, Error> {
        match local {
            Some(folder) => Self::in_build_directory(folder, name),
            None => Self::in_backend(store, name),
        }
    }

    fn in_backend(store: &Store, name: &ImageName) -> Result<Self, Error> {
        if listing::is_hidden(name.encoded()) {
            let message = format!("'{}' cannot name an image of the backend", name.as_str());
            return Err(Error::new(ErrorKind::InvalidImageName, message)
                .hint("files that begin with '.' are not images there; choose another name"));
        }
        let folder = store.locations.backend.clone();
        let working = folder.join(WORKING);
        Ok(Self {
            destination: folder.join(name.encoded()),
            lock: working.join(name.encoded()),
            prefix: SCRATCH.to_owned(),
            local: false,
            folder,
            working,
        })
    }

    fn in_build_directory(folder: &Path, name: &ImageName) -> Result<Self, Error> {
        let text = name.as_str();
        let refused = |hint: &str| {
            let message = format!("'{text}' cannot name a local image, which is a file '{text}.qcow2'");
            Err(Error::new(ErrorKind::InvalidImageName, message).hint(hint))
        };
        if text.contains('/') {
            return refused("choose a name without '/'");
        }
        let prefix = format!(".{text}.working-");
        if prefix.len() + ".build-".len() > LONGEST_NAME {
            return refused("choose a shorter name");
        }
        Ok(Self {
            destination: folder.join(format!("{text}.qcow2")),
            lock: folder.join(format!(".{text}.working")),
            prefix,
            local: true,
            folder: folder.to_owned(),
            working: folder.to_owned(),
        })
    }

    fn what(&self, name: &ImageName) -> String {
        match self.local {
            true => format!("'{}'", self.destination.display()),
            false => format!("image '{}'", name.as_str()),
        }
    }
}

impl Reservation {
    pub(super) fn check(store: &Store, name: &ImageName, local: Option<&Path>) -> Result<(), Error> {
        match Place::of(store, name, local)?.local {
            true => Ok(()),
            false => store.check_replaceable(name),
        }
    }

    pub(super) fn take(
        store: &Store,
        name: &ImageName,
        local: Option<&Path>,
        reporter: &Reporter,
        cancel: &CancelToken,
    ) -> Result<Self, Error> {
        let place = Place::of(store, name, local)?;
        if place.local {
            return Self::take_place(store, name, place, reporter, cancel);
        }
        // Before anything is made, and before waiting.
        store.check_replaceable(name)?;
        working(store)?;
        sweep_locks(&place.working);
        let reservation = Self::take_place(store, name, place, reporter, cancel)?;
        // What was waited for may have been the making of an image, on which there may be VMs by now.
        store.check_replaceable(name)?;
        Ok(reservation)
    }

    /// Takes a name in the backend that nobody is at work on: who waits while holding another one may wait for ever.
    pub(super) fn take_now(store: &Store, name: &ImageName) -> Result<Self, Error> {
        let place = Place::in_backend(store, name)?;
        working(store)?;
        sweep_locks(&place.working);
        let lock = Lock::try_take(&place.lock)?.ok_or_else(|| {
            let message = format!("another process is making the {}", place.what(name));
            Error::new(ErrorKind::ImageExists, message).hint("choose another name")
        })?;
        Self::with_lock(store, name, place, lock)
    }

    fn take_place(
        store: &Store,
        name: &ImageName,
        place: Place,
        reporter: &Reporter,
        cancel: &CancelToken,
    ) -> Result<Self, Error> {
        let lock = Lock::take(&place.lock, &place.what(name), reporter, cancel)?;
        Self::with_lock(store, name, place, lock)
    }

    fn with_lock(store: &Store, name: &ImageName, place: Place, lock: Lock) -> Result<Self, Error> {
        sweep(&place.working, &place.prefix);
        let scratch = Scratch::make(&place.working, &place.prefix)?;
        Ok(Self { scratch, store: store.clone(), name: name.clone(), place, told: None, _lock: lock })
    }

    /// Returns the folder, which is on the same filesystem as the image will be. Names that begin with `.`
    /// are taken there.
    pub(crate) fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// Returns where the image will be.
    pub(crate) fn destination(&self) -> &Path {
        &self.place.destination
    }

    /// Returns what a reservation adds to a build directory, which is not part of what people put there.
    pub(crate) fn traces(&self) -> [&Path; 2] {
        [self.scratch.path(), &self.place.lock]
    }

    /// Says how the image was made. Else nothing will be known of it.
    pub(crate) fn tell(&mut self, told: impl Into<Told>) {
        self.told = Some(told.into());
    }

    /// Makes a whole qcow2 file in the folder the image: read-only, on disk, and then visible to others.
    /// An image of that name is replaced.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidImage`] when the file is no standalone qcow2 image; [`ErrorKind::ImageInUse`] when
    /// a VM got a disk on the image that would be replaced.
    pub(crate) fn commit(self, file: &Path) -> Result<Image, Error> {
        let failed = |error| failure("cannot finish", file, error);
        let open = File::open(file).map_err(failed)?;
        open.set_permissions(Permissions::from_mode(READ_ONLY)).map_err(failed)?;
        open.sync_all().map_err(failed)?;
        self.publish(file, &open)
    }

    /// As [`Self::commit`], for what is another name of an image: nothing of the file itself changes.
    pub(crate) fn commit_link(self, link: &Path) -> Result<Image, Error> {
        let open = File::open(link).map_err(|error| failure("cannot finish", link, error))?;
        self.publish(link, &open)
    }

    /// Gives an image's file a name in the folder as well, for [`Self::commit_link`]; where that cannot be, makes
    /// another file there that shares its blocks. `None` when neither can be.
    pub(crate) fn share(&self, file: &File) -> Option<PathBuf> {
        let new = self.folder().join("same.qcow2");
        let clone = || {
            let clone = File::create_new(&new)?;
            rustix::fs::ioctl_ficlone(&clone, file)?;
            clone.set_permissions(Permissions::from_mode(READ_ONLY))?;
            clone.sync_all()
        };
        let shared = link(file, &new).is_ok_and(|linked| linked) || clone().is_ok();
        shared.then_some(new)
    }

    fn publish(mut self, file: &Path, open: &File) -> Result<Image, Error> {
        let told = self.told.take();
        let place = &self.place;
        // Not before: what the file occupies is only known when it is on disk.
        let image = listing::read_open(open, file, self.name.as_str())?;
        if !place.local {
            self.store.check_replaceable(&self.name)?;
        }
        let record = told.filter(|_| !place.local).and_then(|told| self.write_record(told, open));
        fs::rename(file, &place.destination)
            .map_err(|error| failure("cannot put the image at", &place.destination, error))?;
        // In this order: a record is about one file, so that an image has none until its own is there.
        if !place.local
            && let Err(error) = self.store.provenance().replace(&self.name, record)
        {
            tracing::warn!("{}", error.report());
        }
        // The image is there whether or not this succeeds: it only matters for a crash of the host.
        if let Err(error) = File::open(&place.folder).and_then(|folder| folder.sync_all()) {
            tracing::warn!("'{}' could not be synced: {error}", place.folder.display());
        }
        Ok(Image { path: place.destination.clone(), ..image })
    }

    /// Writes down how the image was made. An image without that is better than none.
    fn write_record(&self, told: Told, image: &File) -> Option<Written> {
        let written = image
            .metadata()
            .map_err(|error| failure("cannot read", &self.place.destination, error))
            .and_then(|metadata| Folder::write(&self.name, &metadata, told, self.folder()));
        written.inspect_err(|error| tracing::warn!("{}", error.report())).ok()
    }
}

/// Returns the folder for work in progress in the backend, and makes it if need be.
pub(super) fn working(store: &Store) -> Result<PathBuf, Error> {
    let working = store.locations.backend.join(WORKING);
    fs::create_dir_all(&working).map_err(|error| failure("cannot make the folder", &working, error))?;
    Ok(working)
}

/// Removes the locks of dead processes.
fn sweep_locks(working: &Path) {
    for entry in fs::read_dir(working).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_file()) {
            // Taking it is enough: it is removed when it is released.
            drop(Lock::inherit(&entry.path(), false));
        }
    }
}
