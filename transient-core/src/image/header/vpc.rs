//! VHD, which QEMU calls `vpc`, as Microsoft's "Virtual Hard Disk Image Format Specification" has it: big-endian.
//! <https://learn.microsoft.com/windows-server/virtualization/hyper-v/virtual-hard-disk-specification>

use std::io;

use super::bytes::{Field as _, Input};
use super::refusal::Refusal;
use super::{Format, Header};

const FOOTER: usize = 512;
const COOKIE: &[u8] = b"conectix";
const CHECKSUM: std::ops::Range<usize> = 64..68;

const FIXED: u32 = 2;
const DYNAMIC: u32 = 3;
const DIFFERENCING: u32 = 4;

/// Programs whose images are as large as they say; those of others are as large as their geometry (QEMU's
/// `block/vpc.c`).
const EXACT: [&[u8; 4]; 6] = [b"win ", b"qem2", b"d2v ", b"tap\0", b"CTXS", b"wa\0\0"];
/// The largest geometry, which says only that the disk is no smaller.
const LARGEST_GEOMETRY: u64 = 65535 * 16 * 255;
const SECTOR: u64 = 512;

/// A dynamic image begins with a copy of the footer; a fixed one has it at its end alone.
pub(super) fn read(input: &dyn Input, start: &[u8]) -> io::Result<Header> {
    let length = input.length()?;
    if start.starts_with(COOKIE) {
        return dynamic(input, start, length);
    }
    let at = length.saturating_sub(FOOTER as u64);
    let footer = input.read_at(at, FOOTER)?;
    let misfit = footer.be64(48) != Some(at) || footer.be32(60) != Some(FIXED) || !has_checksum(&footer);
    let reason = "its end looks like that of a VHD, but does not fit: it is a raw image, or a damaged VHD";
    Ok(header(&footer).refuse_if(misfit, Refusal::ambiguous(reason)))
}

fn dynamic(input: &dyn Input, footer: &[u8], length: u64) -> io::Result<Header> {
    let (Some(offset), Some(kind)) = (footer.be64(16), footer.be32(60)) else {
        return Ok(Header::cut_off(Format::Vpc));
    };
    let sparse = input.read_at(offset, 1024)?;
    let table = Table::parse(&sparse).unwrap_or_default();
    let small = virtual_size(footer).is_none_or(|size| table.covers() < size);
    Ok(header(footer)
        .refuse_if(kind == DIFFERENCING, Refusal::incomplete("it differs from a parent image"))
        .refuse_if(kind != DYNAMIC, Refusal::damaged("its type of VHD is unknown"))
        .refuse_if(!has_checksum(footer), Refusal::damaged("the checksum of its header is wrong"))
        .refuse_if(!sparse.starts_with(b"cxsparse"), Refusal::damaged("its second header is missing"))
        .refuse_if(!table.block_is_fine(), Refusal::damaged("the size of its blocks is out of range"))
        .refuse_if(small, Refusal::damaged("its table is too small for its disk"))
        .refuse_if(table.end() > length, Refusal::damaged("its table lies outside of the file")))
}

/// Where the blocks of a dynamic image are: the table itself is for QEMU to read, which misses no part of it.
#[derive(Default)]
struct Table {
    offset: u64,
    entries: u32,
    block: u32,
}

impl Table {
    fn parse(sparse: &[u8]) -> Option<Self> {
        Some(Self { offset: sparse.be64(16)?, entries: sparse.be32(28)?, block: sparse.be32(32)? })
    }

    fn block_is_fine(&self) -> bool {
        self.block.is_power_of_two() && self.block >= SECTOR as u32
    }

    fn covers(&self) -> u64 {
        u64::from(self.entries) * u64::from(self.block)
    }

    fn end(&self) -> u64 {
        self.offset.saturating_add(4 * u64::from(self.entries))
    }
}

fn header(footer: &[u8]) -> Header {
    virtual_size(footer)
        .map_or_else(|| Header::cut_off(Format::Vpc), |size| Header::accepted(Format::Vpc, size))
}

