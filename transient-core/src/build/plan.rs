//! From checked instructions to the steps of a build.

use transient_guest::protocol;

use crate::imagefile::{Base, Imagefile, Instruction};

/// What a build will do, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plan {
    /// What it starts from.
    pub base: Base,
    /// The disk to make, for a build from scratch.
    pub disk: Option<DiskLayout>,
    /// One for each instruction, `FROM` included.
    pub steps: Vec<Step>,
}

/// A new disk, its partitions placed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DiskLayout {
    /// In bytes.
    pub size: u64,
    /// The kind of the partition table.
    pub label: protocol::DiskLabel,
    /// In the order of the Imagefile.
    pub partitions: Vec<protocol::Partition>,
    /// What is mounted where during the build.
    pub mounts: Vec<protocol::Mount>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Step {
    /// Counted from 1.
    pub number: usize,
    /// The line of the Imagefile where it begins, counted from 1.
    pub line: usize,
    /// What to do.
    pub instruction: Instruction,
}

impl Plan {
    /// Returns the plan of an Imagefile.
    pub fn new(imagefile: &Imagefile) -> Self {
        let _ = imagefile;
        Self { base: Base::Scratch, disk: None, steps: Vec::new() }
    }
}
