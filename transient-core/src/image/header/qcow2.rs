//! qcow2, as `docs/interop/qcow2.txt` of QEMU specifies it. All numbers are big-endian.

use std::io;

use super::bytes::{Field as _, Input};
use super::{CUT_OFF, Format, Header};

/// The length of a version 2 header, where version 3 has more fields.
const V2_LENGTH: u32 = 72;
const V3_LENGTH: u32 = 104;
/// QEMU takes no longer name of a backing file.
const LONGEST_BACKING_NAME: u32 = 1023;
/// Far more than there are kinds of extensions.
const MOST_EXTENSIONS: usize = 64;

const INCOMPATIBLE_CORRUPT: u64 = 1 << 1;
const INCOMPATIBLE_DATA_FILE: u64 = 1 << 2;
/// Dirty, corrupt, external data file, compression type, extended L2 entries.
const INCOMPATIBLE_KNOWN: u64 = 0b1_1111;

const EXTENSION_END: u32 = 0;
const EXTENSION_BACKING_FORMAT: u32 = 0xe279_2aca;
const EXTENSION_DATA_FILE: u32 = 0x4441_5441;

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
    /// How many internal snapshots there are.
    pub snapshots: u32,
}

/// The fixed part of the header.
struct Fixed {
    info: Qcow2,
    virtual_size: u64,
    backing_offset: u64,
    backing_length: u32,
    header_length: u32,
}

pub(super) fn read(input: &dyn Input, start: &[u8]) -> io::Result<Header> {
    let Some(fixed) = fixed(start) else { return Ok(Header::refused(Format::Qcow2, CUT_OFF)) };
    let mut header = Header::accepted(Format::Qcow2, fixed.virtual_size);
    if let Some(reason) = malformed(&fixed) {
        header.refusal = Some(reason);
        return Ok(header);
    }
    let mut info = fixed.info.clone();
    read_extensions(input, start, &fixed, &mut info)?;
    if fixed.backing_offset != 0 {
        let name = slice(input, start, fixed.backing_offset, fixed.backing_length as usize)?;
        info.backing_file = Some(String::from_utf8_lossy(&name).into_owned());
    }
    header.refusal = refusal(&info);
    header.qcow2 = Some(info);
    Ok(header)
}

fn fixed(start: &[u8]) -> Option<Fixed> {
    let mut info = Qcow2 {
        version: start.be32(4)?,
        cluster_bits: start.be32(20)?,
        crypt_method: start.be32(32)?,
        snapshots: start.be32(60)?,
        ..Qcow2::default()
    };
    let mut header_length = V2_LENGTH;
    if info.version >= 3 {
        info.incompatible_features = start.be64(72)?;
        header_length = start.be32(100)?;
    }
    Some(Fixed {
        virtual_size: start.be64(24)?,
        backing_offset: start.be64(8)?,
        backing_length: start.be32(16)?,
        header_length,
        info,
    })
}

/// Why the header makes no sense.
fn malformed(fixed: &Fixed) -> Option<String> {
    let Fixed { info, backing_offset, backing_length, header_length, .. } = fixed;
    if !(2..=3).contains(&info.version) {
        return Some(format!("its version of qcow2 is {}, which is unknown", info.version));
    }
    if !(9..=21).contains(&info.cluster_bits) {
        return Some("its cluster size is out of range".to_owned());
    }
    let cluster = 1 << info.cluster_bits;
    if info.version == 3 && (*header_length < V3_LENGTH || *header_length > cluster || header_length % 8 != 0)
    {
        return Some("the length of its header is out of range".to_owned());
    }
    let backing_end = backing_offset.saturating_add(u64::from(*backing_length));
    if *backing_offset != 0 && (*backing_length > LONGEST_BACKING_NAME || backing_end > u64::from(cluster)) {
        return Some("it names a backing file out of range".to_owned());
    }
    None
}

