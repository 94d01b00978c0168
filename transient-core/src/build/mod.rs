//! Carrying out an Imagefile.

mod archive;
mod base;
mod check;
mod context;
mod copy;
mod disk;
mod inputs;
mod log;
mod plan;
mod run;
mod same;
mod stage;
mod transfer;
mod walk;
mod work;

use std::path::PathBuf;
use std::time::Instant;

pub use check::check;
pub use plan::{DiskLayout, Plan, Step};
pub use transient_guest::protocol::{Mount, Partition as PlacedPartition, PartitionKind};

use crate::builder::VmOptions;
use crate::call::call;
use crate::image::Image;
use crate::{CancelToken, CompressionType, Error, Event, ImageName, Store};

/// The name of an Imagefile in its build directory.
const IMAGEFILE: &str = "Imagefile";

/// What to build, and how.
#[derive(Debug)]
#[non_exhaustive]
pub struct BuildOptions {
    /// The build directory: where sources of COPY and ADD are looked for.
    pub directory: PathBuf,
    /// The name of the new image.
    pub name: ImageName,
    /// The Imagefile; `None` is `Imagefile` in the build directory.
    pub file: Option<PathBuf>,
    /// Whether the image goes into the build directory, as `NAME.qcow2`, and not into the backend.
    pub local: bool,
    /// How the clusters of the image are compressed; `None` is not at all.
    pub compress: Option<CompressionType>,
    /// How the builder VM is run.
    pub vm: VmOptions,
    /// Whether every step is carried out, also those whose result is in the cache; the cache gets the new ones.
    pub no_cache: bool,
    /// How many bytes the layers in the cache may occupy, those in use aside.
    pub cache_limit: u64,
    /// What INSPECT talks to; without it, INSPECT is an error.
    pub terminal: Option<Terminal>,
}

/// The default of [`BuildOptions::cache_limit`].
const CACHE_LIMIT: u64 = 20 << 30;

impl BuildOptions {
    /// Returns the options for a build with all defaults.
    pub fn new(directory: impl Into<PathBuf>, name: ImageName) -> Self {
        Self {
            directory: directory.into(),
            name,
            file: None,
            local: false,
            compress: None,
            vm: VmOptions::default(),
            no_cache: false,
            cache_limit: CACHE_LIMIT,
            terminal: None,
        }
    }
}

/// A terminal that is handed to the library for INSPECT. It is set to raw mode while the shell runs.
#[derive(Debug)]
pub struct Terminal {
    /// Where keys are read from; must be a terminal.
    pub input: std::os::fd::OwnedFd,
    /// Where the shell's output goes.
    pub output: std::os::fd::OwnedFd,
    /// The value of `TERM`, for example `xterm-256color`.
    pub term: String,
}

/// Builds an image. `listener` is called on the calling thread.
///
/// # Errors
///
/// Whatever can go wrong; see [`crate::ErrorKind`]. The store is then as it was.
pub fn build(
    store: &Store,
    options: &BuildOptions,
    listener: &mut dyn FnMut(Event),
    cancel: &CancelToken,
) -> Result<Image, Error> {
    let started = Instant::now();
    let image = call("transient-build", listener, cancel, |reporter, cancel| {
        run::run(store, options, reporter, cancel)
    })?;
    listener(Event::BuildFinished { image: image.clone(), elapsed: started.elapsed() });
    Ok(image)
}
