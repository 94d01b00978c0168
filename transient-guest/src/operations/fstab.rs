//! What an image's `/etc/fstab` wants mounted.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use super::mounts;

/// How a filesystem is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// By a tag that `blkid` finds (`UUID`, `LABEL`, `PARTUUID`, `PARTLABEL`), and its value.
    Tag(&'static str, String),
    /// By a device, as the image would see it.
    Device(String),
}

/// A filesystem on a block device that is to be mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) source: Source,
    pub(super) target: PathBuf,
    /// As `mount -t` takes it; `auto` for whatever is there.
    pub(super) kind: String,
    pub(super) options: Vec<String>,
}

impl Entry {
    /// Tells whether it is mounted only when asked for.
    pub(super) fn is_on_demand(&self) -> bool {
        self.options.iter().any(|option| option == "noauto")
    }

    /// Returns the options that decide what is seen, without those that decide how it may be used.
    pub(super) fn options_that_matter(&self) -> String {
        let matter = |option: &&String| option.starts_with("subvol=") || option.starts_with("subvolid=");
        self.options.iter().filter(matter).cloned().collect::<Vec<_>>().join(",")
    }
}

/// Kinds that are not on a block device of ours, or not to be mounted during a build.
const SKIPPED: [&str; 4] = ["swap", "none", "ignore", "bind"];

/// Reads a table; only what is on block devices is kept.
pub(super) fn parse(text: &[u8]) -> Vec<Entry> {
    text.split(|&byte| byte == b'\n').filter_map(parse_line).collect()
}

fn parse_line(line: &[u8]) -> Option<Entry> {
    let line = line.trim_ascii();
    if line.starts_with(b"#") {
        return None;
    }
    let mut fields = line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|field| !field.is_empty());
    let source = source(&text(fields.next()?))?;
    let target = PathBuf::from(OsString::from_vec(mounts::unescape(fields.next()?)));
    let kind = text(fields.next().unwrap_or(b"auto"));
    let options: Vec<String> =
        text(fields.next().unwrap_or(b"defaults")).split(',').map(str::to_owned).collect();
    let bound = options.iter().any(|option| option == "bind" || option == "rbind");
    if !target.is_absolute() || bound || SKIPPED.contains(&kind.as_str()) {
        return None;
    }
    Some(Entry { source, target, kind, options })
}

fn text(field: &[u8]) -> String {
    String::from_utf8_lossy(&mounts::unescape(field)).into_owned()
}

fn source(field: &str) -> Option<Source> {
    for tag in ["UUID", "LABEL", "PARTUUID", "PARTLABEL"] {
        if let Some(value) = field.strip_prefix(tag).and_then(|rest| rest.strip_prefix('=')) {
            let unquoted =
                ['"', '\''].iter().find_map(|&quote| value.strip_prefix(quote)?.strip_suffix(quote));
            return Some(Source::Tag(tag, unquoted.unwrap_or(value).to_owned()));
        }
        // Links that udev makes.
        let folder = format!("/dev/disk/by-{}/", tag.to_ascii_lowercase());
        if let Some(value) = field.strip_prefix(&folder) {
            return Some(Source::Tag(tag, value.replace("\\x20", " ").replace("\\x2f", "/")));
        }
    }
    field.starts_with("/dev/").then(|| Source::Device(field.to_owned()))
}

/// Returns the partition's number where a device's name is that of a partition of a first disk, whatever
/// the kind of the disk; 0 for the disk itself.
pub(super) fn partition_number(device: &str) -> Option<u32> {
    let name = device.strip_prefix("/dev/")?;
    let rest = ["vda", "sda", "hda", "xvda"].iter().find_map(|disk| name.strip_prefix(disk));
    let rest = rest.or_else(|| {
        let rest = ["nvme0n1", "mmcblk0"].iter().find_map(|disk| name.strip_prefix(disk))?;
        if rest.is_empty() { Some(rest) } else { rest.strip_prefix('p').filter(|number| !number.is_empty()) }
    })?;
    if rest.is_empty() {
        return Some(0);
    }
    let digits = rest.bytes().all(|byte| byte.is_ascii_digit());
    rest.parse().ok().filter(|&number| digits && number > 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_block_filesystems_are_kept() {
        let text = b"# comment\n\
            UUID=1-2 / ext4 errors=remount-ro 0 1\n\
            LABEL=\"my\\040data\"\t/mnt/my\\040data xfs  defaults,noauto 0 2\n\
            /dev/sda3 none swap sw 0 0\nproc /proc proc defaults\ntmpfs /tmp tmpfs\nserver:/x /x nfs\n\
            /dev/disk/by-uuid/AB /efi vfat\r\n/srv /y none bind\n/dev/vda2 /home btrfs compress=zstd,subvol=@home,ro\nshort\n";
        let entries = parse(text);
        let targets: Vec<_> = entries.iter().map(|entry| entry.target.to_str().unwrap()).collect();
        assert_eq!(targets, ["/", "/mnt/my data", "/efi", "/home"]);
        assert_eq!(entries[1].source, Source::Tag("LABEL", "my data".into()));
        assert!(entries[1].is_on_demand() && !entries[0].is_on_demand());
        assert_eq!(entries[2].source, Source::Tag("UUID", "AB".into()));
        assert_eq!(entries[3].options_that_matter(), "subvol=@home");
        assert_eq!(entries[3].source, Source::Device("/dev/vda2".into()));
    }

    #[test]
    fn disks_of_any_kind_are_the_one_disk() {
        let numbers = [
            ("/dev/vda1", Some(1)),
            ("/dev/sda12", Some(12)),
            ("/dev/hda", Some(0)),
            ("/dev/nvme0n1p3", Some(3)),
            ("/dev/nvme0n13", None),
            ("/dev/mmcblk0p2", Some(2)),
            ("/dev/sdb1", None),
            ("/dev/mapper/a", None),
            ("/dev/vda+1", None),
            ("/dev/vda0", None),
            ("/dev/nvme0n1p", None),
        ];
        for (device, number) in numbers {
            assert_eq!(partition_number(device), number, "{device}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&text);
        }
    }
}
