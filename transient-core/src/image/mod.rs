//! Images: their names, the specs by which an Imagefile refers to them, and their headers.

mod checksum;
pub mod header;
mod name;
mod size;
mod spec;

use std::fs::File;
use std::path::{Path, PathBuf};

pub use checksum::Checksum;
pub(crate) use checksum::Hasher;
pub use header::CompressionType;
pub use name::ImageName;
pub use size::{format_bytes, parse_bytes};
pub use spec::{ImageSpec, Protocol};

use crate::Error;
use header::Header;

/// An image of the backend (or a locally built one).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Image {
    /// The name, as people write it.
    pub name: String,
    /// The qcow2 file.
    pub path: PathBuf,
    /// The size of the disk that a VM sees, in bytes.
    pub virtual_size: u64,
    /// What the file occupies on the host's disk, in bytes.
    pub real_size: u64,
}

/// Returns the size of an image's disk, in bytes.
pub(crate) fn virtual_size(image: &Path) -> Result<u64, Error> {
    let header = File::open(image).and_then(|file| Header::read(&file));
    let failed = |error| Error::io(format!("cannot read '{}'", image.display()), error);
    header.map(|header| header.virtual_size).map_err(failed)
}
