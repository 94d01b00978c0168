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
mod cancel;
mod check;
mod downloads;
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
mod status;
mod store;
mod text;
mod version;

pub use appliance::*;
pub use build::*;
pub use cancel::*;
pub use check::*;
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
pub use status::*;
pub use store::*;
pub use text::transient_string_free;
pub use version::*;
