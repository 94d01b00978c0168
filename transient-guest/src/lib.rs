//! What the host and the builder VM's guest program have in common.
//!
//! They must agree on the [`protocol`], and both read archives; the program itself is the binary, behind
//! the feature `agent`.

#![warn(missing_docs)]
#![forbid(unsafe_code)]

#[cfg(feature = "archive")]
pub mod archive;
pub mod protocol;
