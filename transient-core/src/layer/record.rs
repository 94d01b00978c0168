//! What is written beside a layer.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use transient_guest::protocol::MountedDevice;

use super::{Digest, Key, KeyMaker};
use crate::store::HistoryStep;
use crate::witness::Witness;

/// The form of records; another one is not read.
const FORM: u32 = 2;

/// Something that a step read from the build directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Input {
    /// From the build directory.
    pub(crate) path: PathBuf,
    /// `file`, `directory`, `link` or `special`.
    pub(crate) kind: String,
    pub(crate) mode: u32,
    /// Of the bytes of a file, or of where a link leads.
    pub(crate) digest: Digest,
}

/// What a layer was made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Made {
    /// The layer that it stands on; `None` on an empty disk, or on an image.
    pub(crate) parent: Option<Key>,
    /// Which one of that key, if it stands on a layer: what was written above one cannot stand on another.
    pub(crate) below: Option<Digest>,
    /// The steps, as they may be shown; none at the end of a build.
    pub(crate) steps: Vec<HistoryStep>,
    /// What ran the builder VM's instructions.
    pub(crate) accelerator: String,
    /// Nanoseconds since 1970, before the first step of the chain changed anything.
    pub(crate) since: u64,
    /// What of an image is mounted; nothing on a new disk.
    pub(crate) mounts: Vec<MountedDevice>,
}

/// A whole layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    form: u32,
    pub(crate) key: Key,
    pub(crate) made: Made,
    /// The boot of the host in which it was made: until it is synced, it is good for no other.
    boot: String,
    synced: bool,
    witness: Witness,
}

impl Record {
    /// Returns the record of a layer whose file will not change any more.
    pub(crate) fn new(key: Key, made: Made, file: &File, boot: &str) -> io::Result<Self> {
        let boot = boot.to_owned();
        Ok(Self { form: FORM, key, made, boot, synced: false, witness: Witness::of(file)? })
    }

    /// Returns the same for a file that is on the disk.
    pub(crate) fn synced(self) -> Self {
        Self { synced: true, ..self }
    }

    /// Tells this layer from others with the same key.
    pub(crate) fn identity(&self) -> Digest {
        Digest::of(&serde_json::to_vec(&(&self.key, &self.witness)).unwrap_or_default())
    }

    pub(crate) fn is_synced(&self) -> bool {
        self.synced
    }

    /// Whether this is the record of `key`, and the file is still what it was.
    pub(crate) fn holds(&self, key: Key, file: &File, boot: &str) -> bool {
        let same = || Witness::of(file).is_ok_and(|witness| witness == self.witness);
        self.form == FORM && self.key == key && (self.synced || self.boot == boot) && same()
    }
}

impl Input {
    /// Adds it to what makes a key.
    pub(crate) fn add_to(&self, maker: &mut KeyMaker) {
        maker.part("path", self.path.as_os_str().as_encoded_bytes());
        maker.part(&self.kind, &self.mode.to_le_bytes());
        maker.part("content", self.digest.as_bytes());
    }
}
