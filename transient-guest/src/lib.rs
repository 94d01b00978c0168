//! What the host and the builder VM's guest program must agree on.
//!
//! The library part of this crate is only [`protocol`]; the program itself is the binary, behind the
//! feature `agent`.

#![warn(missing_docs)]
#![forbid(unsafe_code)]

pub mod protocol;
