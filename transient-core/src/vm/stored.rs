//! VMs of the VM store: a folder each, with its configuration and its disks.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FlockOperation, RenameFlags};
use rustix::io::Errno;

use super::VmConfig;
use super::config_file::{self, ConfigFile};
use super::disk::{self, VmDisk};
use crate::event::Reporter;
use crate::store::Scratch;
use crate::{CancelToken, Error, ErrorKind, ImageName, ImageSpec, Store, source};

/// The file whose lock is the VM's.
const CONFIG: &str = "config";
/// How the names of folders begin in which VMs are made, and in which those live that are not kept.
pub(super) const SCRATCH: &str = ".vm-";
/// How long a lock is waited for: somebody may only be looking at the VM.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
const LOCK_INTERVAL: Duration = Duration::from_millis(20);

/// A VM of the store, locked: nobody else uses it meanwhile.
#[derive(Debug)]
pub(super) struct StoredVm {
    pub(super) name: String,
    pub(super) config: VmConfig,
    pub(super) disks: Vec<VmDisk>,
    folder: PathBuf,
    _lock: File,
}

impl StoredVm {
    /// Makes a VM, whose images are brought in where the backend lacks them. Returns its name.
    pub(super) fn create(
        store: &Store,
        config: &VmConfig,
        reporter: &Reporter,
        cancel: &CancelToken,
    ) -> Result<String, Error> {
        let name = match &config.name {
            Some(name) => name.clone(),
            None => ImageName::new(uuid::Uuid::new_v4().to_string())?,
        };
        if name.encoded().starts_with('.') {
            return Err(Error::new(ErrorKind::InvalidImageName, format!("'{name}' cannot name a VM"))
                .hint("folders that begin with '.' are no VMs of the VM store; choose another name"));
        }
        let folder = folder_of(store, &name);
        if folder.exists() {
            return Err(exists(&name));
        }
        let scratch = make(store, &name, config, reporter, cancel)?;
        let named = VmConfig { name: Some(name.clone()), ..config.clone() };
        write_config(store, scratch.path(), &named)?;
        let renamed = scratch.keep_as(|path| {
            rustix::fs::renameat_with(CWD, path, CWD, &folder, RenameFlags::NOREPLACE)
                .map_err(io::Error::from)
        });
        match renamed {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(exists(&name)),
            Err(error) => Err(Error::io(format!("cannot make the VM '{}'", folder.display()), error)),
            Ok(()) => Ok(name.as_str().to_owned()),
        }
    }

    /// Takes a VM. Somebody who uses it is not waited for.
    pub(super) fn open(store: &Store, name: &ImageName) -> Result<Self, Error> {
        let folder = folder_of(store, name);
        let path = folder.join(CONFIG);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(match folder.exists() {
                    true => broken(&folder, "it has no configuration"),
                    false => not_found(store, name),
                });
            }
            Err(error) => return Err(Error::io(format!("cannot read '{}'", path.display()), error)),
        };
        lock(&file, name)?;
        // Whoever had it before may have removed it.
        if !path.exists() {
            return Err(not_found(store, name));
        }
        let config = ConfigFile::read(&path)?.vm;
        let disks = disk::in_folder(&folder)?;
        if disks.is_empty() {
            return Err(broken(&folder, "it has no disk"));
        }
        Ok(Self { name: name.as_str().to_owned(), config, disks, folder, _lock: file })
    }

    /// Takes a VM to remove it, whatever is in it.
    pub(super) fn take(store: &Store, name: &ImageName) -> Result<Taken, Error> {
        let folder = folder_of(store, name);
        let lock_file = match File::open(folder.join(CONFIG)) {
            Ok(file) => file,
            Err(_) if folder.exists() => return Err(broken(&folder, "it has no configuration")),
            Err(_) => return Err(not_found(store, name)),
        };
        lock(&lock_file, name)?;
        Ok(Taken { folder, _lock: lock_file })
    }

    /// Returns the file in which its SSH host key is noted.
    pub(super) fn config_path(&self) -> PathBuf {
        self.folder.join(CONFIG)
    }
}

/// A VM of the store that nobody uses, and that is to be removed.
#[derive(Debug)]
pub(super) struct Taken {
    folder: PathBuf,
    _lock: File,
}

impl Taken {
    /// Removes it with its disks.
    pub(super) fn remove(self) -> Result<(), Error> {
        remove_folder(&self.folder)
    }
}

/// A VM that is not kept, but has disks as long as it lives.
#[derive(Debug)]
pub(super) struct TemporaryVm {
    pub(super) disks: Vec<VmDisk>,
    _scratch: Scratch,
}

impl TemporaryVm {
    pub(super) fn create(
        store: &Store,
        name: &ImageName,
        config: &VmConfig,
        reporter: &Reporter,
        cancel: &CancelToken,
    ) -> Result<Self, Error> {
        let scratch = make(store, name, config, reporter, cancel)?;
        Ok(Self { disks: disk::in_folder(scratch.path())?, _scratch: scratch })
    }
}

/// Makes the disks of a VM, in a folder of their own.
fn make(
    store: &Store,
    name: &ImageName,
    config: &VmConfig,
    reporter: &Reporter,
    cancel: &CancelToken,
) -> Result<Scratch, Error> {
    let vmstore = &store.locations().vmstore;
    let specs = image_specs(config)?;
    let images = specs
        .iter()
        .map(|spec| source::bring_in(store, spec, reporter, cancel))
        .collect::<Result<Vec<_>, _>>()?;
    fs::create_dir_all(vmstore)
        .map_err(|error| Error::io(format!("cannot make the folder '{}'", vmstore.display()), error))?;
    let scratch = Scratch::make_clean(vmstore, SCRATCH)?;
    for (number, (spec, image)) in specs.iter().zip(&images).enumerate() {
        disk::create(scratch.path(), name, number, &spec.name, image, cancel)?;
    }
    Ok(scratch)
}