/// Reads the extensions: each a type, a length, and data that is padded to 8 bytes.
fn read_extensions(input: &dyn Input, start: &[u8], fixed: &Fixed, info: &mut Qcow2) -> io::Result<()> {
    let cluster = 1_u64 << info.cluster_bits;
    let end = if fixed.backing_offset == 0 { cluster } else { fixed.backing_offset };
    let mut at = u64::from(fixed.header_length);
    for _ in 0..MOST_EXTENSIONS {
        if at.saturating_add(8) > end {
            return Ok(());
        }
        let head = slice(input, start, at, 8)?;
        let (Some(kind), Some(length)) = (head.be32(0), head.be32(4)) else { return Ok(()) };
        at += 8;
        if kind == EXTENSION_END || u64::from(length) > end - at {
            return Ok(());
        }
        let text = || {
            slice(input, start, at, length as usize).map(|data| String::from_utf8_lossy(&data).into_owned())
        };
        match kind {
            EXTENSION_BACKING_FORMAT => info.backing_format = Some(text()?),
            EXTENSION_DATA_FILE => info.data_file = Some(text()?),
            _ => {}
        }
        at += u64::from(length).next_multiple_of(8);
    }
    Ok(())
}

/// Bytes of the header, most often from what was read already.
fn slice(input: &dyn Input, start: &[u8], offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let known = usize::try_from(offset).ok().and_then(|from| start.get(from..from.checked_add(length)?));
    known.map_or_else(|| input.read_at(offset, length), |bytes| Ok(bytes.to_vec()))
}

fn refusal(info: &Qcow2) -> Option<String> {
    let unknown = info.incompatible_features & !INCOMPATIBLE_KNOWN;
    if let Some(name) = &info.backing_file {
        Some(format!("it names a backing file (`{}`)", name.escape_debug()))
    } else if info.incompatible_features & INCOMPATIBLE_DATA_FILE != 0 {
        let name = info.data_file.as_deref().unwrap_or_default();
        Some(format!("its data is in another file (`{}`)", name.escape_debug()))
    } else if unknown != 0 {
        Some(format!("it has unknown incompatible features ({unknown:#x})"))
    } else if info.crypt_method != 0 {
        Some("it is encrypted".to_owned())
    } else if info.incompatible_features & INCOMPATIBLE_CORRUPT != 0 {
        Some("it is marked as corrupt".to_owned())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header as `qemu-img create` writes it, without what follows the first fields.
    fn image() -> Vec<u8> {
        let mut bytes = vec![0; 512];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(0, b"QFI\xfb\0\0\0\x03");
        put(20, &16_u32.to_be_bytes());
        put(24, &(1_u64 << 30).to_be_bytes());
        put(100, &104_u32.to_be_bytes());
        bytes
    }

    fn patched(at: usize, field: &[u8]) -> Header {
        let mut bytes = image();
        bytes[at..at + field.len()].copy_from_slice(field);
        Header::parse(&bytes)
    }

    #[test]
    fn a_plain_image_is_fine() {
        let header = Header::parse(&image());
        assert_eq!((header.format, header.virtual_size, header.refusal()), (Format::Qcow2, 1 << 30, None));
    }

    #[test]
    fn what_points_elsewhere_or_is_unknown_is_refused() {
        for (at, field, reason) in [
            (4, &4_u32.to_be_bytes() as &[u8], "version"),
            (20, &8_u32.to_be_bytes(), "cluster size"),
            (20, &22_u32.to_be_bytes(), "cluster size"),
            (24, &u64::MAX.to_be_bytes(), "64 TiB"),
            (32, &1_u32.to_be_bytes(), "encrypted"),
            (72, &2_u64.to_be_bytes(), "corrupt"),
            (72, &4_u64.to_be_bytes(), "another file"),
            (72, &0x20_u64.to_be_bytes(), "unknown incompatible features (0x20)"),
            (100, &99_u32.to_be_bytes(), "length of its header"),
            (8, &0x1_0000_u64.to_be_bytes(), "backing file"),
            (8, &[0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 3], "backing file"),
            (8, &[0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 255, 255], "out of range"),
            // A name of no length is a backing file for QEMU, too.
            (8, &[0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0], "backing file"),
        ] {
            let header = patched(at, field);
            assert!(header.refusal().is_some_and(|text| text.contains(reason)), "{at}: {header:?}");
        }
    }

    #[test]
    fn a_cut_off_header_is_refused() {
        for length in [8, 71, 103] {
            let header = Header::parse(&image()[..length]);
            assert_eq!(header.refusal(), Some(CUT_OFF), "{length}");
        }
    }
}
