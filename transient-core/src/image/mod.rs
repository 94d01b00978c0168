//! Images: their names, the specs by which an Imagefile refers to them, and their headers.

mod checksum;
pub mod header;
mod name;
mod size;
mod spec;

use std::path::PathBuf;

pub use checksum::Checksum;
pub(crate) use checksum::Hasher;
pub use header::CompressionType;
pub use name::ImageName;
pub use size::{format_bytes, parse_bytes};
pub use spec::{ImageSpec, Protocol};

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
