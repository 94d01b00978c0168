//! What the host and the builder VM's guest program have in common.
//!
//! They must agree on the [`protocol`], and both read archives, unpack and pack them; the program itself is the
//! binary, behind the feature `agent`.

#![warn(missing_docs)]
#![forbid(unsafe_code)]

#[cfg(feature = "archive")]
pub mod archive;
#[cfg(feature = "files")]
pub mod failure;
pub mod frames;
#[cfg(feature = "files")]
pub mod inside;
#[cfg(feature = "files")]
mod notes;
#[cfg(feature = "files")]
pub mod pack;
pub mod protocol;
#[cfg(feature = "files")]
pub mod unpack;
