//! The typed instructions.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;
use transient_guest::protocol::{DiskLabel, Filesystem};

use super::Keyword;
use super::cursor::{quote, quote_within_quotes};
use super::size::{Size, SizeUnit};
use crate::image::ImageSpec;

/// One instruction. `Display` gives its usual form on one line, as a build's step heading shows it; parsing that
/// gives an equal instruction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "instruction", content = "arguments", rename_all = "lowercase")]
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

impl Instruction {
    /// Returns the instruction's name.
    pub fn keyword(&self) -> Keyword {
        match self {
            Self::From(_) => Keyword::From,
            Self::Disk(_) => Keyword::Disk,
            Self::Partition(_) => Keyword::Partition,
            Self::Copy(_) => Keyword::Copy,
            Self::Add(_) => Keyword::Add,
            Self::Run(_) => Keyword::Run,
            Self::Inspect => Keyword::Inspect,
        }
    }
}

impl fmt::Display for Instruction {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.keyword().name())?;
        match self {
            Self::From(base) => write!(formatter, " {base}"),
            Self::Disk(disk) => write!(formatter, " {disk}"),
            Self::Partition(partition) => write!(formatter, " {partition}"),
            Self::Copy(transfer) | Self::Add(transfer) => write!(formatter, " {transfer}"),
            Self::Run(command) => write!(formatter, " {command}"),
            Self::Inspect => Ok(()),
        }
    }
}

/// What an image is built from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Base {
    /// An empty disk.
    Scratch,
    /// Another image.
    Image(ImageSpec),
}

impl fmt::Display for Base {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scratch => formatter.write_str("scratch"),
            Self::Image(spec) => formatter.write_str(&quote(&spec.to_string())),
        }
    }
}

/// The disk of an image that is built from scratch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Disk {
    /// As it is written.
    pub size: Size,
    /// The partition table.
    pub label: DiskLabel,
}

impl Disk {
    /// Returns the size in bytes. Of a disk `GB` means `GiB`, and so on.
    pub fn bytes(&self) -> u64 {
        self.size.count.saturating_mul(self.size.unit.binary())
    }
}

impl fmt::Display for Disk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {} {}", self.size.count, self.size.unit.name(), label_name(self.label))
    }
}

pub(super) fn label_name(label: DiskLabel) -> &'static str {
    match label {
        DiskLabel::Gpt => "GPT",
        DiskLabel::Mbr => "MBR",
    }
}

/// One partition of the disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Partition {
    /// Its number in the table.
    pub number: u32,
    /// As it is written; `None` is all that is left.
    pub size: Option<Size>,
    /// The filesystem to make.
    pub format: Option<Filesystem>,
    /// More words for the `mkfs` program.
    pub options: Vec<String>,
    /// Where it is mounted during the build, an absolute path.
    pub mount: Option<PathBuf>,
    /// Each at most once.
    pub flags: Vec<PartitionFlag>,
}

impl Partition {
    /// Returns the size in bytes; `None` is all that is left. Of a partition `GB` is decimal, `GiB` is binary.
    pub fn bytes(&self) -> Option<u64> {
        self.size.map(|size| size.count.saturating_mul(size.unit.exact()))
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.number)?;
        if let Some(Size { count, unit }) = self.size {
            write!(formatter, " SIZE {count}{}", unit.name())?;
        }
        if let Some(format) = self.format {
            write!(formatter, " FORMAT {}", format.name())?;
        }
        if !self.options.is_empty() {
            let words: Vec<_> = self.options.iter().map(|word| quote_within_quotes(word)).collect();
            write!(formatter, " OPTIONS \"{}\"", words.join(" "))?;
        }
        if let Some(mount) = &self.mount {
            write!(formatter, " MOUNT {}", quote(&mount.to_string_lossy()))?;
        }
        for (index, flag) in self.flags.iter().enumerate() {
            write!(formatter, "{}{}", if index == 0 { " FLAGS " } else { "," }, flag.name())?;
        }
        Ok(())
    }
}

/// A flag of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PartitionFlag {
    /// MBR: active; GPT: the attribute "legacy BIOS bootable".
    Boot,
    /// An EFI system partition.
    Efi,
    /// A GPT BIOS boot partition.
    BiosGrub,
}

impl PartitionFlag {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Boot, Self::Efi, Self::BiosGrub];

    /// Returns the name, as in an Imagefile.
    pub fn name(self) -> &'static str {
        match self {
            Self::Boot => "boot",
            Self::Efi => "efi",
            Self::BiosGrub => "bios_grub",
        }
    }
}

/// What goes from the build directory into the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Transfer {
    /// At least one, relative to the build directory.
    pub sources: Vec<PathBuf>,
    /// A path in the image; relative is from its root. A trailing slash means a directory.
    pub destination: PathBuf,
}

impl fmt::Display for Transfer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for source in &self.sources {
            write!(formatter, "{} ", quote(&source.to_string_lossy()))?;
        }
        formatter.write_str(&quote(&self.destination.to_string_lossy()))
    }
}

impl Size {
    pub(super) fn new(count: u64, unit: SizeUnit) -> Self {
        Self { count, unit }
    }
}
