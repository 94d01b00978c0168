//! Removing what nobody needs.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use walkdir::WalkDir;

use super::lock::Lock;
use super::reservation::{SCRATCH, WORKING};
use super::scratch::{self, Scratch};
use super::{Store, failure, vms};
use crate::image::Image;
use crate::{Error, ImageName};

/// The unit of `st_blocks`.
const BLOCK: u64 = 512;

/// What [`Store::prune`] removes. By default abandoned work alone.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct PruneOptions {
    /// Remove also images that no VM has a disk on.
    pub all: bool,
    /// Of the images, only those that were made longer ago than this.
    pub older_than: Option<Duration>,
    /// Remove nothing; only say what would be.
    pub dry_run: bool,
}

/// What [`Store::prune`] removed, or would remove.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Pruned {
    /// The images, sorted by name.
    pub images: Vec<Image>,
    /// Files and folders of work that was abandoned.
    pub leftovers: Vec<PathBuf>,
    /// How many bytes of the host's disk are free now that were not. An image that has another name still frees none.
    pub freed: u64,
    /// One sentence for each file that looks like an image and is none, or that could not be removed.
    pub warnings: Vec<String>,
}

pub(super) fn prune(store: &Store, options: &PruneOptions) -> Result<Pruned, Error> {
    let mut pruned = Pruned::default();
    let mut account = Account::default();
    let working = store.locations.backend.join(WORKING);
    for folder in scratch::abandoned(&working, SCRATCH) {
        prune_folder(&folder, options, &mut account, &mut pruned);
    }
    for lock in files(&working) {
        prune_lock(&lock, options, &mut account, &mut pruned);
    }
    if options.all {
        prune_images(store, &working, options, &mut account, &mut pruned)?;
    }
    for record in store.stray_provenance() {
        prune_record(&record, options, &mut account, &mut pruned);
    }
    pruned.leftovers.sort();
    pruned.freed = account.freed();
    Ok(pruned)
}

fn files(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file())).map(|entry| entry.path())
}

fn prune_folder(folder: &Path, options: &PruneOptions, account: &mut Account, pruned: &mut Pruned) {
    let held: Vec<Metadata> =
        WalkDir::new(folder).into_iter().flatten().filter_map(|entry| entry.metadata().ok()).collect();
    if !options.dry_run
        && let Err(error) = scratch::sweep_one(folder)
    {
        pruned.warnings.push(format!("'{}' could not be removed: {error}", folder.display()));
        return;
    }
    held.iter().for_each(|metadata| account.add(metadata));
    pruned.leftovers.push(folder.to_owned());
}

fn prune_lock(lock: &Path, options: &PruneOptions, account: &mut Account, pruned: &mut Pruned) {
    let Ok(metadata) = fs::symlink_metadata(lock) else { return };
    let abandoned = match options.dry_run {
        true => Lock::is_abandoned(lock, false),
        // Taking it is enough: it is removed when it is released.
        false => Lock::inherit(lock, false).is_some(),
    };
    if abandoned {
        account.add(&metadata);
        pruned.leftovers.push(lock.to_owned());
    }
}

fn prune_record(record: &Path, options: &PruneOptions, account: &mut Account, pruned: &mut Pruned) {
    let Ok(metadata) = fs::symlink_metadata(record) else { return };
    if options.dry_run || fs::remove_file(record).is_ok() {
        account.add(&metadata);
        pruned.leftovers.push(record.to_owned());
    }
}

fn prune_images(
    store: &Store,
    working: &Path,
    options: &PruneOptions,
    account: &mut Account,
    pruned: &mut Pruned,
) -> Result<(), Error> {
    let listing = store.images()?;
    pruned.warnings.extend(listing.warnings);
    let images = listing.images.into_iter().filter(|image| is_older(image, options.older_than));
    // A file whose name the library would write otherwise has no lock that others know of.
    let named = |image: Image| {
        let name = ImageName::new(image.name.as_str()).ok()?;
        (store.path_of(&name) == image.path).then_some((image, name))
    };
    let mut aside = None;
    for (image, name) in images.filter_map(named) {
        let metadata = match fs::symlink_metadata(&image.path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(failure("cannot read", &image.path, error)),
        };
        let unneeded = if options.dry_run {
            !Lock::is_held(&working.join(name.encoded())) && !is_used(store, &name)?
        } else {
            let aside = match &aside {
                Some(aside) => aside,
                None => aside.insert(make_aside(working)?),
            };
            remove(store, &name, working, aside.path())?
        };
        if unneeded {
            account.add(&metadata);
            pruned.images.push(image);
        }
    }
    Ok(())
}

fn is_older(image: &Image, than: Option<Duration>) -> bool {
    let Some(than) = than else { return true };
    let made = fs::metadata(&image.path).and_then(|metadata| metadata.modified());
    // What was made in the future is not old.
    made.is_ok_and(|made| made.elapsed().is_ok_and(|age| age > than))
}

fn is_used(store: &Store, name: &ImageName) -> Result<bool, Error> {
    let vms = vms::using(&store.locations.vmstore, &store.path_of(name), name, vms::Which::All)?;
    Ok(!vms.is_empty())
}

fn make_aside(working: &Path) -> Result<Scratch, Error> {
    fs::create_dir_all(working).map_err(|error| failure("cannot make the folder", working, error))?;
    Scratch::make(working, SCRATCH)
}

/// Removes an image that nobody works on and no VM uses. Returns whether that was so.
///
/// It is put aside first: a VM that got its disk since the first look is seen by the second, and who comes later finds
/// no image.
fn remove(store: &Store, name: &ImageName, working: &Path, aside: &Path) -> Result<bool, Error> {
    let Some(_lock) = Lock::try_take(&working.join(name.encoded()))? else { return Ok(false) };
    if is_used(store, name)? {
        return Ok(false);
    }
    let (path, aside) = (store.path_of(name), aside.join("image.qcow2"));
    match fs::rename(&path, &aside) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        renamed => renamed.map_err(|error| failure("cannot remove", &path, error))?,
    }
    let used = is_used(store, name);
    if !matches!(used, Ok(false)) {
        fs::rename(&aside, &path).map_err(|error| failure("cannot put back", &path, error))?;
        return used.map(|_| false);
    }
    fs::remove_file(&aside).map_err(|error| failure("cannot remove", &aside, error))?;
    store.provenance().remove(name)?;
    Ok(true)
}

/// Counts what removing files frees: a file with several names only when its last one goes.
#[derive(Debug, Default)]
struct Account(HashMap<(u64, u64), Entry>);

#[derive(Debug)]
struct Entry {
    names: u64,
    removed: u64,
    occupied: u64,
}

impl Account {
    /// Counts one name of a file, which was looked at before it was removed.
    fn add(&mut self, metadata: &Metadata) {
        let (names, occupied) = (metadata.nlink(), metadata.blocks() * BLOCK);
        // The first look is that at all names.
        let entry = self.0.entry((metadata.dev(), metadata.ino()));
        entry.or_insert(Entry { names, removed: 0, occupied }).removed += 1;
    }

    fn freed(&self) -> u64 {
        let gone = self.0.values().filter(|entry| entry.removed >= entry.names);
        gone.map(|entry| entry.occupied).sum()
    }
}
