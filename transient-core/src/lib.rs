//! Builds, lists and removes virtual machine disk images, and runs virtual machines from them.
//!
//! An Imagefile is carried out in a small builder VM under QEMU, without root; what comes out is a standalone
//! qcow2 image in a [`Store`]. All calls block; they may be made from any thread, also from within an async
//! runtime, and long ones take an event listener and a [`CancelToken`].
//!
//! ```no_run
//! use transient_core::{BuildOptions, CancelToken, ImageName, Locations, Store, build};
//!
//! let store = Store::new(Locations::from_env()?);
//! let options = BuildOptions::new("my-image", ImageName::new("example")?);
//! let image = build(&store, &options, &mut |event| println!("{event:?}"), &CancelToken::new())?;
//! println!("{}", image.path.display());
//! for image in store.images()?.images {
//!     println!("{} {}", image.name, image.virtual_size);
//! }
//! # Ok::<(), transient_core::Error>(())
//! ```
//!
//! What was built is started by [`run`]; the [`Vm`] ends with its handle, and with the process.
//!
//! The library prints nothing, installs no signal handler and reads the environment only in
//! [`Locations::from_env`]; it logs through `tracing`.

#![warn(missing_docs)]
#![deny(unsafe_code)]

mod build;
mod builder;
mod call;
mod cancel;
mod copy;
mod error;
mod event;
mod export;
mod host;
pub mod image;
pub mod imagefile;
mod layer;
mod locations;
mod process;
mod progress;
mod qemu;
mod source;
mod store;
mod suggest;
mod sys;
mod terminal;
mod vm;
mod witness;

pub use build::{
    BuildOptions, Difference, DifferenceKind, DiskLayout, Mount, OnFailure, PartitionKind, PlacedPartition,
    Plan, Step, Terminal, build, check,
};
pub use builder::{Accelerator, Network, VmOptions, appliance};
pub use cancel::CancelToken;
pub use error::{Error, ErrorKind, Location};
pub use event::{Event, Stream};
pub use export::{ExportFormat, ExportOptions, export};
pub use image::{CompressionType, Image, ImageName, ImageSpec};
pub use imagefile::Imagefile;
pub use layer::CachedLayer;
pub use locations::{Downloads, Locations};
pub use source::{ImportOptions, import, pull};
pub use store::{
    HistoryStep, ImageCheck, Inspection, Listing, MadeBy, Parent, Provenance, PruneOptions, Pruned, Store,
    tag,
};
pub use vm::{
    ConfigFile, CopyOptions, FileCopy, RunOptions, RunningVm, SharedFolder, SshCommand, SshInput, SshOptions,
    SshSession, Vm, VmConfig, VmInfo, VmListing, commit, copy, create, run, ssh, start,
};

/// What the README shows compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
