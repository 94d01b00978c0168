//! Formats whose header is one block, all of them with a map of one or two levels.

use super::bytes::Field as _;
use super::map::{Entry, Map, Tables};
use super::refusal::Refusal;
use super::{Format, Header, Parsed};

const BACKING_FILE: &str = "it names a backing file";
const OUT_OF_RANGE: &str = "the sizes in its header are out of range";

/// The first version of qcow, which only QEMU's `block/qcow.c` documents: big-endian.
pub(super) fn qcow(start: &[u8]) -> Parsed {
    let fields = (|| Some((start.be64(8)?, start.be64(24)?, start.be32(36)?, start.be64(40)?)))();
    let (Some((backing, size, crypt, offset)), Some([cluster_bits, table_bits])) = (fields, start.field(32))
    else {
        return Header::cut_off(Format::Qcow).into();
    };
    let in_range = (9..=16).contains(&cluster_bits) && (6..=13).contains(&table_bits) && size > 1;
    let header = Header::accepted(Format::Qcow, size / 512 * 512)
        .refuse_if(backing != 0, Refusal::incomplete(BACKING_FILE))
        .refuse_if(crypt != 0, Refusal::encrypted("it is encrypted"))
        .refuse_if(!in_range, Refusal::damaged(OUT_OF_RANGE));
    header.with_map(|| {
        let place = move |entry: u64| match entry >> 63 {
            0 => entry,
            _ => entry & ((1 << (63 - cluster_bits)) - 1),
        };
        let entry = |decode| Entry { size: 8, alignment: 1, decode };
        Map {
            offset,
            entries: size.div_ceil(1 << (cluster_bits + table_bits)),
            entry: entry(Box::new(|entry| entry.be64(0).filter(|at| *at != 0))),
            tables: Some(Tables {
                size: 8 << table_bits,
                entry: entry(Box::new(move |entry| entry.be64(0).filter(|at| *at != 0).map(place))),
                taken: Vec::new(),
            }),
        }
    })
}

/// QED, as `docs/interop/qed_spec.txt` of QEMU specifies it: little-endian.
pub(super) fn qed(start: &[u8]) -> Parsed {
    const HAS_BACKING_FILE: u64 = 1;
    const NEEDS_CHECK: u64 = 2;
    /// These two, and that the backing file is raw.
    const KNOWN: u64 = 0b111;
    let fields = (|| {
        let (cluster, table, features) = (start.le32(4)?, start.le32(8)?, start.le64(16)?);
        Some((u64::from(cluster), u64::from(table), features, start.le64(40)?, start.le64(48)?))
    })();
    let Some((cluster, table, features, offset, size)) = fields else {
        return Header::cut_off(Format::Qed).into();
    };
    let in_range = cluster.is_power_of_two()
        && (1 << 12..=1 << 26).contains(&cluster)
        && table.is_power_of_two()
        && table <= 16
        && size != 0
        && size.is_multiple_of(512);
    let header = Header::accepted(Format::Qed, size)
        .refuse_if(features & HAS_BACKING_FILE != 0, Refusal::incomplete(BACKING_FILE))
        .refuse_if(features & !KNOWN != 0, Refusal::unsupported("it has unknown incompatible features"))
        .refuse_if(features & NEEDS_CHECK != 0, Refusal::unclean("it was not closed properly"))
        .refuse_if(!in_range, Refusal::damaged(OUT_OF_RANGE));
    header.with_map(|| {
        let bytes = table * cluster;
        // 1 stands for a cluster of zeros.
        let entry = || Entry {
            size: 8,
            alignment: cluster,
            decode: Box::new(|entry| entry.le64(0).filter(|at| *at > 1)),
        };
        let tables = Tables { size: bytes, entry: entry(), taken: Vec::new() };
        let entries = size.div_ceil(bytes / 8 * cluster);
        Map { offset, entries, entry: entry(), tables: Some(tables) }
    })
}

/// VDI, as VirtualBox's `src/VBox/Storage/VDICore.h` has it: little-endian. Types other than dynamic and static
/// refer to a parent.
pub(super) fn vdi(start: &[u8]) -> Parsed {
    /// 1.1, and the only size of a block, that QEMU takes.
    const VERSION: u32 = 0x0001_0001;
    const BLOCK: u64 = 1 << 20;
    /// This and the one below it are for blocks that are not stored.
    const DISCARDED: u32 = u32::MAX - 1;
    let fields = (|| {
        let (map, data, blocks) = (start.le32(0x154)?, start.le32(0x158)?, start.le32(0x180)?);
        Some((start.le32(0x4c)?, start.le64(0x170)?, start.le32(0x178)?, map, data, blocks))
    })();
    let (Some((kind, size, block, map, data, blocks)), Some(link)) = (fields, start.field::<32>(0x1a8))
    else {
        return Header::cut_off(Format::Vdi).into();
    };
    let known = start.le32(0x44) == Some(VERSION) && start.le32(0x168) == Some(512);
    let aligned = map.is_multiple_of(512) && data.is_multiple_of(512);
    let in_range = known && aligned && u64::from(block) == BLOCK && size <= u64::from(blocks) * BLOCK;
    let header = Header::accepted(Format::Vdi, size.checked_next_multiple_of(512).unwrap_or(u64::MAX))
        .refuse_if(link != [0; 32], Refusal::incomplete("it is linked to a parent image"))
        .refuse_if(
            !(1..=2).contains(&kind),
            Refusal::incomplete("it is neither a dynamic nor a static VDI image"),
        )
        .refuse_if(!in_range, Refusal::damaged(OUT_OF_RANGE));
    header.with_map(|| Map {
        offset: u64::from(map),
        entries: u64::from(blocks),
        entry: Entry {
            size: 4,
            alignment: 1,
            decode: Box::new(move |entry| {
                let block = entry.le32(0).filter(|block| *block < DISCARDED)?;
                Some(u64::from(data) + u64::from(block) * BLOCK)
            }),
        },
        tables: None,
    })
}

