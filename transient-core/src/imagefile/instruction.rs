//! The typed instructions.

use std::path::PathBuf;

use transient_guest::protocol::{DiskLabel, Filesystem};

use crate::image::ImageSpec;

/// One instruction. `Display` gives its usual form, as a build's step heading shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Instruction {
    /// `FROM`
    From(Base),
    /// `DISK`
    Disk(Disk),
    /// `PARTITION`
    Partition(Partition),
    /// `COPY`
    Copy(Transfer),
    /// `ADD`
    Add(Transfer),
    /// `RUN`, with the command for `/bin/sh -c`
    Run(String),
    /// `INSPECT`
    Inspect,
}

impl std::fmt::Display for Instruction {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{self:?}")
    }
}

/// What an image is built from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// An empty disk.
    Scratch,
    /// Another image.
    Image(ImageSpec),
}

/// The disk of an image that is built from scratch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// In bytes.
    pub size: u64,
    /// The partition table.
    pub label: DiskLabel,
}

/// One partition of the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its number in the table.
    pub number: u32,
    /// In bytes; `None` is all that is left.
    pub size: Option<u64>,
    /// The filesystem to make.
    pub format: Option<Filesystem>,
    /// More words for the `mkfs` program.
    pub options: Vec<String>,
    /// Where it is mounted during the build, an absolute path.
    pub mount: Option<PathBuf>,
    /// Each at most once.
    pub flags: Vec<PartitionFlag>,
}

/// A flag of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PartitionFlag {
    /// MBR: active; GPT: the attribute "legacy BIOS bootable".
    Boot,
    /// An EFI system partition.
    Efi,
    /// A GPT BIOS boot partition.
    BiosGrub,
}

/// What goes from the build directory into the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// At least one, relative to the build directory.
    pub sources: Vec<PathBuf>,
    /// A path in the image; relative is from its root. A trailing slash means a directory.
    pub destination: PathBuf,
}
