//! What is known of one image.

use std::os::unix::fs::MetadataExt;

use serde::Serialize;

use super::provenance::{HistoryStep, Identity, MadeBy, Provenance, rfc3339};
use super::{Store, failure, listing, no_image};
use crate::image::Image;
use crate::image::header::{Format, Header};
use crate::{Error, ImageName};

/// What is known of an image.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Inspection {
    /// Its name, file and sizes.
    #[serde(flatten)]
    pub image: Image,
    /// The format of the file: `qcow2`.
    pub format: &'static str,
    /// When the file was last written, as in RFC 3339, in UTC.
    pub created: String,
    /// The release of QEMU that this version of qcow2 came with: `0.10` or `1.1`.
    pub compat: &'static str,
    /// How the clusters that are compressed are: `zlib` or `zstd`.
    pub compression: &'static str,
    /// The size of a cluster, in bytes.
    pub cluster_size: u64,
    /// The name of the image that it was built from, if that is known and it was one.
    pub parent: Option<String>,
    /// How it was made, if that is known: it is not of what release 0.25 made.
    pub provenance: Option<Provenance>,
    /// The VMs that have a disk on it, sorted.
    pub vms: Vec<String>,
    /// A sentence about a record of its making that cannot be used.
    pub warnings: Vec<String>,
}

impl Inspection {
    /// Returns the steps that made the image and its parents, the newest first; none if nothing is known.
    pub fn history(&self) -> Vec<&HistoryStep> {
        self.provenance.iter().flat_map(|provenance| provenance.steps.iter().rev()).collect()
    }
}

pub(super) fn inspect(store: &Store, name: &ImageName) -> Result<Inspection, Error> {
    let path = store.path_of(name);
    let file = if listing::is_hidden(name.encoded()) { None } else { listing::open(&path)? };
    let file = file.ok_or_else(|| no_image(name))?;
    let image = listing::read_open(&file, &path, name.as_str())?;
    let failed = |error| failure("cannot read", &path, error);
    let qcow2 = Header::read(&file).map_err(failed)?.qcow2.unwrap_or_default();
    let metadata = file.metadata().map_err(failed)?;
    let (provenance, warnings) = match store.provenance().read(name, Identity::of(&metadata)) {
        Ok(told) => (told.map(|told| told.provenance), Vec::new()),
        Err(warning) => (None, vec![warning]),
    };
    let parent = provenance.as_ref().and_then(|provenance| match &provenance.made_by {
        MadeBy::Build { parent, .. } => parent.as_ref().map(|parent| parent.name.clone()),
        MadeBy::Pull { .. } => None,
    });
    Ok(Inspection {
        image,
        format: Format::Qcow2.name(),
        created: rfc3339(metadata.mtime(), metadata.mtime_nsec().try_into().unwrap_or(0)),
        compat: qcow2.compat(),
        compression: qcow2.compression().name(),
        cluster_size: qcow2.cluster_size(),
        parent,
        provenance,
        vms: store.vms_using(name)?,
        warnings,
    })
}
