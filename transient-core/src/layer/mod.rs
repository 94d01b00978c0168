//! Layers: what the steps of builds did to a disk, kept to be used again.
//!
//! A layer is a qcow2 file with what one step changed, in a folder that its [`Key`] names. What a layer stands on
//! is not written in the file: whoever uses it gives QEMU the whole chain. Its [`Record`] says what it was made
//! of, and how the file was when it was whole: a file that is not that any more is no layer.

mod contents;
mod digest;
mod folder;
mod record;
mod store;

pub(crate) use contents::digest_of;
pub(crate) use digest::{Digest, Key, KeyMaker};
pub(crate) use folder::{Layer, Layers, failed};
pub(crate) use record::{Input, Made, Record};
pub use store::CachedLayer;
