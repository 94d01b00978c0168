//! Appliances assembled from the host's kernel on first use.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::tools::{TOOLS, program};
use super::{Appliance, host, load, write};
use crate::Error;

/// What the files of the host looked like; stays outside of the appliance, which has no times in it.
const STAMPS: &str = "stamps.json";
/// How long an appliance stays after its last use.
const UNUSED: Duration = Duration::from_secs(7 * 24 * 3600);

/// Tells without reading whether a cached appliance is still what would be assembled.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamps {
    /// The kernel and all files that were copied.
    files: Vec<Stamp>,
    /// The tools that the host did not have.
    absent: Vec<String>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    path: PathBuf,
    size: u64,
    seconds: i64,
    nanoseconds: i64,
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            path: path.to_owned(),
            size: metadata.len(),
            seconds: metadata.mtime(),
            nanoseconds: metadata.mtime_nsec(),
        })
    }
}

/// Returns the cached appliance, assembled first where it is missing or the host has changed.
pub(super) fn find(folder: &Path, root: &Path) -> Result<Appliance, Error> {
    let (kernel, modules) = host::newest(root)?;
    if let Some(appliance) = cached(folder, &kernel) {
        return Ok(appliance);
    }
    let failed = |error| Error::io(format!("could not write to the cache {}", folder.display()), error);
    fs::create_dir_all(folder).map_err(failed)?;
    let lock = fs::File::create(folder.join(".lock")).map_err(failed)?;
    flock(&lock, FlockOperation::LockExclusive).map_err(|errno| failed(errno.into()))?;
    // Another process may have made it while this one waited.
    if let Some(appliance) = cached(folder, &kernel) {
        return Ok(appliance);
    }
    tracing::info!(kernel = %kernel.display(), "assembling an appliance");
    let assembled = load(&kernel, &modules)?;
    let home = folder.join(&assembled.description.key);
    if Appliance::open(&home).is_err() {
        write(&assembled, &home)?;
    }
    let description = &assembled.description;
    let origins = description.files.iter().filter_map(|file| file.origin.as_deref());
    let stamps = Stamps {
        files: std::iter::once(kernel.as_path()).chain(origins).filter_map(Stamp::of).collect(),
        absent: description.absent.clone(),
    };
    let text = serde_json::to_vec(&stamps).map_err(|error| failed(error.into()))?;
    fs::write(home.join(STAMPS), text).map_err(failed)?;
    prune(folder, &home);
    Appliance::open(home)
}

fn cached(folder: &Path, kernel: &Path) -> Option<Appliance> {
    let homes = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    let mut fresh = homes.filter(|home| is_fresh(home, kernel)).filter_map(|home| Appliance::open(home).ok());
    let appliance = fresh.find(Appliance::is_current)?;
    // The folder's time says when it was last used, see `prune`.
    let touched = fs::File::open(&appliance.folder).and_then(|file| file.set_modified(SystemTime::now()));
    if let Err(error) = touched {
        tracing::debug!(%error, "the time of the cached appliance could not be set");
    }
    Some(appliance)
}

fn is_fresh(home: &Path, kernel: &Path) -> bool {
    let stamps =
        fs::read(home.join(STAMPS)).ok().and_then(|text| serde_json::from_slice::<Stamps>(&text).ok());
    let Some(stamps) = stamps else { return false };
    let absent = TOOLS.iter().map(|tool| tool.name).filter(|name| program(Path::new("/"), name).is_none());
    stamps.files.first().is_some_and(|stamp| stamp.path == kernel)
        && stamps.absent.iter().map(String::as_str).eq(absent)
        && stamps.files.iter().all(|stamp| Stamp::of(&stamp.path).as_ref() == Some(stamp))
}

/// Removes what was not used for long; another version of the library may still use what this one does not.
fn prune(folder: &Path, keep: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let age = entry
            .metadata()
            .and_then(|metadata| metadata.modified())
            .ok()
            .and_then(|time| time.elapsed().ok());
        let old = age.is_some_and(|age| age > UNUSED);
        let path = entry.path();
        if path.is_dir()
            && path != keep
            && old
            && let Err(error) = fs::remove_dir_all(&path)
        {
            tracing::debug!(path = %path.display(), %error, "an old appliance could not be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builder::appliance::kernel::tests::bz_image;

    fn host() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let modules = root.path().join("lib/modules/6.1.0-test");
        fs::create_dir_all(&modules).unwrap();
        let names = ["virtio_mmio", "virtio_pci", "virtio_blk", "virtio_console"];
        fs::write(modules.join("modules.builtin"), names.map(|name| format!("kernel/{name}.ko\n")).concat())
            .unwrap();
        fs::create_dir(root.path().join("boot")).unwrap();
        fs::write(root.path().join("boot/vmlinuz-6.1.0-test"), bz_image(b"")).unwrap();
        root
    }

    #[test]
    fn it_is_assembled_once_for_each_kernel() {
        let (root, cache) = (host(), tempfile::tempdir().unwrap());
        let first = find(cache.path(), root.path()).unwrap();
        assert!(first.is_current());
        let inode = fs::metadata(&first.initramfs).unwrap().ino();
        fs::write(first.folder.join("mark"), "").unwrap();
        let second = find(cache.path(), root.path()).unwrap();
        assert_eq!((second.folder.join("mark").exists(), second), (true, first.clone()));
        assert_eq!(fs::metadata(&first.initramfs).unwrap().ino(), inode);

        fs::write(root.path().join("boot/vmlinuz-6.1.0-test"), bz_image(b"another")).unwrap();
        assert_ne!(find(cache.path(), root.path()).unwrap().folder, first.folder);
    }

    #[test]
    fn what_was_not_used_for_long_is_removed() {
        let (root, cache) = (host(), tempfile::tempdir().unwrap());
        let (old, recent) = (cache.path().join("old"), cache.path().join("recent"));
        fs::create_dir(&old).unwrap();
        fs::create_dir(&recent).unwrap();
        fs::File::open(&old).unwrap().set_modified(SystemTime::now() - UNUSED - UNUSED).unwrap();
        find(cache.path(), root.path()).unwrap();
        assert!(!old.exists() && recent.exists());
    }

    #[test]
    fn a_half_written_one_is_not_used() {
        let (root, cache) = (host(), tempfile::tempdir().unwrap());
        let first = find(cache.path(), root.path()).unwrap();
        fs::remove_file(&first.initramfs).unwrap();
        assert!(find(cache.path(), root.path()).unwrap().initramfs.is_file());
    }
}
