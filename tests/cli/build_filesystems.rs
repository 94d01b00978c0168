//! Every filesystem and flag, checked with the tools of each.

use std::ffi::OsString;

use crate::disk::Disk;
use crate::fixture::rootfs;
use crate::harness::{Sandbox, host};

const EVERYTHING: &str = "\
FROM scratch
DISK 3 GB GPT
PARTITION 1 SIZE 1 MiB FLAGS bios_grub
PARTITION 2 SIZE 64 MiB FORMAT vfat MOUNT /boot/efi FLAGS efi
PARTITION 3 SIZE 128 MB FORMAT ext2 MOUNT /boot FLAGS boot
PARTITION 4 SIZE 256 MiB FORMAT ext3 MOUNT /srv
PARTITION 5 SIZE 512 MiB FORMAT xfs MOUNT /var/lib
PARTITION 6 SIZE 512 MiB FORMAT btrfs MOUNT /home
PARTITION 7 SIZE 64 MiB FORMAT swap
PARTITION 8 FORMAT ext4 OPTIONS \"-L 'the root' -m 0\" MOUNT /
ADD rootfs.tar.gz /
RUN for d in /boot/efi /boot /srv /var/lib /home; do grep -q \" $d \" /proc/mounts && echo $d > $d/mark || exit 1; done
";

fn tool(words: &[&str], file: &std::path::Path) -> String {
    host(words.iter().map(OsString::from).chain([file.into()]))
}

#[test]
fn gpt_with_everything() {
    let sandbox = Sandbox::new();
    rootfs(&sandbox);
    let _ = sandbox.build("all", EVERYTHING, &[]).exits(0);
    let disk = Disk::open(&sandbox.backend().join("all"));
    assert_eq!(disk.table["label"], "gpt");
    assert_eq!(disk.table["partitions"].as_array().unwrap().len(), 8);
    let kind = |number| disk.entry(number)["type"].as_str().unwrap().to_owned();
    assert_eq!(kind(1), "21686148-6449-6E6F-744E-656564454649", "BIOS boot");
    assert_eq!(kind(2), "C12A7328-F81F-11D2-BA4B-00A0C93EC93B", "EFI system");
    assert_eq!(kind(4), "0FC63DAF-8483-4772-8E79-3D69D8477DE4", "Linux filesystem");
    assert!(disk.entry(3)["attrs"].as_str().unwrap().contains("LegacyBIOSBootable"));
    let size = |number| disk.entry(number)["size"].as_u64().unwrap() * 512;
    assert_eq!(size(2), 64 << 20);
    assert_eq!(size(3), 128_000_000, "MB is decimal in PARTITION");

    for (number, folder) in [(3, "/mark"), (4, "/mark")] {
        assert!(disk.ext(number).has(folder));
    }
    let root = disk.ext(8);
    root.is_roots("/bin/busybox", "regular", "0755");
    assert!(root.has("/var/lib") && !root.has("/var/lib/mark"), "what is mounted is on its own partition");
    tool(&["fsck.vfat", "-n"], &disk.partition(2));
    tool(&["xfs_repair", "-n"], &disk.partition(5));
    tool(&["btrfs", "check", "--readonly"], &disk.partition(6));
    for (number, kind) in
        [(2, "vfat"), (3, "ext2"), (4, "ext3"), (5, "xfs"), (6, "btrfs"), (7, "swap"), (8, "ext4")]
    {
        let found = tool(&["blkid", "-p", "-o", "value", "-s", "TYPE"], &disk.partition(number));
        assert_eq!(found.trim(), kind, "partition {number}");
    }
    let label = tool(&["blkid", "-p", "-o", "value", "-s", "LABEL"], &disk.partition(8));
    assert_eq!(label.trim(), "the root", "OPTIONS are words as in a shell");
}

#[test]
fn mbr_with_four_partitions() {
    let sandbox = Sandbox::new();
    rootfs(&sandbox);
    let imagefile = "\
FROM scratch
DISK 1 GB MBR
PARTITION 1 SIZE 64 MiB FORMAT vfat MOUNT /boot/efi FLAGS efi
PARTITION 2 SIZE 64 MiB FORMAT swap
PARTITION 3 SIZE 128 MiB FORMAT ext2 MOUNT /boot
PARTITION 4 FORMAT ext3 MOUNT / FLAGS boot
ADD rootfs.tar.gz /
RUN echo /boot > /boot/mark
";
    let _ = sandbox.build("mbr", imagefile, &[]).exits(0);
    let disk = Disk::open(&sandbox.backend().join("mbr"));
    assert_eq!(disk.table["label"], "dos");
    for (number, (code, kind)) in (1..).zip([("ef", "vfat"), ("82", "swap"), ("83", "ext2"), ("83", "ext3")])
    {
        assert_eq!(disk.entry(number)["type"], code, "partition {number}");
        assert_eq!(disk.entry(number)["bootable"].as_bool().unwrap_or(false), number == 4);
        let found = tool(&["blkid", "-p", "-o", "value", "-s", "TYPE"], &disk.partition(number));
        assert_eq!(found.trim(), kind, "partition {number}");
    }
    assert!(disk.ext(3).has("/mark") && !disk.ext(4).has("/boot/mark"));
    tool(&["fsck.vfat", "-n"], &disk.partition(1));
}

/// An image whose root is not ext4 can be built upon.
fn from_root_on(filesystem: &str) {
    let sandbox = Sandbox::new();
    rootfs(&sandbox);
    let base = format!(
        "FROM scratch\nDISK 1 GB MBR\nPARTITION 1 FORMAT {filesystem} MOUNT / FLAGS boot\nADD rootfs.tar.gz /\n"
    );
    let _ = sandbox.build("base", &base, &[]).exits(0);
    let outcome =
        sandbox.build("new", "FROM base\nRUN grep ' / ' /proc/mounts; echo new > /new\n", &[]).exits(0);
    assert!(outcome.stdout.contains(filesystem), "{outcome:?}");
    let again = sandbox.build("again", "FROM new\nRUN cat /new\n", &[]).exits(0);
    assert!(again.stdout.ends_with("\nnew\n"), "{again:?}");
}

#[test]
fn from_root_on_xfs() {
    from_root_on("xfs");
}

#[test]
fn from_root_on_btrfs() {
    from_root_on("btrfs");
}

#[test]
fn from_mounts_what_fstab_lists() {
    let sandbox = Sandbox::new();
    rootfs(&sandbox);
    let base = "FROM scratch\nDISK 512 MB GPT\nPARTITION 1 SIZE 128 MiB FORMAT ext4 OPTIONS \"-L data\" MOUNT /data\n\
                PARTITION 2 FORMAT ext4 MOUNT /\nADD rootfs.tar.gz /\n\
                RUN echo 'LABEL=data /data ext4 defaults 0 2' > /etc/fstab\n\
                RUN echo 'LABEL=gone /gone ext4 nofail 0 2' >> /etc/fstab\n";
    let _ = sandbox.build("base", base, &[]).exits(0);
    let outcome = sandbox.build("new", "FROM base\nRUN echo x > /data/file\n", &[]).exits(0).says(&["/gone"]);
    assert!(outcome.stderr.contains("note: "), "{outcome:?}");
    let disk = Disk::open(&sandbox.backend().join("new"));
    assert_eq!(disk.ext(1).read("/file"), "x\n");
    assert!(!disk.ext(2).has("/data/file"));
}