/// Parallels, as `docs/interop/parallels.txt` of QEMU specifies it: little-endian.
pub(super) fn parallels(start: &[u8]) -> Parsed {
    const SECTOR: u64 = 512;
    let fields = (|| Some((start.le32(28)?, start.le32(32)?, start.le64(36)?, start.le64(56)?)))();
    let Some((cluster, entries, sectors, extension)) = fields else {
        return Header::cut_off(Format::Parallels).into();
    };
    let extended = start.starts_with(b"WithouFreSpacExt");
    let (sectors, unit) = if extended { (sectors, u64::from(cluster)) } else { (sectors & 0xffff_ffff, 1) };
    // QEMU dies of an extension whose place is no signed number of bytes.
    let in_range = start.le32(16) == Some(2)
        && cluster != 0
        && sectors <= u64::from(cluster) * u64::from(entries)
        && extension >> 54 == 0;
    let header = Header::accepted(Format::Parallels, sectors.saturating_mul(SECTOR))
        .refuse_if(!in_range, Refusal::damaged(OUT_OF_RANGE));
    header.with_map(|| Map {
        offset: 64,
        entries: u64::from(entries),
        entry: Entry {
            size: 4,
            alignment: 1,
            decode: Box::new(move |entry| {
                let cluster = entry.le32(0).filter(|cluster| *cluster != 0)?;
                Some((u64::from(cluster) * unit).saturating_mul(SECTOR))
            }),
        },
        tables: None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::CUT_OFF;
    use super::*;

    fn patched(length: usize, fields: &[(usize, &[u8])]) -> Header {
        let mut bytes = vec![0; length];
        for (at, field) in fields {
            bytes[*at..*at + field.len()].copy_from_slice(field);
        }
        Header::parse(&bytes)
    }

    #[test]
    fn qcow_with_a_backing_file_is_refused() {
        let image: [(usize, &[u8]); 3] = [(0, b"QFI\xfb\0\0\0\x01"), (30, &[2, 0, 12, 9]), (47, &[48])];
        let with = |field: (usize, &[u8])| patched(56, &[&image[..], &[field]].concat());
        assert_eq!((with((0, b"Q")).virtual_size, with((0, b"Q")).refusal()), (512, None));
        assert_eq!(with((15, &[9])).refusal(), Some(BACKING_FILE));
        assert_eq!(with((39, &[1])).refusal(), Some("it is encrypted"));
        assert_eq!(with((32, &[8])).refusal(), Some(OUT_OF_RANGE));
        // The only entry of its first table names a place beyond the end.
        assert!(with((48, &[0, 1])).refusal().is_some_and(|reason| reason.contains("outside")));
        assert_eq!(patched(39, &image[..1]).refusal(), Some(CUT_OFF));
    }

    #[test]
    fn qed_with_a_backing_file_is_refused() {
        let image: [(usize, &[u8]); 5] = [(0, b"QED\0"), (5, &[16]), (8, &[1]), (41, &[16]), (49, &[2])];
        let with = |field: (usize, &[u8])| patched(8192, &[&image[..], &[field]].concat());
        assert_eq!(with((16, &[0])).refusal(), None);
        assert_eq!(with((16, &[1])).refusal(), Some(BACKING_FILE));
        assert_eq!(with((16, &[2])).refusal(), Some("it was not closed properly"));
        assert_eq!(with((16, &[8])).refusal(), Some("it has unknown incompatible features"));
        assert_eq!(with((8, &[3])).refusal(), Some(OUT_OF_RANGE));
        assert!(with((4101, &[32])).refusal().is_some_and(|reason| reason.contains("outside")));
    }

    #[test]
    fn vdi_with_a_parent_is_refused() {
        let image: [(usize, &[u8]); 8] = [
            (0x40, &[0x7f, 0x10, 0xda, 0xbe]),
            (0x44, &[1, 0, 1]),
            (0x4c, &[1]),
            (0x169, &[2]),
            (0x155, &[2]),
            (0x170, &[1, 2]),
            (0x17a, &[16]),
            (0x180, &[1]),
        ];
        let with = |field: (usize, &[u8])| patched(1024, &[&image[..], &[field]].concat());
        assert_eq!((with((0, &[0])).virtual_size, with((0, &[0])).refusal()), (1024, None));
        for at in [0x1a8, 0x1c7] {
            assert_eq!(with((at, &[1])).refusal(), Some("it is linked to a parent image"));
        }
        assert!(with((0x4c, &[4])).refusal().is_some_and(|reason| reason.contains("neither")));
        assert_eq!(with((0x172, &[32])).refusal(), Some(OUT_OF_RANGE));
        assert!(with((0x203, &[1])).refusal().is_some_and(|reason| reason.contains("beyond the end")));
    }

    #[test]
    fn parallels_that_was_cut_short_is_refused() {
        let image: [(usize, &[u8]); 4] = [(0, b"WithouFreSpacExt\x02"), (28, &[8]), (32, &[2]), (36, &[9])];
        let with = |field: (usize, &[u8])| patched(8192, &[&image[..], &[field]].concat());
        assert_eq!((with((64, &[1])).virtual_size, with((64, &[1])).refusal()), (9 * 512, None));
        assert!(with((64, &[2])).refusal().is_some_and(|reason| reason.contains("beyond the end")));
        assert_eq!(with((36, &[17])).refusal(), Some(OUT_OF_RANGE));
        assert_eq!(with((63, &[1])).refusal(), Some(OUT_OF_RANGE));
    }
}
