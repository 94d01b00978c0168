//! Partition tables.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use transient_guest::protocol::{DiskLabel, IMAGE_DISK, Partition, PartitionKind};
use uuid::{Uuid, uuid};

use super::failure::{Doing, Failure};

const SECTOR: u64 = 512;
/// The attribute "legacy BIOS bootable" of a GPT's partition.
const LEGACY_BOOT: u64 = 1 << 2;
const NODES_DEADLINE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(2);

/// Returns the device of a partition of the image's disk.
pub(super) fn device(number: u32) -> PathBuf {
    PathBuf::from(format!("{IMAGE_DISK}{number}"))
}

/// Writes a partition table to the image's disk, and waits until the kernel shows the partitions.
pub(super) fn partition(label: DiskLabel, partitions: &[Partition]) -> Result<(), Failure> {
    let mut disk = File::options()
        .read(true)
        .write(true)
        .open(IMAGE_DISK)
        .doing(|| format!("cannot open {IMAGE_DISK}"))?;
    write(&mut disk, label, partitions)?;
    gptman::linux::reread_partition_table(&mut disk).map_err(|error| cannot_write(&error))?;
    let deadline = Instant::now() + NODES_DEADLINE;
    for partition in partitions {
        wait_for(partition, deadline)?;
    }
    Ok(())
}

fn write(disk: &mut File, label: DiskLabel, partitions: &[Partition]) -> Result<(), Failure> {
    match label {
        DiskLabel::Gpt => write_gpt(disk, partitions).map_err(|error| cannot_write(&error)),
        DiskLabel::Mbr => write_mbr(disk, partitions),
    }
}

fn cannot_write(error: &dyn std::fmt::Display) -> Failure {
    Failure::other(format!("cannot write the partition table: {error}"))
}

fn write_gpt(disk: &mut File, partitions: &[Partition]) -> gptman::Result<()> {
    let new_guid = || Uuid::new_v4().to_bytes_le();
    let mut table = gptman::GPT::new_from(disk, SECTOR, new_guid())?;
    for partition in partitions {
        let starting_lba = partition.start / SECTOR;
        let last_usable = table.header.last_usable_lba;
        table[partition.number] = gptman::GPTPartitionEntry {
            partition_type_guid: gpt_type(partition.kind).to_bytes_le(),
            unique_partition_guid: new_guid(),
            starting_lba,
            ending_lba: partition.size.map_or(last_usable, |size| starting_lba + size / SECTOR - 1),
            attribute_bits: if partition.boot { LEGACY_BOOT } else { 0 },
            partition_name: "".into(),
        };
    }
    gptman::GPT::write_protective_mbr_into(disk, SECTOR)?;
    table.write_into(disk).map(drop)
}

fn write_mbr(disk: &mut File, partitions: &[Partition]) -> Result<(), Failure> {
    let (signature, _) = Uuid::new_v4().as_u64_pair();
    let [signature @ .., _, _, _, _] = signature.to_le_bytes();
    let mut table =
        mbrman::MBR::new_from(disk, SECTOR as u32, signature).map_err(|error| cannot_write(&error))?;
    for partition in partitions {
        let entry = mbr_entry(partition, table.disk_size)
            .ok_or_else(|| cannot_write(&format!("partition {} is beyond 2 TiB", partition.number)))?;
        let place = table.get_mut(partition.number as usize);
        *place.ok_or_else(|| cannot_write(&format!("there is no partition {}", partition.number)))? = entry;
    }
    table.write_into(disk).map_err(|error| cannot_write(&error))
}

/// Returns the entry of a partition; `sectors` are those of the disk. `None` is one that the table cannot describe.
fn mbr_entry(partition: &Partition, sectors: u32) -> Option<mbrman::MBRPartitionEntry> {
    let starting_lba = u32::try_from(partition.start / SECTOR).ok()?;
    let sectors = match partition.size {
        Some(size) => u32::try_from(size / SECTOR).ok()?,
        None => sectors.checked_sub(starting_lba)?,
    };
    let last = starting_lba.checked_add(sectors)?.checked_sub(1)?;
    Some(mbrman::MBRPartitionEntry {
        boot: if partition.boot { mbrman::BOOT_ACTIVE } else { mbrman::BOOT_INACTIVE },
        first_chs: chs(starting_lba),
        sys: mbr_type(partition.kind),
        last_chs: chs(last),
        starting_lba,
        sectors,
    })
}

/// The old form of a sector's number, for what still reads it; the last one that it can tell stands for all behind it.
fn chs(sector: u32) -> mbrman::CHS {
    let (cylinders, heads, sectors) = (1024, 255, 63);
    mbrman::CHS::from_lba_exact(sector, cylinders, heads, sectors)
        .unwrap_or_else(|_| mbrman::CHS::new(cylinders - 1, heads - 1, sectors))
}

fn gpt_type(kind: PartitionKind) -> Uuid {
    match kind {
        PartitionKind::Linux => uuid!("0FC63DAF-8483-4772-8E79-3D69D8477DE4"),
        PartitionKind::Swap => uuid!("0657FD6D-A4AB-43C4-84E5-0933C84B4F4F"),
        PartitionKind::EfiSystem => uuid!("C12A7328-F81F-11D2-BA4B-00A0C93EC93B"),
        PartitionKind::BiosBoot => uuid!("21686148-6449-6E6F-744E-656564454649"),
    }
}

