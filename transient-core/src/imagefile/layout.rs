//! Where the partitions of a new disk lie.

use transient_guest::protocol::{self, DiskLabel, Filesystem, PartitionKind};

use super::{Disk, Partition, PartitionFlag};
use crate::image::format_bytes;

/// Every partition begins at a multiple of this, the first one at this.
const ALIGNMENT: u64 = 1 << 20;
const SECTOR: u64 = 512;
/// The backup of a GPT at the end of the disk: 32 sectors of entries and the header.
const GPT_BACKUP: u64 = 33 * SECTOR;
/// The numbers of sectors in an MBR have 32 bits.
const MBR_LIMIT: u64 = (1 << 32) * SECTOR;

/// Why partitions cannot be placed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Misfit {
    /// The partition that is at fault, counted from 0; `None` is the disk.
    pub(crate) partition: Option<usize>,
    pub(crate) message: String,
    pub(crate) help: String,
}

/// Places the partitions one after the other.
pub(crate) fn lay_out(disk: &Disk, partitions: &[&Partition]) -> Result<Vec<protocol::Partition>, Misfit> {
    let disk_end = disk.bytes();
    let end = match disk.label {
        DiskLabel::Gpt => disk_end.saturating_sub(GPT_BACKUP),
        DiskLabel::Mbr if disk_end > MBR_LIMIT => {
            let message = "an MBR partition table cannot address more than 2 TiB".to_owned();
            return Err(Misfit { partition: None, message, help: "use GPT".to_owned() });
        }
        DiskLabel::Mbr => disk_end,
    };
    let mut start = ALIGNMENT;
    let mut placed = Vec::with_capacity(partitions.len());
    for (index, partition) in partitions.iter().enumerate() {
        let left = end.saturating_sub(start);
        let size = partition.bytes().map(|bytes| bytes.div_ceil(SECTOR).saturating_mul(SECTOR));
        if size.unwrap_or(ALIGNMENT) > left {
            return Err(too_large(index, partition, left));
        }
        placed.push(protocol::Partition {
            number: partition.number,
            start,
            size,
            boot: partition.flags.contains(&PartitionFlag::Boot),
            kind: kind(partition),
        });
        // Neither can overflow: the sum is within the disk. Only the last has no size.
        start = start.saturating_add(size.unwrap_or(left)).div_ceil(ALIGNMENT).saturating_mul(ALIGNMENT);
    }
    Ok(placed)
}

fn too_large(index: usize, partition: &Partition, left: u64) -> Misfit {
    let message = format!("partition {} does not fit on the disk", partition.number);
    let left = if left == 0 { "nothing".to_owned() } else { format_bytes(left) };
    let help = match partition.bytes() {
        Some(bytes) => format!("it has {}, and {left} is left; make DISK larger", format_bytes(bytes)),
        None => format!("{left} is left for it; make DISK larger"),
    };
    Misfit { partition: Some(index), message, help }
}

fn kind(partition: &Partition) -> PartitionKind {
    if partition.flags.contains(&PartitionFlag::Efi) {
        PartitionKind::EfiSystem
    } else if partition.flags.contains(&PartitionFlag::BiosGrub) {
        PartitionKind::BiosBoot
    } else if partition.format == Some(Filesystem::Swap) {
        PartitionKind::Swap
    } else {
        PartitionKind::Linux
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Size, SizeUnit};
    use super::*;

    const MIB: u64 = 1 << 20;

    fn disk(count: u64, unit: SizeUnit, label: DiskLabel) -> Disk {
        Disk { size: Size { count, unit }, label }
    }

    fn partition(number: u32, size: Option<(u64, SizeUnit)>) -> Partition {
        let size = size.map(|(count, unit)| Size { count, unit });
        Partition { number, size, format: None, options: Vec::new(), mount: None, flags: Vec::new() }
    }

    fn extents(disk: &Disk, partitions: &[Partition]) -> Result<Vec<(u64, Option<u64>)>, Option<usize>> {
        lay_out(disk, &partitions.iter().collect::<Vec<_>>())
            .map(|placed| placed.iter().map(|partition| (partition.start, partition.size)).collect())
            .map_err(|misfit| misfit.partition)
    }

    #[test]
    fn partitions_are_aligned_and_sizes_are_whole_sectors() {
        let disk = disk(2, SizeUnit::Gb, DiskLabel::Mbr);
        let partitions = [
            partition(1, Some((1, SizeUnit::Mb))),
            partition(3, Some((3, SizeUnit::Mib))),
            partition(2, None),
        ];
        let expected = vec![(MIB, Some(1_000_448)), (2 * MIB, Some(3 * MIB)), (5 * MIB, None)];
        assert_eq!(extents(&disk, &partitions), Ok(expected));
    }

    #[test]
    fn the_end_of_the_disk_is_found_to_the_sector() {
        let fits =
            |label, mib| extents(&disk(10, SizeUnit::Mb, label), &[partition(1, Some((mib, SizeUnit::Mib)))]);
        assert!(fits(DiskLabel::Mbr, 9).is_ok());
        assert_eq!(fits(DiskLabel::Mbr, 10), Err(Some(0)));
        assert_eq!(fits(DiskLabel::Gpt, 9), Err(Some(0)));
        assert!(fits(DiskLabel::Gpt, 8).is_ok());
    }

    #[test]
    fn the_rest_must_not_be_nothing() {
        let disk = disk(10, SizeUnit::Mb, DiskLabel::Mbr);
        let partitions = [partition(1, Some((9, SizeUnit::Mib))), partition(2, None)];
        assert_eq!(extents(&disk, &partitions), Err(Some(1)));
    }

    #[test]
    fn limits_of_the_tables() {
        let huge = [partition(1, Some((u64::MAX, SizeUnit::Tib)))];
        assert_eq!(extents(&disk(8, SizeUnit::Tb, DiskLabel::Gpt), &huge), Err(Some(0)));
        assert_eq!(extents(&disk(3, SizeUnit::Tb, DiskLabel::Mbr), &[partition(1, None)]), Err(None));
        assert!(extents(&disk(2, SizeUnit::Tb, DiskLabel::Mbr), &[partition(1, None)]).is_ok());
        assert_eq!(extents(&disk(1, SizeUnit::Mb, DiskLabel::Mbr), &[partition(1, None)]), Err(Some(0)));
    }
}
