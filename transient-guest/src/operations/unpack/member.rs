//! One file of an archive, and what may be wrong with it.

use std::collections::BTreeMap;
use std::io;

use transient_guest::protocol::FailureCause;

use super::sparse::SparseMap;
use crate::operations::failure::Failure;

/// What is wrong with an archive.
#[derive(Debug)]
pub(super) struct Broken(pub(super) String);

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<Broken> for Failure {
    fn from(Broken(what): Broken) -> Self {
        Self::new(FailureCause::BadArchive, format!("cannot unpack the archive: {what}"))
    }
}

/// The result of reading an archive.
pub(super) type Result<T> = std::result::Result<T, Broken>;

/// Says what is wrong with an archive.
pub(super) fn broken(what: &str) -> Broken {
    Broken(what.to_owned())
}

/// One file of an archive; its data is to be read from the [`Archive`] before the next is asked for.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) kind: Kind,
    /// As it stands in the archive.
    pub(super) path: Vec<u8>,
    pub(super) mode: u32,
    pub(super) owner: u32,
    pub(super) group: u32,
    /// Seconds and nanoseconds.
    pub(super) modified: (i64, u32),
    pub(super) attributes: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// What a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// A file; the parts of a sparse one, else all of it, are the data.
    File(Option<SparseMap>),
    Directory,
    /// A symbolic link to this.
    Link(Vec<u8>),
    /// Another name of the file of this name in the archive.
    HardLink(Vec<u8>),
    CharacterDevice(u32, u32),
    BlockDevice(u32, u32),
    Fifo,
}