fn mbr_type(kind: PartitionKind) -> u8 {
    match kind {
        // Only a GPT knows such a partition; on an MBR it would be nothing in particular.
        PartitionKind::Linux | PartitionKind::BiosBoot => 0x83,
        PartitionKind::Swap => 0x82,
        PartitionKind::EfiSystem => 0xef,
    }
}

fn wait_for(partition: &Partition, deadline: Instant) -> Result<(), Failure> {
    let device = device(partition.number);
    while !is_ready(&device, partition.size) {
        if Instant::now() > deadline {
            let device = device.display();
            return Err(Failure::other(format!("the kernel does not show the new partition {device}")));
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}

fn is_ready(device: &Path, size: Option<u64>) -> bool {
    size_of(device).is_some_and(|found| size.is_none_or(|size| size == found)) && device.exists()
}

/// Returns the size of a block device in bytes, once the kernel knows one.
pub(super) fn size_of(device: &Path) -> Option<u64> {
    let name = device.file_name()?;
    let sectors = std::fs::read_to_string(Path::new("/sys/class/block").join(name).join("size")).ok()?;
    sectors.trim().parse::<u64>().ok().filter(|&sectors| sectors > 0).map(|sectors| sectors * SECTOR)
}

#[cfg(test)]
mod tests {
    use super::super::program;
    use super::*;

    fn of(number: u32, start: u64, size: Option<u64>, boot: bool, kind: PartitionKind) -> Partition {
        Partition { number, start: start << 20, size: size.map(|size| size << 20), boot, kind }
    }

    fn read_back(label: DiskLabel, partitions: &[Partition]) -> String {
        let mut disk = tempfile::Builder::new().suffix(".img").tempfile().unwrap();
        disk.as_file().set_len(64 << 20).unwrap();
        write(disk.as_file_mut(), label, partitions).map_err(|failure| failure.message).unwrap();
        let words = ["--dump".as_ref(), disk.path().as_os_str()];
        let dump = program::run_checked("sfdisk", words, b"", String::new).unwrap();
        program::said(&dump).replace(disk.path().to_str().unwrap(), "disk")
    }

    /// Returns what is said of a partition, but for what is random.
    fn line(dump: &str, number: u32) -> String {
        let start = format!("disk{number} : ");
        let line =
            dump.lines().find_map(|line| line.strip_prefix(&start)).unwrap_or_else(|| panic!("{dump}"));
        line.split(", ")
            .filter(|field| !field.starts_with("uuid="))
            .collect::<Vec<_>>()
            .join(", ")
            .replace(' ', "")
    }

    #[test]
    fn a_gpt_is_what_sfdisk_reads() {
        let partitions = [
            of(1, 1, Some(1), false, PartitionKind::BiosBoot),
            of(2, 2, Some(8), false, PartitionKind::EfiSystem),
            of(5, 10, Some(8), false, PartitionKind::Swap),
            of(3, 18, None, true, PartitionKind::Linux),
        ];
        let dump = read_back(DiskLabel::Gpt, &partitions);
        assert!(dump.contains("label: gpt") && dump.contains("last-lba: 131038"), "{dump}");
        assert_eq!(line(&dump, 1), "start=2048,size=2048,type=21686148-6449-6E6F-744E-656564454649");
        assert_eq!(line(&dump, 2), "start=4096,size=16384,type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B");
        assert_eq!(line(&dump, 5), "start=20480,size=16384,type=0657FD6D-A4AB-43C4-84E5-0933C84B4F4F");
        let last =
            "start=36864,size=94175,type=0FC63DAF-8483-4772-8E79-3D69D8477DE4,attrs=\"LegacyBIOSBootable\"";
        assert_eq!(line(&dump, 3), last);
    }

    #[test]
    fn an_mbr_is_what_sfdisk_reads() {
        let partitions = [
            of(1, 1, Some(8), false, PartitionKind::Linux),
            of(2, 9, Some(8), true, PartitionKind::Swap),
            of(4, 17, None, false, PartitionKind::EfiSystem),
        ];
        let dump = read_back(DiskLabel::Mbr, &partitions);
        assert!(dump.contains("label: dos") && !dump.contains("label-id: 0x00000000"), "{dump}");
        assert_eq!(line(&dump, 1), "start=2048,size=16384,type=83");
        assert_eq!(line(&dump, 2), "start=18432,size=16384,type=82,bootable");
        assert_eq!(line(&dump, 4), "start=34816,size=96256,type=ef");
    }

    #[test]
    fn what_an_mbr_cannot_describe_is_refused() {
        let beyond = of(1, 3 << 20, Some(1), false, PartitionKind::Linux);
        assert_eq!(mbr_entry(&beyond, u32::MAX), None);
        let to_the_end = of(1, 1, None, false, PartitionKind::Linux);
        assert_eq!(mbr_entry(&to_the_end, u32::MAX).unwrap().sectors, u32::MAX - 2048);
        let last = (mbrman::CHS::new(1023, 254, 63), mbrman::CHS::new(0, 32, 33));
        assert_eq!((chs(u32::MAX), chs(2048)), last);
    }
}