/// Returns the images of a VM's disks, the one that it boots from first.
pub(super) fn image_specs(config: &VmConfig) -> Result<Vec<ImageSpec>, Error> {
    std::iter::once(&config.image).chain(&config.extra_images).map(|spec| spec.parse()).collect()
}

fn write_config(store: &Store, folder: &Path, config: &VmConfig) -> Result<(), Error> {
    let locations = store.locations();
    let path = folder.join(CONFIG);
    let text = config_file::render(config, &locations.backend, &locations.vmstore);
    File::create(&path)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .map_err(|error| Error::io(format!("cannot write '{}'", path.display()), error))
}

/// A VM as it can be read without taking it.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) name: String,
    /// The image of its first disk.
    pub(super) image: String,
    pub(super) config: VmConfig,
}

/// Returns the VMs of the store, sorted by name, and what is wrong with others.
pub(super) fn list(store: &Store) -> Result<(Vec<Seen>, Vec<String>), Error> {
    let vmstore = &store.locations().vmstore;
    let entries = match fs::read_dir(vmstore) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Default::default()),
        Err(error) => {
            return Err(Error::io(format!("cannot read the VM store '{}'", vmstore.display()), error));
        }
    };
    let (mut seen, mut warnings) = (Vec::new(), Vec::new());
    for entry in entries.flatten().filter(|entry| entry.path().is_dir()) {
        let Some(name) = ImageName::from_encoded(&entry.file_name()) else { continue };
        match look(&entry.path(), &name) {
            Ok(vm) => seen.push(vm),
            // It may just have been removed.
            Err(_) if !entry.path().exists() => {}
            Err(error) => warnings.push(error.report()),
        }
    }
    seen.sort_by(|one, other| one.name.cmp(&other.name));
    warnings.sort();
    Ok((seen, warnings))
}

fn look(folder: &Path, name: &ImageName) -> Result<Seen, Error> {
    let config = ConfigFile::read(&folder.join(CONFIG))?.vm;
    let disks = disk::in_folder(folder)?;
    let image =
        disks.first().map(|disk| disk.image.clone()).ok_or_else(|| broken(folder, "it has no disk"))?;
    Ok(Seen { name: name.as_str().to_owned(), image, config })
}

/// Returns the settings of a VM.
pub(super) fn config(store: &Store, name: &ImageName) -> Result<VmConfig, Error> {
    match is_there(store, name) {
        true => Ok(ConfigFile::read(&config_path(store, name))?.vm),
        false => Err(not_found(store, name)),
    }
}

/// Returns the file in which the SSH host key of a VM is noted.
pub(super) fn config_path(store: &Store, name: &ImageName) -> PathBuf {
    folder_of(store, name).join(CONFIG)
}

/// Removes the folder of a VM, whoever uses it.
pub(super) fn remove_by_force(store: &Store, name: &ImageName) -> Result<(), Error> {
    let folder = folder_of(store, name);
    if !folder.exists() {
        return Err(not_found(store, name));
    }
    remove_folder(&folder)
}

/// Whether the store has a VM of that name.
pub(super) fn is_there(store: &Store, name: &ImageName) -> bool {
    folder_of(store, name).exists()
}

/// In one step: a VM is there whole, or not at all.
fn remove_folder(folder: &Path) -> Result<(), Error> {
    let failed = |error| Error::io(format!("cannot remove '{}'", folder.display()), error);
    let parent = folder.parent().unwrap_or(Path::new("."));
    let scratch = Scratch::make_clean(parent, SCRATCH)?;
    fs::rename(folder, scratch.path().join("removed")).map_err(failed)?;
    fs::remove_dir_all(scratch.path().join("removed")).map_err(failed)
}

fn folder_of(store: &Store, name: &ImageName) -> PathBuf {
    store.locations().vmstore.join(name.encoded())
}

fn lock(file: &File, name: &ImageName) -> Result<(), Error> {
    let begun = Instant::now();
    loop {
        match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(Errno::WOULDBLOCK) if begun.elapsed() < LOCK_PATIENCE => thread::sleep(LOCK_INTERVAL),
            Err(Errno::WOULDBLOCK) => {
                let message = format!(
                    "Unable to acquire lock for the VM named '{name}'\nIt may be in use by another process"
                );
                return Err(Error::new(ErrorKind::VmInUse, message)
                    .hint("`transient ps` lists the VMs that run, `transient stop` ends one"));
            }
            Err(error) => return Err(Error::io(format!("cannot lock the VM '{name}'"), error.into())),
        }
    }
}

pub(super) fn not_found(store: &Store, name: &ImageName) -> Error {
    let vmstore = store.locations().vmstore.display();
    Error::new(ErrorKind::VmNotFound, format!("No VM with name '{name}' found"))
        .hint(format!("`transient ps --all` lists those that are in '{vmstore}'"))
}

fn exists(name: &ImageName) -> Error {
    Error::new(ErrorKind::VmExists, format!("A VM with name {name} already exists"))
        .hint("start it with `transient start`, or choose another name")
}

fn broken(folder: &Path, why: &str) -> Error {
    Error::new(ErrorKind::Io, format!("'{}' is no whole VM: {why}", folder.display()))
        .hint("`transient rm --force` removes it")
}
