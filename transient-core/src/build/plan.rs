//! From checked instructions to the steps of a build.

use transient_guest::protocol;

use crate::imagefile::{Base, Disk, Imagefile, Instruction, Partition, layout};
use crate::source;

/// What a build will do, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plan {
    /// What it starts from.
    pub base: Base,
    /// The disk to make, for a build from scratch.
    pub disk: Option<DiskLayout>,
    /// One for each instruction, `FROM` included.
    pub steps: Vec<Step>,
}

/// A new disk, its partitions placed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DiskLayout {
    /// In bytes.
    pub size: u64,
    /// The kind of the partition table.
    pub label: protocol::DiskLabel,
    /// In the order of the Imagefile.
    pub partitions: Vec<protocol::Partition>,
    /// What is mounted where during the build.
    pub mounts: Vec<protocol::Mount>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Step {
    /// Counted from 1.
    pub number: usize,
    /// The line of the Imagefile where it begins, counted from 1.
    pub line: usize,
    /// What to do.
    pub instruction: Instruction,
}

impl Plan {
    /// Returns the plan of an Imagefile.
    pub fn new(imagefile: &Imagefile) -> Self {
        let mut plan = Self { base: Base::Scratch, disk: None, steps: Vec::new() };
        let mut disk = None;
        let mut partitions = Vec::new();
        for (index, (instruction, span)) in imagefile.instructions().iter().enumerate() {
            match instruction {
                Instruction::From(base) => plan.base = base.clone(),
                Instruction::Disk(written) => disk = Some(written),
                Instruction::Partition(partition) => partitions.push(partition),
                _ => {}
            }
            let line = imagefile.line(*span);
            plan.steps.push(Step { number: index + 1, line, instruction: instruction.clone() });
        }
        plan.disk = disk.map(|disk| DiskLayout::new(disk, &partitions));
        plan
    }
}

impl Step {
    /// Returns the instruction as it may be shown.
    pub(super) fn shown(&self) -> String {
        match &self.instruction {
            Instruction::From(Base::Image(spec)) => {
                Instruction::From(Base::Image(source::without_secrets(spec))).to_string()
            }
            other => other.to_string(),
        }
    }
}

impl DiskLayout {
    fn new(disk: &Disk, partitions: &[&Partition]) -> Self {
        // An Imagefile whose partitions do not fit was not parsed.
        let placed = layout::lay_out(disk, partitions).unwrap_or_default();
        Self { size: disk.bytes(), label: disk.label, partitions: placed, mounts: mounts(partitions) }
    }
}

/// What is mounted, `/` before what lies in it.
fn mounts(partitions: &[&Partition]) -> Vec<protocol::Mount> {
    let mut mounts: Vec<_> = partitions
        .iter()
        .filter_map(|partition| {
            let (path, filesystem) = (partition.mount.clone()?, partition.format?);
            Some(protocol::Mount { partition: partition.number, path, filesystem })
        })
        .collect();
    mounts.sort_by_key(|mount| mount.path.components().count());
    mounts
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const SCRATCH: &str = "# a disk\n\nFROM scratch\nDISK 2 GB GPT\n\
        PARTITION 1 SIZE 1 MiB FLAGS bios_grub\n\
        PARTITION 2 SIZE 100 MB FORMAT vfat MOUNT /boot/efi FLAGS efi\n\
        PARTITION 3 SIZE 200 MB FORMAT ext4 MOUNT /boot FLAGS boot\n\
        PARTITION 5 SIZE 64 MiB FORMAT swap\n\
        PARTITION 4 FORMAT xfs MOUNT / \\\n  OPTIONS \"-f\"\nRUN true\n";

    fn plan(text: &str) -> Plan {
        Plan::new(&Imagefile::parse("Imagefile", text.as_bytes()).unwrap())
    }

    #[test]
    fn steps_know_their_lines() {
        let steps: Vec<_> = plan(SCRATCH).steps.iter().map(|step| (step.number, step.line)).collect();
        assert_eq!(steps, [(1, 3), (2, 4), (3, 5), (4, 6), (5, 7), (6, 8), (7, 9), (8, 11)]);
    }

    #[test]
    fn a_disk_is_laid_out() {
        let disk = plan(SCRATCH).disk.unwrap();
        assert_eq!(disk.size, 2 << 30);
        let placed: Vec<_> = disk
            .partitions
            .iter()
            .map(|part| (part.number, part.start >> 20, part.size, part.boot))
            .collect();
        let expected = [
            (1, 1, Some(1 << 20), false),
            (2, 2, Some(100_000_256), false),
            (3, 98, Some(200_000_000), true),
            (5, 289, Some(64 << 20), false),
            (4, 353, None, false),
        ];
        assert_eq!(placed, expected);
        let kinds: Vec<_> = disk.partitions.iter().map(|partition| partition.kind).collect();
        use protocol::PartitionKind::{BiosBoot, EfiSystem, Linux, Swap};
        assert_eq!(kinds, [BiosBoot, EfiSystem, Linux, Swap, Linux]);
    }

    #[test]
    fn the_shallowest_path_is_mounted_first() {
        let mounts = plan(SCRATCH).disk.unwrap().mounts;
        let paths: Vec<_> = mounts.iter().map(|mount| mount.path.as_path()).collect();
        assert_eq!(paths, ["/", "/boot", "/boot/efi"].map(Path::new));
    }

    #[test]
    fn a_password_is_not_shown() {
        let digest = "0".repeat(64);
        let plan = plan(&format!("FROM a,http=https://me:secret@host/disk.img?key=secret,sha256={digest}"));
        assert_eq!(plan.steps[0].shown(), format!("FROM a,http=https://host/disk.img,sha256={digest}"));
    }

    #[test]
    fn an_image_keeps_its_disk() {
        let plan = plan("FROM a\nINSPECT");
        assert!(plan.disk.is_none());
        assert!(matches!(&plan.base, Base::Image(spec) if spec.name.as_str() == "a"));
    }
}
