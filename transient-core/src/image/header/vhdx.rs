//! VHDX, as Microsoft's [MS-VHDX] specifies it: little-endian. Images that differ from a parent are refused.
//! <https://learn.microsoft.com/openspecs/windows_protocols/ms-vhdx>

use std::io;

use super::bytes::{Field as _, Input};
use super::refusal::Refusal;
use super::{CUT_OFF, Format, Header};

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
const NO_METADATA: &str = "it has no metadata";
/// The bit of the file parameters that says that there is a parent.
const HAS_PARENT: u32 = 2;

/// Reads a VHDX: the region table leads to the metadata table, and that to the items.
pub(super) fn read(input: &dyn Input) -> io::Result<Header> {
    let damaged = |reason| Ok(Header::refused(Format::Vhdx, Refusal::damaged(reason)));
    let regions = input.read_at(REGION_TABLE, TABLE_SIZE)?;
    let Some(offset) = metadata_offset(&regions) else { return damaged(NO_METADATA) };
    let table = input.read_at(offset, TABLE_SIZE)?;
    if !table.starts_with(b"metadata") {
        return damaged(NO_METADATA);
    }
    let item = |id: &[u8; 16], length| -> io::Result<Option<Vec<u8>>> {
        item_offset(&table, id).map(|item| input.read_at(offset.saturating_add(item), length)).transpose()
    };
    let size = item(&DISK_SIZE, 8)?.and_then(|item| item.le64(0));
    let flags = item(&FILE_PARAMETERS, 8)?.and_then(|item| item.le32(4));
    let (Some(size), Some(flags)) = (size, flags) else { return damaged(CUT_OFF) };
    let has_parent = flags & HAS_PARENT != 0 || item_offset(&table, &PARENT_LOCATOR).is_some();
    let parent = Refusal::incomplete("it differs from a parent image");
    Ok(Header::accepted(Format::Vhdx, size).refuse_if(has_parent, parent))
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

    #[test]
    fn a_vhdx_without_its_tables_is_refused() {
        let whole = vhdx(0);
        for length in [8, 192 << 10, 200 << 10, 256 << 10] {
            assert_eq!(Header::parse(&whole[..length]).refusal(), Some(NO_METADATA), "{length}");
        }
        assert_eq!(Header::parse(&whole[..(320 << 10)]).refusal(), Some(CUT_OFF));
    }
}
