//! Partition tables.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use transient_guest::protocol::{DiskLabel, IMAGE_DISK, Partition, PartitionKind};

use super::failure::Failure;
use super::program;

const SECTOR: u64 = 512;
const NODES_DEADLINE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(2);

/// Returns the device of a partition of the image's disk.
pub(super) fn device(number: u32) -> PathBuf {
    PathBuf::from(format!("{IMAGE_DISK}{number}"))
}

/// Writes a partition table to the image's disk, and waits until the kernel shows the partitions.
pub(super) fn partition(label: DiskLabel, partitions: &[Partition]) -> Result<(), Failure> {
    let script = script(label, partitions)?;
    let arguments = ["--quiet", "--no-reread", "--wipe", "always", "--wipe-partitions", "always", IMAGE_DISK];
    program::run_checked("sfdisk", arguments, script.as_bytes(), || {
        "cannot write the partition table".into()
    })?;
    let deadline = Instant::now() + NODES_DEADLINE;
    for partition in partitions {
        wait_for(partition, deadline)?;
    }
    Ok(())
}

/// Returns the `sfdisk` script of a table.
fn script(label: DiskLabel, partitions: &[Partition]) -> Result<String, Failure> {
    let mut script = match label {
        DiskLabel::Gpt => "label: gpt\n".to_owned(),
        DiskLabel::Mbr => "label: dos\n".to_owned(),
    };
    script.push_str("unit: sectors\n\n");
    for partition in partitions {
        line(&mut script, label, partition)
            .map_err(|_| Failure::other(format!("partition {} cannot be described", partition.number)))?;
    }
    Ok(script)
}

fn line(script: &mut String, label: DiskLabel, partition: &Partition) -> std::fmt::Result {
    write!(script, "{IMAGE_DISK}{} : start={}", partition.number, partition.start / SECTOR)?;
    if let Some(size) = partition.size {
        write!(script, ", size={}", size / SECTOR)?;
    }
    write!(script, ", type={}", type_code(label, partition.kind))?;
    match (partition.boot, label) {
        (false, _) => {}
        (true, DiskLabel::Mbr) => script.push_str(", bootable"),
        (true, DiskLabel::Gpt) => script.push_str(", attrs=\"LegacyBIOSBootable\""),
    }
    script.push('\n');
    Ok(())
}

fn type_code(label: DiskLabel, kind: PartitionKind) -> &'static str {
    match (label, kind) {
        (DiskLabel::Gpt, PartitionKind::Linux) => "0FC63DAF-8483-4772-8E79-3D69D8477DE4",
        (DiskLabel::Gpt, PartitionKind::Swap) => "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F",
        (DiskLabel::Gpt, PartitionKind::EfiSystem) => "C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
        (_, PartitionKind::BiosBoot) => "21686148-6449-6E6F-744E-656564454649",
        (DiskLabel::Mbr, PartitionKind::Linux) => "83",
        (DiskLabel::Mbr, PartitionKind::Swap) => "82",
        (DiskLabel::Mbr, PartitionKind::EfiSystem) => "ef",
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
    use super::*;

    fn of(number: u32, start: u64, size: Option<u64>, boot: bool, kind: PartitionKind) -> Partition {
        Partition { number, start: start << 20, size: size.map(|size| size << 20), boot, kind }
    }

    #[test]
    fn a_gpt_script_names_every_field() {
        let partitions = [
            of(1, 1, Some(1), false, PartitionKind::BiosBoot),
            of(2, 2, Some(100), false, PartitionKind::EfiSystem),
            of(3, 102, None, true, PartitionKind::Linux),
        ];
        assert_eq!(
            script(DiskLabel::Gpt, &partitions).unwrap(),
            "label: gpt\nunit: sectors\n\n\
            /dev/vda1 : start=2048, size=2048, type=21686148-6449-6E6F-744E-656564454649\n\
            /dev/vda2 : start=4096, size=204800, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B\n\
            /dev/vda3 : start=208896, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, attrs=\"LegacyBIOSBootable\"\n"
        );
    }

    #[test]
    fn sfdisk_makes_the_table_that_the_script_means() {
        for (label, expected) in [(DiskLabel::Gpt, "0657FD6D"), (DiskLabel::Mbr, "type=82, bootable")] {
            let disk = tempfile::Builder::new().suffix(".img").tempfile().unwrap();
            disk.as_file().set_len(64 << 20).unwrap();
            let partitions = [
                of(1, 1, Some(8), false, PartitionKind::Linux),
                of(2, 9, Some(8), true, PartitionKind::Swap),
                of(3, 17, None, false, PartitionKind::EfiSystem),
            ];
            let script = script(label, &partitions).unwrap();
            let disk = disk.path().to_str().unwrap();
            program::run_checked("sfdisk", ["-q", disk], script.as_bytes(), String::new).unwrap();
            let dump = program::run_checked("sfdisk", ["-d", disk], b"", String::new).unwrap();
            let dump = program::said(&dump);
            let second = dump.lines().find(|line| line.starts_with(&format!("{disk}2 "))).unwrap();
            assert!(second.contains("start=       18432, size=       16384"), "{dump}");
            assert!(second.contains(expected), "{dump}");
        }
    }
}
