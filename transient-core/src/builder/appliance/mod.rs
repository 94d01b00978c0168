//! The appliance: a Linux kernel and an initramfs with the guest program and the filesystem tools.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, Locations};

/// The program that becomes `/init`, built by `build.rs`.
#[expect(dead_code, reason = "assembling is not written yet")]
static GUEST: &[u8] = include_bytes!(env!("TRANSIENT_GUEST"));

/// An appliance on disk: a folder with `kernel`, `initramfs` and `appliance.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Appliance {
    /// The folder.
    pub folder: PathBuf,
    /// The kernel file.
    pub kernel: PathBuf,
    /// The initramfs file.
    pub initramfs: PathBuf,
    /// What `appliance.json` says.
    pub description: Description,
}

/// What an appliance says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Description {
    /// The hash of everything that went into it.
    pub key: String,
    /// The kernel's release, as `uname -r` prints it.
    pub kernel_release: String,
    /// How QEMU can start the kernel.
    pub boot: BootProtocol,
    /// The files of the initramfs.
    pub files: Vec<IncludedFile>,
}

/// How QEMU can start a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BootProtocol {
    /// An ELF file with a PVH entry point: the fastest.
    Pvh,
    /// A bzImage.
    Linux,
}

/// A file of the initramfs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct IncludedFile {
    /// Its path in the guest.
    pub path: PathBuf,
    /// In bytes.
    pub size: u64,
    /// Where it was copied from; `None` for what the library makes itself.
    pub origin: Option<PathBuf>,
}

/// What to assemble an appliance from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inputs {
    /// The kernel; `None` is the newest readable one of the host.
    pub kernel: Option<PathBuf>,
    /// The folder of its modules (`.../lib/modules/RELEASE`); `None` is the host's for this kernel.
    pub modules: Option<PathBuf>,
}

/// Assembles an appliance into a folder, replacing what is there when all is whole.
///
/// # Errors
///
/// [`ErrorKind::ApplianceInvalid`] when an input is missing or cannot be used.
pub fn build(inputs: &Inputs, folder: &Path) -> Result<Appliance, Error> {
    let _ = (inputs, folder);
    Err(Error::new(ErrorKind::Internal, "not written yet"))
}

/// Returns the appliance that builds use: the first of `locations.appliances` that exists, else the one in
/// the cache, which is assembled from the host's kernel when it is missing.
///
/// # Errors
///
/// [`ErrorKind::ApplianceNotFound`] when there is none and none can be assembled.
pub fn find(locations: &Locations) -> Result<Appliance, Error> {
    let _ = locations;
    Err(Error::new(ErrorKind::Internal, "not written yet"))
}
