//! The formats, and the signatures by which a file is known to be of one.

use super::bytes::Field as _;
use super::vmdk;

/// The format of a disk image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
#[expect(missing_docs, reason = "the names say it")]
pub enum Format {
    Raw,
    Qcow2,
    /// The predecessor of qcow2.
    Qcow,
    Qed,
    Vmdk,
    Vhdx,
    Vdi,
    /// The predecessor of VHDX, also called VHD.
    Vpc,
    Parallels,
    Luks,
}

impl Format {
    /// Returns the name of QEMU's driver.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Qcow => "qcow",
            Self::Qed => "qed",
            Self::Vmdk => "vmdk",
            Self::Vhdx => "vhdx",
            Self::Vdi => "vdi",
            Self::Vpc => "vpc",
            Self::Parallels => "parallels",
            Self::Luks => "luks",
        }
    }
}

/// What a signature stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signature {
    Of(Format),
    /// A format that cannot be read here, by the name of QEMU's driver.
    Foreign(&'static str),
}

impl Signature {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Of(format) => format.name(),
            Self::Foreign(name) => name,
        }
    }
}

/// Returns every signature that a file bears in its first bytes and in its last sector.
///
/// A disk whose bytes are stored as they are has its own beginning there, so none of them proves anything
/// when there is another.
pub(super) fn signatures(start: &[u8], end: &[u8]) -> Vec<Signature> {
    let vdi = (start.le32(0x40) == Some(0xbeda_107f)).then_some(Signature::Of(Format::Vdi));
    let mut found: Vec<Signature> = [at_start(start), vdi, at_end(end)].into_iter().flatten().collect();
    found.dedup();
    found
}

fn at_start(start: &[u8]) -> Option<Signature> {
    let format = match start {
        [b'Q', b'F', b'I', 0xfb, 0, 0, 0, 1, ..] => Format::Qcow,
        [b'Q', b'F', b'I', 0xfb, ..] => Format::Qcow2,
        [b'Q', b'E', b'D', 0, ..] => Format::Qed,
        [b'L', b'U', b'K', b'S', 0xba, 0xbe, ..] => Format::Luks,
        _ if start.starts_with(b"vhdxfile") => Format::Vhdx,
        _ if start.starts_with(b"conectix") => Format::Vpc,
        _ if start.starts_with(b"WithoutFreeSpace") || start.starts_with(b"WithouFreSpacExt") => {
            Format::Parallels
        }
        _ if start.starts_with(b"Bochs Virtual HD Image\0") => return Some(Signature::Foreign("bochs")),
        _ if start.starts_with(b"#!/bin/sh\n#V2.0 Format\n") => return Some(Signature::Foreign("cloop")),
        _ if vmdk::matches(start) => Format::Vmdk,
        _ => return None,
    };
    Some(Signature::Of(format))
}

fn at_end(end: &[u8]) -> Option<Signature> {
    if end.starts_with(b"conectix") {
        Some(Signature::Of(Format::Vpc))
    } else if end.starts_with(b"koly") {
        Some(Signature::Foreign("dmg"))
    } else {
        None
    }
}
