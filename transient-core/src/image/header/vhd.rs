//! VHDX ([MS-VHDX]) and its predecessor VHD, which QEMU calls `vpc`. Those that differ from a parent are refused.

use std::io;

use super::bytes::{Field as _, Input};
use super::{CUT_OFF, Format, Header};

const FOOTER: usize = 512;
/// Where the first of the two region tables of a VHDX file is.
const REGION_TABLE: u64 = 192 << 10;
const TABLE_SIZE: usize = 64 << 10;

const METADATA_REGION: [u8; 16] =
    [0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b, 0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e];
const FILE_PARAMETERS: [u8; 16] =
    [0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d, 0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b];
const DISK_SIZE: [u8; 16] =
    [0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48, 0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8];
const PARENT_LOCATOR: [u8; 16] =
    [0x2d, 0x5f, 0xd3, 0xa8, 0x0b, 0xb3, 0x4d, 0x45, 0xab, 0xf7, 0xd3, 0xd8, 0x48, 0x34, 0xab, 0x0c];
/// The bit of the file parameters that says that there is a parent.
const HAS_PARENT: u32 = 2;

/// Reads a VHD: a dynamic one begins with a copy of the footer, a fixed one has it at its end alone.
pub(super) fn read_vpc(input: &dyn Input, start: &[u8]) -> io::Result<Option<Header>> {
    if start.starts_with(b"conectix") {
        return Ok(Some(vpc(start)));
    }
    let Some(at) = input.length()?.checked_sub(FOOTER as u64) else { return Ok(None) };
    let footer = input.read_at(at, FOOTER)?;
    Ok(footer.starts_with(b"conectix").then(|| vpc(&footer)))
}

fn vpc(footer: &[u8]) -> Header {
    let (Some(size), Some(kind)) = (footer.be64(48), footer.be32(60)) else {
        return Header::refused(Format::Vpc, CUT_OFF);
    };
    Header::accepted(Format::Vpc, size)
        .refuse_if(kind == 4, "it differs from a parent image")
        .refuse_if(!(2..=3).contains(&kind), "its type of VHD is unknown")
}

/// Reads a VHDX: the region table leads to the metadata table, and that to the items.
pub(super) fn read_vhdx(input: &dyn Input) -> io::Result<Header> {
    let table = input.read_at(REGION_TABLE, TABLE_SIZE)?;
    let metadata = match metadata_offset(&table) {
        Some(offset) => (offset, input.read_at(offset, TABLE_SIZE)?),
        None => return Ok(Header::refused(Format::Vhdx, "it has no metadata")),
    };
    let (offset, table) = metadata;
    if !table.starts_with(b"metadata") {
        return Ok(Header::refused(Format::Vhdx, "it has no metadata"));
    }
    let item = |id: &[u8; 16], length| -> io::Result<Option<Vec<u8>>> {
        item_offset(&table, id).map(|item| input.read_at(offset.saturating_add(item), length)).transpose()
    };
    let size = item(&DISK_SIZE, 8)?.and_then(|item| item.le64(0));
    let flags = item(&FILE_PARAMETERS, 8)?.and_then(|item| item.le32(4));
    let (Some(size), Some(flags)) = (size, flags) else { return Ok(Header::refused(Format::Vhdx, CUT_OFF)) };
    let has_parent = flags & HAS_PARENT != 0 || item_offset(&table, &PARENT_LOCATOR).is_some();
    Ok(Header::accepted(Format::Vhdx, size).refuse_if(has_parent, "it differs from a parent image"))
}

fn metadata_offset(table: &[u8]) -> Option<u64> {
    if !table.starts_with(b"regi") {
        return None;
    }
    let count = usize::try_from(table.le32(8)?).ok()?.min(TABLE_SIZE / 32);
    (0..count)
        .map(|index| 16 + 32 * index)
        .find(|at| table.field(*at) == Some(METADATA_REGION))
        .and_then(|at| table.le64(at + 16))
}

fn item_offset(table: &[u8], id: &[u8; 16]) -> Option<u64> {
    let count = usize::from(table.le16(10)?).min(TABLE_SIZE / 32);
    (1..=count)
        .map(|index| 32 * index)
        .find(|at| table.field(*at).as_ref() == Some(id))
        .and_then(|at| table.le32(at + 16))
        .map(u64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn footer(kind: u32) -> Vec<u8> {
        let mut footer = vec![0; FOOTER];
        footer[..8].copy_from_slice(b"conectix");
        footer[48..56].copy_from_slice(&4096_u64.to_be_bytes());
        footer[60..64].copy_from_slice(&kind.to_be_bytes());
        footer
    }

    #[test]
    fn a_fixed_vhd_is_known_by_its_end() {
        let header = Header::parse(&[vec![0; 4096], footer(2)].concat());
        assert_eq!((header.format, header.virtual_size, header.refusal()), (Format::Vpc, 4096, None));
    }

    #[test]
    fn a_differencing_vhd_is_refused() {
        assert!(Header::parse(&footer(3)).refusal().is_none());
        assert!(Header::parse(&footer(4)).refusal().is_some_and(|reason| reason.contains("parent")));
    }

    fn vhdx(flags: u32) -> Vec<u8> {
        let metadata = 256 << 10;
        let mut bytes = vec![0; metadata + TABLE_SIZE + 64];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(0, b"vhdxfile");
        put(192 << 10, b"regi\0\0\0\0\x01");
        put((192 << 10) + 16, &METADATA_REGION);
        put((192 << 10) + 32, &(metadata as u64).to_le_bytes());
        put(metadata, b"metadata\0\0\x02");
        put(metadata + 32, &FILE_PARAMETERS);
        put(metadata + 48, &(TABLE_SIZE as u32).to_le_bytes());
        put(metadata + 64, &DISK_SIZE);
        put(metadata + 80, &(TABLE_SIZE as u32 + 8).to_le_bytes());
        put(metadata + TABLE_SIZE + 4, &flags.to_le_bytes());
        put(metadata + TABLE_SIZE + 8, &8192_u64.to_le_bytes());
        bytes
    }

    #[test]
    fn a_differencing_vhdx_is_refused() {
        let header = Header::parse(&vhdx(0));
        assert_eq!((header.virtual_size, header.refusal()), (8192, None));
        assert!(Header::parse(&vhdx(HAS_PARENT)).refusal().is_some_and(|reason| reason.contains("parent")));
    }
}
