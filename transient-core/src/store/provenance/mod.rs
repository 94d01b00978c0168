//! How images were made: a record beside each, which shows nothing that is secret.
//!
//! The record of an image is a file of the same name in a hidden folder of the backend. It names the length and the
//! time of the image file that it describes: where another program has replaced that file, nothing is known of the
//! new one, rather than something wrong.

mod file;
mod in_store;
#[cfg(test)]
mod tests;
mod url;

use std::time::{Duration, Instant, SystemTime};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

pub(crate) use file::Told;
pub(super) use file::{Folder, Identity, Written};
pub(crate) use url::without_secrets_of_urls;

use crate::ImageSpec;
use crate::image::Checksum;
use crate::image::header::{Compression, Format};
use crate::layer::{Digest, Key};

/// How an image was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Provenance {
    /// Tells this making from any other, in hexadecimal digits. The same image under another name has the same.
    pub id: String,
    /// When the image was whole, as in RFC 3339, in UTC.
    pub created: String,
    /// The release of transient that made it.
    pub version: String,
    /// What it was made from.
    #[serde(flatten)]
    pub made_by: MadeBy,
    /// Every step that led to it, the first one first; those of its parent too.
    pub steps: Vec<HistoryStep>,
}

/// What an image was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
#[non_exhaustive]
pub enum MadeBy {
    /// An Imagefile.
    Build {
        /// The image that it started from; `None` is an empty disk.
        parent: Option<Parent>,
        /// What ran the builder VM's instructions: `kvm` or `tcg`.
        accelerator: String,
        /// The key of the appliance that was the builder VM.
        appliance: String,
    },
    /// A source.
    Pull {
        /// The spec, without what may be secret in a URL.
        spec: String,
        /// The format that the source had, for example `vmdk`.
        format: String,
        /// How the source was compressed, for example `xz`.
        compression: Option<String>,
        /// What the source was compared with, for example `sha256=` and 64 hexadecimal digits.
        checksum: Option<String>,
    },
}

/// The image that a build started from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Parent {
    /// Its name at that time.
    pub name: String,
    /// The [`Provenance::id`] that it had, if there was one.
    pub id: Option<String>,
    /// The length of its file, in bytes.
    pub length: u64,
    /// When its file was last written, in nanoseconds since 1970.
    pub modified: i64,
}

/// One step of those that made an image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HistoryStep {
    /// The image that it was done for.
    pub image: String,
    /// The instruction of the Imagefile, or `PULL` and the spec, without what may be secret in a URL.
    pub instruction: String,
    /// When it was done, as in RFC 3339, in UTC.
    pub finished: String,
    /// How long it took, in seconds.
    pub elapsed: f64,
}

impl HistoryStep {
    /// Returns a step that ends now.
    pub(crate) fn now(image: &str, instruction: String, started: Instant) -> Self {
        Self {
            image: image.to_owned(),
            instruction,
            finished: now(),
            elapsed: started.elapsed().as_secs_f64(),
        }
    }
}

/// What a build is asked to make, and the layers of which it made that. Two images of one recipe are the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Recipe {
    /// Of the finished disk, and how the image is compressed.
    pub(crate) key: Key,
    /// The layers themselves, the lowest first: one that is made anew is another one, with the same key.
    pub(crate) layers: Vec<Digest>,
}

/// What is known of an image's making before the image is whole.
#[derive(Debug)]
pub(crate) struct Making {
    pub(crate) made_by: MadeBy,
    pub(crate) steps: Vec<HistoryStep>,
}

impl Making {
    /// Returns that of an image that was just brought in. `spec` must have no secrets.
    pub(crate) fn pulled(
        spec: &ImageSpec,
        format: Format,
        compression: Option<Compression>,
        checksum: Option<&Checksum>,
        started: Instant,
    ) -> Self {
        let step = HistoryStep::now(spec.name.as_str(), format!("PULL {spec}"), started);
        let made_by = MadeBy::Pull {
            spec: spec.to_string(),
            format: format.name().to_owned(),
            compression: compression.map(|compression| compression.name().to_owned()),
            checksum: checksum.map(ToString::to_string),
        };
        Self { made_by, steps: vec![step] }
    }
}

impl From<Making> for Provenance {
    fn from(making: Making) -> Self {
        let Making { made_by, steps } = making;
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let mut provenance = Self { id: String::new(), created: now(), version, made_by, steps };
        // What is in it, with its times, is of no other making.
        let text = serde_json::to_vec(&provenance).unwrap_or_default();
        provenance.id = blake3::hash(&text).to_hex()[..32].to_owned();
        provenance
    }
}

fn now() -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    rfc3339(since.as_secs().try_into().unwrap_or(i64::MAX), since.subsec_nanos())
}

/// Returns a time as people and programs read it; what no calendar has is 1970.
pub(crate) fn rfc3339(seconds: i64, nanoseconds: u32) -> String {
    let time = DateTime::<Utc>::from_timestamp(seconds, nanoseconds).unwrap_or(DateTime::UNIX_EPOCH);
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}
