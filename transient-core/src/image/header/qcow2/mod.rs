//! qcow2, as `docs/interop/qcow2.txt` of QEMU specifies it. All numbers are big-endian.

mod extensions;
mod fixed;
mod layout;

#[cfg(test)]
mod tests;

use std::io;

use super::bytes::Input;
use super::refusal::Refusal;
use super::{Format, Header, LARGEST_DISK, Parsed};
use extensions::Extensions;
use fixed::Fixed;

const DIRTY: u64 = 1 << 0;
const CORRUPT: u64 = 1 << 1;
const DATA_FILE: u64 = 1 << 2;
const COMPRESSION_TYPE: u64 = 1 << 3;
const EXTENDED_L2: u64 = 1 << 4;
const KNOWN: u64 = DIRTY | CORRUPT | DATA_FILE | COMPRESSION_TYPE | EXTENDED_L2;

/// How the clusters of a qcow2 image are compressed, which VMs read as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CompressionType {
    /// What every QEMU reads.
    Zlib,
    /// Faster, and smaller; QEMU 5.1 and later read it.
    Zstd,
}

impl CompressionType {
    /// Returns the name, as QEMU has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Zlib => "zlib",
            Self::Zstd => "zstd",
        }
    }
}

/// What the header of a qcow2 image says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Qcow2 {
    /// 2 or 3.
    pub version: u32,
    /// The base 2 logarithm of the cluster size in bytes.
    pub cluster_bits: u32,
    /// The backing file as it is written there.
    pub backing_file: Option<String>,
    /// The format of the backing file.
    pub backing_format: Option<String>,
    /// The external data file as it is written there.
    pub data_file: Option<String>,
    /// The bits of features without which an image must not be opened.
    pub incompatible_features: u64,
    /// 0 is none, 1 AES, 2 LUKS.
    pub crypt_method: u32,
    /// How many internal snapshots there are. They are no part of what is read.
    pub snapshots: u32,
}

impl Qcow2 {
    /// Returns the size of a cluster, in bytes.
    pub fn cluster_size(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// Returns the release of QEMU that this version came with, as `qemu-img` has it: `0.10` or `1.1`.
    pub fn compat(&self) -> &'static str {
        if self.version < 3 { "0.10" } else { "1.1" }
    }

    /// Returns how clusters are compressed, those that are.
    pub fn compression(&self) -> CompressionType {
        match self.incompatible_features & COMPRESSION_TYPE {
            0 => CompressionType::Zlib,
            _ => CompressionType::Zstd,
        }
    }
}

pub(super) fn read(input: &dyn Input, start: &[u8]) -> io::Result<Parsed> {
    let Some(fixed) = Fixed::parse(start) else { return Ok(Header::cut_off(Format::Qcow2).into()) };
    let mut header = Header::accepted(Format::Qcow2, fixed.size / 512 * 512);
    if let Err(refusal) = fixed.check() {
        header.refusal = Some(refusal);
        return Ok(header.into());
    }
    let extensions = Extensions::read(input, &fixed)?;
    let info = info(input, &fixed, &extensions)?;
    let length = input.length()?;
    header.refusal = check_content(&info, &extensions)
        .and_then(|()| fixed.check_features())
        .and_then(|()| extensions.check())
        .and_then(|()| if fixed.size > LARGEST_DISK { Err(Refusal::too_large()) } else { Ok(()) })
        .and_then(|()| layout::check(&fixed, &extensions, length))
        .err();
    header.qcow2 = Some(info);
    Ok(header.with_map(|| layout::map(&fixed, &extensions)))
}

fn info(input: &dyn Input, fixed: &Fixed, extensions: &Extensions) -> io::Result<Qcow2> {
    let backing_file = match fixed.backing_offset {
        0 => None,
        at => Some(text(input.read_at(at, fixed.backing_length as usize)?)),
    };
    Ok(Qcow2 {
        version: fixed.version,
        cluster_bits: fixed.cluster_bits,
        backing_file,
        backing_format: extensions.backing_format.clone(),
        data_file: extensions.data_file.clone(),
        incompatible_features: fixed.incompatible,
        crypt_method: fixed.crypt_method,
        snapshots: fixed.snapshots,
    })
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// Whether all of the image is in the file, can be read, and is in order.
fn check_content(info: &Qcow2, extensions: &Extensions) -> Result<(), Refusal> {
    let has = |feature| info.incompatible_features & feature != 0;
    if let Some(name) = &info.backing_file {
        return Err(Refusal::incomplete(format!("it names a backing file (`{}`)", name.escape_debug())));
    }
    if has(DATA_FILE) {
        let name = info.data_file.as_deref().unwrap_or_default();
        return Err(Refusal::incomplete(format!("its data is in another file (`{}`)", name.escape_debug())));
    }
    if has(!KNOWN) {
        let names = extensions.name_features(info.incompatible_features & !KNOWN);
        return Err(Refusal::unsupported(format!("it has unknown incompatible features ({names})")));
    }
    match info.crypt_method {
        0 => {}
        1 => return Err(Refusal::encrypted("it is encrypted with AES")),
        2 => return Err(Refusal::encrypted("it is encrypted with LUKS")),
        _ => return Err(Refusal::encrypted("it is encrypted in an unknown way")),
    }
    if has(CORRUPT) {
        return Err(Refusal::damaged("it is marked as corrupt"));
    }
    if has(DIRTY) {
        return Err(Refusal::unclean("it was not closed properly"));
    }
    Ok(())
}
