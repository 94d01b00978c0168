//! Appliances assembled from the host's kernel on first use.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::tools::{TOOLS, program};
use super::{Appliance, host, load, write};
use crate::Error;

/// What the files of the host looked like; stays outside of the appliance, which has no times in it.
const STAMPS: &str = "stamps.json";

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
    if let Some(appliance) = cached(folder, &kernel, root) {
        return Ok(appliance);
    }
    let failed = |error| Error::io(format!("could not write to the cache {}", folder.display()), error);
    fs::create_dir_all(folder).map_err(failed)?;
    let lock = fs::File::create(folder.join(".lock")).map_err(failed)?;
    flock(&lock, FlockOperation::LockExclusive).map_err(|errno| failed(errno.into()))?;
    // Another process may have made it while this one waited.
    if let Some(appliance) = cached(folder, &kernel, root) {
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

fn cached(folder: &Path, kernel: &Path, root: &Path) -> Option<Appliance> {
    let homes = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    let mut fresh =
        homes.filter(|home| is_fresh(home, kernel, root)).filter_map(|home| Appliance::open(home).ok());
    fresh.find(Appliance::is_current)
}

fn is_fresh(home: &Path, kernel: &Path, root: &Path) -> bool {
    let stamps =
        fs::read(home.join(STAMPS)).ok().and_then(|text| serde_json::from_slice::<Stamps>(&text).ok());
    let Some(stamps) = stamps else { return false };
    let absent = TOOLS.iter().map(|tool| tool.name).filter(|name| program(root, name).is_none());
    stamps.files.first().is_some_and(|stamp| stamp.path == kernel)
        && stamps.absent.iter().map(String::as_str).eq(absent)
        && stamps.files.iter().all(|stamp| Stamp::of(&stamp.path).as_ref() == Some(stamp))
}

/// Removes what newer appliances have replaced. Processes that still use one have its files open or are
/// about to: the last hour's are left alone.
fn prune(folder: &Path, keep: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let age = entry
            .metadata()
            .and_then(|metadata| metadata.modified())
            .ok()
            .and_then(|time| time.elapsed().ok());
        let old = age.is_some_and(|age| age.as_secs() > 3600);
        let path = entry.path();
        if path.is_dir() && path != keep && old {
            if let Err(error) = fs::remove_dir_all(&path) {
                tracing::debug!(path = %path.display(), %error, "an old appliance could not be removed");
            }
        }
    }
}
