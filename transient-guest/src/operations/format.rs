//! Making filesystems.

use std::path::Path;

use transient_guest::protocol::Filesystem;

use super::failure::Failure;
use super::{blkid, partition, program};

/// The type of an EFI system partition, in a GUID and in a DOS table, as `blkid` prints it.
const EFI_TYPES: [&str; 2] = ["c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "0xef"];
/// Below this a FAT with 32-bit entries has too few clusters.
const LEAST_FAT32: u64 = 34 << 20;

/// Makes a filesystem on a partition of the image's disk, with more words for the program that does.
pub(super) fn format(number: u32, filesystem: Filesystem, options: &[String]) -> Result<(), Failure> {
    let device = partition::device(number);
    let fat32 = filesystem == Filesystem::Vfat && wants_fat32(&device);
    let doing = || format!("cannot format partition {number} with {}", filesystem.name());
    let (program, words) = command(filesystem, options, fat32, Prezeroed::Yes);
    let arguments =
        |words: Vec<String>| words.into_iter().map(Into::into).chain([device.clone().into_os_string()]);
    let output = program::run(program, arguments(words), b"")?;
    if output.status.success() {
        return Ok(());
    }
    // Versions before 1.46.6 do not know the option.
    let (program, words) = command(filesystem, options, fat32, Prezeroed::NotSaid);
    if program == "mke2fs" && program::said(&output).contains("assume_storage_prezeroed") {
        return program::run_checked(program, arguments(words), b"", doing).map(drop);
    }
    let status = output.status;
    Err(Failure::other(format!("{}: {program} failed ({status})", doing()))
        .with_output(program::said(&output)))
}

/// Whether `mke2fs` is told that the disk holds nothing but zeros, which saves writing them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Prezeroed {
    Yes,
    NotSaid,
}

/// Returns the program and its words, but for the device, which comes last.
fn command(
    filesystem: Filesystem,
    options: &[String],
    fat32: bool,
    zeroed: Prezeroed,
) -> (&'static str, Vec<String>) {
    let (program, words): (_, &[&str]) = match filesystem {
        Filesystem::Ext2 | Filesystem::Ext3 | Filesystem::Ext4 => {
            return ("mke2fs", mke2fs_words(filesystem, options, zeroed));
        }
        Filesystem::Xfs => ("mkfs.xfs", &["-f", "-q", "-K"]),
        Filesystem::Btrfs => ("mkfs.btrfs", &["-f", "-q", "-K"]),
        Filesystem::Vfat if fat32 && !options.iter().any(|word| word.starts_with("-F")) => {
            ("mkfs.vfat", &["-F", "32"])
        }
        Filesystem::Vfat => ("mkfs.vfat", &[]),
        Filesystem::Swap => ("mkswap", &[]),
    };
    (program, words.iter().map(|&word| word.to_owned()).chain(options.iter().cloned()).collect())
}

fn mke2fs_words(filesystem: Filesystem, options: &[String], zeroed: Prezeroed) -> Vec<String> {
    let mut words: Vec<String> = ["-t", filesystem.name(), "-F", "-q"].map(str::to_owned).to_vec();
    let mut extended = "nodiscard,lazy_itable_init=1,lazy_journal_init=1".to_owned();
    if zeroed == Prezeroed::Yes {
        extended.push_str(",assume_storage_prezeroed=1");
    }
    // Of several -E only the last counts, so that the user's are joined to ours.
    let mut options = options.iter();
    while let Some(option) = options.next() {
        let more = match option.strip_prefix("-E") {
            Some("") => options.next().map(String::as_str),
            joined => joined,
        };
        match more {
            Some(more) => extended = format!("{extended},{more}"),
            None => words.push(option.clone()),
        }
    }
    words.extend(["-E".to_owned(), extended]);
    words
}

fn wants_fat32(device: &Path) -> bool {
    let is_efi = || {
        blkid::probe(device)
            .is_ok_and(|found| found.get("PART_ENTRY_TYPE").is_some_and(|kind| EFI_TYPES.contains(&kind)))
    };
    partition::size_of(device).is_some_and(|size| size >= LEAST_FAT32) && is_efi()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(filesystem: Filesystem, options: &[&str]) -> String {
        let options: Vec<String> = options.iter().map(|&word| word.to_owned()).collect();
        let (program, words) = command(filesystem, &options, true, Prezeroed::NotSaid);
        format!("{program} {}", words.join(" "))
    }

    #[test]
    fn the_users_words_come_after_ours() {
        assert_eq!(words(Filesystem::Xfs, &["-m", "bigtime=0"]), "mkfs.xfs -f -q -K -m bigtime=0");
        assert_eq!(words(Filesystem::Swap, &["-L", "swap"]), "mkswap -L swap");
        assert_eq!(words(Filesystem::Vfat, &["-F", "16"]), "mkfs.vfat -F 16");
        assert_eq!(words(Filesystem::Vfat, &["-n", "ESP"]), "mkfs.vfat -F 32 -n ESP");
    }

    #[test]
    fn extended_options_are_joined() {
        assert_eq!(
            words(Filesystem::Ext4, &["-L", "root", "-E", "stride=4", "-Eroot_owner=1:1"]),
            "mke2fs -t ext4 -F -q -L root -E nodiscard,lazy_itable_init=1,lazy_journal_init=1,stride=4,root_owner=1:1"
        );
    }

    #[test]
    fn the_program_takes_the_words() {
        for filesystem in [Filesystem::Ext2, Filesystem::Ext3, Filesystem::Ext4] {
            let disk = tempfile::NamedTempFile::new().unwrap();
            disk.as_file().set_len(64 << 20).unwrap();
            let (program, mut words) =
                command(filesystem, &["-L".into(), "x".into()], false, Prezeroed::NotSaid);
            words.push(disk.path().to_str().unwrap().to_owned());
            program::run_checked(program, words, b"", String::new).unwrap();
            let found = blkid::probe(disk.path()).unwrap();
            assert_eq!((found.get("TYPE"), found.get("LABEL")), (Some(filesystem.name()), Some("x")));
        }
    }
}
