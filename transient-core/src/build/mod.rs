//! Carrying out an Imagefile.

mod archive;
mod base;
mod check;
mod command;
mod context;
mod copy;
mod disk;
mod explain;
mod failure;
mod ingredients;
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
pub use explain::{Difference, DifferenceKind};
pub use plan::{DiskLayout, Plan, Step};
pub(crate) use run::write_image;
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
    /// The first step, counted from 1, that is carried out though its result may be in the cache, with all that follow;
    /// the cache gets the new ones. `None` takes from the cache what is there, `Some(1)` takes nothing.
    pub no_cache_from: Option<usize>,
    /// Whether [`Event::Explanation`] tells why the first step that is carried out is not taken from the cache.
    pub explain: bool,
    /// What happens when a step fails, before the build does.
    pub on_failure: OnFailure,
    /// The name of an image, which must be free, that is made in the backend of the state before a step that fails. The
    /// build fails all the same; a hint of its error names the image.
    pub keep_failed: Option<ImageName>,
    /// How many bytes the layers in the cache may occupy, those in use aside.
    pub cache_limit: u64,
    /// What INSPECT talks to, and [`OnFailure::Shell`]; without it, these are errors.
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
            no_cache_from: None,
            explain: false,
            on_failure: OnFailure::default(),
            keep_failed: None,
            cache_limit: CACHE_LIMIT,
            terminal: None,
        }
    }
}

/// What happens when a step fails, before the build does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnFailure {
    /// Nothing more.
    #[default]
    Stop,
    /// [`BuildOptions::terminal`] gets a shell in the state before the step, in a VM of its own. Nothing that is done in
    /// it is kept.
    Shell,
}

/// A terminal that is handed to the library for a shell. It is set to raw mode while the shell runs.
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