fn virtual_size(footer: &[u8]) -> Option<u64> {
    let (size, cylinders) = (footer.be64(48)?, footer.be16(56)?);
    let [heads, sectors] = footer.field(58)?;
    let geometry = u64::from(cylinders) * u64::from(heads) * u64::from(sectors);
    let exact = geometry == LARGEST_GEOMETRY || EXACT.contains(&&footer.field(28)?);
    Some(if exact { size / SECTOR * SECTOR } else { geometry * SECTOR })
}

/// The complement of the sum of all other bytes.
fn has_checksum(footer: &[u8]) -> bool {
    let Some(footer) = footer.get(..FOOTER) else { return false };
    let all = footer.iter().enumerate().filter(|(at, _)| !CHECKSUM.contains(at));
    footer.be32(CHECKSUM.start) == Some(!all.map(|(_, byte)| u32::from(*byte)).sum::<u32>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn footer(kind: u32, size: u64) -> Vec<u8> {
        let mut footer = vec![0; FOOTER];
        footer[..8].copy_from_slice(COOKIE);
        footer[16..24].copy_from_slice(&512_u64.to_be_bytes());
        footer[28..32].copy_from_slice(b"qem2");
        footer[48..56].copy_from_slice(&size.to_be_bytes());
        footer[60..64].copy_from_slice(&kind.to_be_bytes());
        let sum: u32 = footer.iter().map(|byte| u32::from(*byte)).sum();
        footer[CHECKSUM].copy_from_slice(&(!sum).to_be_bytes());
        footer
    }

    fn dynamic(kind: u32) -> Vec<u8> {
        let mut sparse = vec![0; 1024];
        sparse[..8].copy_from_slice(b"cxsparse");
        sparse[16..24].copy_from_slice(&1536_u64.to_be_bytes());
        sparse[28..32].copy_from_slice(&2_u32.to_be_bytes());
        sparse[32..36].copy_from_slice(&(2_u32 << 20).to_be_bytes());
        [footer(kind, 4 << 20), sparse, vec![255; 512], footer(kind, 4 << 20)].concat()
    }

    fn refusal(image: &[u8]) -> String {
        let header = Header::parse(image);
        assert_eq!(header.format, Format::Vpc);
        header.refusal().unwrap_or_default().to_owned()
    }

    #[test]
    fn a_fixed_vhd_is_known_by_its_end() {
        let header = Header::parse(&[vec![0x55; 4096], footer(FIXED, 4096)].concat());
        assert_eq!((header.format, header.virtual_size, header.refusal()), (Format::Vpc, 4096, None));
    }

    #[test]
    fn an_end_that_does_not_fit_is_refused() {
        let mut broken = footer(FIXED, 4096);
        broken[CHECKSUM.start] ^= 1;
        for end in [broken, footer(FIXED, 4095), footer(DYNAMIC, 4096)] {
            assert!(refusal(&[vec![0; 4096], end].concat()).contains("raw image, or a damaged VHD"));
        }
    }

    #[test]
    fn a_differencing_vhd_is_refused() {
        let header = Header::parse(&dynamic(DYNAMIC));
        assert_eq!((header.virtual_size, header.refusal()), (4 << 20, None));
        assert!(refusal(&dynamic(DIFFERENCING)).contains("parent"));
        assert!(refusal(&dynamic(FIXED)).contains("type"));
    }

    #[test]
    fn a_damaged_dynamic_vhd_is_refused() {
        for (at, bit, reason) in [
            (63, 0x40, "type"),
            (8, 0x40, "checksum"),
            (512, 0x40, "second header"),
            (545, 0x40, "blocks"),
            (543, 0x02, "table is too small"),
            (540, 0x40, "table lies"),
        ] {
            let mut image = dynamic(DYNAMIC);
            image[at] ^= bit;
            assert!(refusal(&image).contains(reason), "{at}: {}", refusal(&image));
        }
    }

    #[test]
    fn the_geometry_counts_for_other_programs() {
        let mut footer = footer(FIXED, 4096);
        footer[28..32].copy_from_slice(b"vpc ");
        footer[56..60].copy_from_slice(&[0, 2, 3, 4]);
        assert_eq!(virtual_size(&footer), Some(2 * 3 * 4 * 512));
        footer[56..60].copy_from_slice(&[255, 255, 16, 255]);
        assert_eq!(virtual_size(&footer), Some(4096));
    }
}
