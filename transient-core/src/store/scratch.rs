//! Folders for work in progress, and clearing away those of the dead.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::failure;
use super::lock::Lock;
use crate::Error;

/// The file in a scratch folder whose lock says that its maker lives.
const LOCK: &str = ".lock";
/// How many random characters end the name of a scratch folder.
const RANDOM: usize = 6;

/// A scratch folder. Dropping it removes it with all that is in it.
#[derive(Debug)]
pub(crate) struct Scratch {
    // In this order: the lock must be held until the folder is gone.
    folder: TempDir,
    _lock: Lock,
}

impl Scratch {
    /// Makes a folder in `parent` whose name begins with `prefix`.
    pub(crate) fn make(parent: &Path, prefix: &str) -> Result<Self, Error> {
        loop {
            let folder = tempfile::Builder::new().prefix(prefix).rand_bytes(RANDOM).tempdir_in(parent);
            let folder = folder.map_err(|error| failure("cannot make a folder in", parent, error))?;
            // A sweep may come between the two calls, find no living maker, and remove the folder.
            match Lock::try_take(&folder.path().join(LOCK)) {
                Ok(Some(lock)) => return Ok(Self { folder, _lock: lock }),
                Err(error) if folder.path().exists() => return Err(error),
                Ok(None) | Err(_) => {}
            }
        }
    }

    /// As [`Self::make`], after removing those in `parent` whose makers are dead.
    pub(crate) fn make_clean(parent: &Path, prefix: &str) -> Result<Self, Error> {
        sweep(parent, prefix);
        Self::make(parent, prefix)
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Makes what is in the folder permanent, by renaming it. If that fails, it is removed.
    pub(crate) fn keep_as(self, rename: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
        let Self { folder, _lock: lock } = self;
        // The folder goes without it; nobody removes one that holds anything and has no lock.
        drop(lock);
        rename(folder.path())?;
        let _ = folder.keep();
        Ok(())
    }
}

/// Removes every scratch folder in `parent` whose maker is dead. What cannot be removed stays.
pub(crate) fn sweep(parent: &Path, prefix: &str) {
    for folder in folders(parent, prefix) {
        if let Err(error) = sweep_one(&folder) {
            tracing::warn!("'{}' could not be removed: {error}", folder.display());
        }
    }
}

/// Whether a scratch folder's maker lives.
pub(super) fn is_alive(folder: &Path) -> bool {
    Lock::is_held(&folder.join(LOCK))
}

/// Returns the scratch folders in `parent`, of the living and of the dead.
fn folders(parent: &Path, prefix: &str) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter(move |entry| is_scratch(entry.file_name().as_encoded_bytes(), prefix))
        .map(|entry| entry.path())
}

/// Returns the scratch folders in `parent` whose maker is dead. Those without anything in them are not worth a word.
pub(super) fn abandoned(parent: &Path, prefix: &str) -> Vec<PathBuf> {
    folders(parent, prefix).filter(|folder| Lock::is_abandoned(&folder.join(LOCK), true)).collect()
}

fn is_scratch(name: &[u8], prefix: &str) -> bool {
    let random = name.strip_prefix(prefix.as_bytes());
    random.is_some_and(|random| random.len() == RANDOM && random.iter().all(u8::is_ascii_alphanumeric))
}

pub(super) fn sweep_one(folder: &Path) -> io::Result<()> {
    if let Some(_lock) = Lock::inherit(&folder.join(LOCK), true) {
        tracing::info!("removing '{}', which a process left that ended", folder.display());
        return fs::remove_dir_all(folder);
    }
    // Its maker may have ended before it made the lock. A folder that holds anything is not removed.
    match fs::remove_dir(folder) {
        Err(error) if !matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotFound) => {
            Err(error)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFIX: &str = ".build-";

    #[test]
    fn a_living_makers_folder_stays_and_a_dead_ones_goes() {
        let parent = tempfile::tempdir().expect("a folder");
        let living = Scratch::make(parent.path(), PREFIX).expect("made");
        fs::write(living.path().join("disk"), "x").expect("written");
        // What a process leaves that was killed: the folder and its lock file, which nobody has locked.
        let dead = parent.path().join(".build-abcDEF");
        fs::create_dir_all(dead.join("sub")).expect("made");
        fs::write(dead.join(LOCK), "4711\n").expect("written");
        fs::write(dead.join("sub/disk"), "x").expect("written");
        fs::create_dir(parent.path().join(".build-000000")).expect("made");
        sweep(parent.path(), PREFIX);
        assert!(living.path().join("disk").exists());
        assert!(!dead.exists());
        assert!(!parent.path().join(".build-000000").exists());
        drop(living);
        assert_eq!(fs::read_dir(parent.path()).expect("readable").count(), 0);
    }

    #[test]
    fn what_is_no_scratch_folder_stays() {
        let parent = tempfile::tempdir().expect("a folder");
        for name in [".build-abcde", ".build-abcdefg", ".build-abc.ef", "build-abcdef", ".build-abcdef"] {
            fs::create_dir(parent.path().join(name)).expect("made");
            fs::write(parent.path().join(name).join("data"), "x").expect("written");
        }
        sweep(parent.path(), PREFIX);
        assert_eq!(fs::read_dir(parent.path()).expect("readable").count(), 5);
    }

    #[test]
    fn making_goes_on_while_others_sweep() {
        let parent = tempfile::tempdir().expect("a folder");
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| (0..200).for_each(|_| sweep(parent.path(), PREFIX)));
            }
            for _ in 0..50 {
                let scratch = Scratch::make(parent.path(), PREFIX).expect("made");
                fs::write(scratch.path().join("disk"), "x").expect("still there");
            }
        });
    }
}
