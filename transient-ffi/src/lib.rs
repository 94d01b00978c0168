//! The C interface of transient: `include/transient.h` is made from this crate.
//!
//! Every function stands with its contract in the header; `docs/c.md` is the guide. A file here is a family of
//! functions; what they share is in [`boundary`] (no panic leaves, errors become objects) and [`text`].

#![warn(missing_docs)]
#![allow(non_camel_case_types, reason = "the types are named as in the header")]
#![allow(
    clippy::not_unsafe_ptr_arg_deref,
    reason = "every pointer is checked, and its contract is the header's"
)]

mod appliance;
mod boundary;
mod build;
mod builder;
mod bytes;
mod cancel;
mod check;
mod commit;
mod config_file;
mod copy;
mod downloads;
mod duration;
mod error;
mod event;
mod exchange;
mod explanation;
mod image;
mod imagefile;
mod inspection;
mod layer;
mod locations;
mod log;
mod plan;
mod prune;
mod pull;
mod run;
mod ssh;
mod status;
mod store;
mod terminal;
mod text;
mod version;
mod vm;
mod vm_config;
mod vm_list;

pub use appliance::*;
pub use build::*;
pub use builder::*;
pub use bytes::*;
pub use cancel::*;
pub use check::*;
pub use commit::*;
pub use config_file::*;
pub use copy::*;
pub use downloads::*;
pub use error::*;
pub use event::*;
pub use exchange::*;
pub use explanation::*;
pub use image::*;
pub use imagefile::*;
pub use inspection::*;
pub use layer::*;
pub use locations::*;
pub use log::*;
pub use plan::*;
pub use prune::*;
pub use pull::*;
pub use run::*;
pub use ssh::*;
pub use status::*;
pub use store::*;
pub use text::transient_string_free;
pub use version::*;
pub use vm::*;
pub use vm_config::*;
pub use vm_list::*;
