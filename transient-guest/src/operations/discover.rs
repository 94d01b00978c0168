//! Finding and mounting the filesystems of an existing image.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::mount::MountFlags;
use transient_guest::protocol::{FailureCause, IMAGE_DISK, IMAGE_ROOT, MountedDevice, Reply};

use super::blkid::{self, Found};
use super::failure::{Doing, Failure};
use super::fstab::{self, Entry, Source};
use super::{finish, inside, lvm, modules, mount};

/// Kinds of signature that hold no files.
const NO_FILES: [&str; 6] =
    ["swap", "LVM2_member", "crypto_LUKS", "linux_raid_member", "LVM1_member", "swsuspend"];
/// The inode of the top directory of every btrfs subvolume.
const SUBVOLUME_INODE: u64 = 256;

/// A block device, and what is on it.
#[derive(Debug)]
struct Device {
    path: PathBuf,
    found: Found,
}

/// A place that may be the root: a filesystem, or a subvolume of one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Candidate {
    device: PathBuf,
    kind: String,
    options: String,
}

/// How much a filesystem looks like a root; more is more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Likeness {
    None,
    System,
    Fstab,
}

/// Mounts the root of the image, and what its fstab lists.
pub(super) fn mount_image(reply: &mut dyn FnMut(Reply)) -> Result<(), Failure> {
    let mut note = |message: String| reply(Reply::Note { message });
    let devices = devices(&mut note)?;
    let root = find_root(&devices, &mut note)?;
    mount::mark_mounted(None)?;
    let Candidate { device, kind, options } = root;
    let mut mounts = vec![MountedDevice { device, kind, options, target: "/".into() }];
    mount::mount(&mounts[0])?;
    mounts.extend(mount_listed(&devices, &mut note)?);
    reply(Reply::Mounted { mounts });
    Ok(())
}

/// Returns every block device of the image that something was found on.
fn devices(note: &mut dyn FnMut(String)) -> Result<Vec<Device>, Failure> {
    let mut devices = Vec::new();
    for path in disk_devices().doing(|| "cannot list the image's partitions")? {
        devices.push(Device { found: blkid::probe(&path)?, path });
    }
    if devices.iter().any(|device| device.found.get("TYPE") == Some("LVM2_member")) {
        match lvm::activate() {
            Ok(volumes) => {
                for path in volumes {
                    devices.push(Device { found: blkid::probe(&path)?, path });
                }
            }
            Err(failure) => note(format!(
                "the image's logical volumes are left out: {} {}",
                failure.message, failure.output
            )),
        }
    }
    Ok(devices)
}

/// Returns the devices of the partitions in the order of their numbers, then the whole disk.
fn disk_devices() -> std::io::Result<Vec<PathBuf>> {
    let disk = Path::new(IMAGE_DISK);
    let name = disk.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(Path::new("/sys/class/block").join(&name))? {
        let entry = entry?.file_name();
        let number = entry.to_str().and_then(|entry| entry.strip_prefix(&name)?.parse::<u32>().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers.into_iter().map(super::partition::device).chain([disk.to_owned()]).collect())
}

fn find_root(devices: &[Device], note: &mut dyn FnMut(String)) -> Result<Candidate, Failure> {
    let mut best: Option<(Likeness, Candidate)> = None;
    let mut looked_at = Vec::new();
    for device in devices {
        let Some(kind) = device.found.get("TYPE").filter(|kind| !NO_FILES.contains(kind)) else { continue };
        looked_at.push(format!("{} ({kind})", device.path.display()));
        let candidates = match candidates(device, kind) {
            Ok(candidates) => candidates,
            Err(failure) => {
                note(failure.message);
                continue;
            }
        };
        for candidate in candidates {
            let likeness = likeness(&candidate).unwrap_or(Likeness::None);
            if likeness == Likeness::Fstab {
                return Ok(candidate);
            }
            if likeness > best.as_ref().map_or(Likeness::None, |(likeness, _)| *likeness) {
                best = Some((likeness, candidate));
            }
        }
    }
    best.map(|(_, candidate)| candidate).ok_or_else(|| {
        let looked_at = if looked_at.is_empty() { "none was found".to_owned() } else { looked_at.join(", ") };
        let message = "no filesystem of the image has /etc/fstab, an os-release file or /bin/sh; looked at: ";
        Failure::new(FailureCause::NoRoot, format!("{message}{looked_at}"))
    })
}

/// Returns what could be the root on a device: the filesystem, and for btrfs also each subvolume.
fn candidates(device: &Device, kind: &str) -> Result<Vec<Candidate>, Failure> {
    modules::load_filesystem(kind).map_err(|failure| Failure {
        message: format!("{} is left out: {}", device.path.display(), failure.message),
        ..failure
    })?;
    let plain = Candidate { device: device.path.clone(), kind: kind.to_owned(), options: String::new() };
    let mut candidates = vec![plain.clone()];
    if kind == "btrfs" {
        let top = Candidate { options: "subvolid=5".to_owned(), ..plain.clone() };
        let names = look(&top, subvolumes).unwrap_or_default();
        candidates.extend(
            names.into_iter().map(|name| Candidate { options: format!("subvol={name}"), ..plain.clone() }),
        );
    }
    Ok(candidates)
}

/// Returns the subvolumes of a btrfs filesystem, at its top and one directory below it.
fn subvolumes(root: &OwnedFd) -> Vec<String> {
    let top = inside::path_of(root);
    let mut found = Vec::new();
    let mut below = Vec::new();
    let directories = |folder: &Path| -> Vec<(PathBuf, u64)> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut entries: Vec<_> = entries
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .filter_map(|entry| Some((entry.path(), entry.metadata().ok()?.ino())))
            .collect();
        entries.sort();
        entries
    };
    for (path, inode) in directories(&top) {
        if inode == SUBVOLUME_INODE { found.push(path) } else { below.push(path) }
    }
    for folder in below {
        found.extend(
            directories(&folder)
                .into_iter()
                .filter(|(_, inode)| *inode == SUBVOLUME_INODE)
                .map(|(path, _)| path),
        );
    }
    let name = |path: &PathBuf| path.strip_prefix(&top).ok()?.to_str().map(str::to_owned);
    // A comma would end the option.
    found.iter().filter_map(name).filter(|name| !name.contains(',')).collect()
}

fn likeness(candidate: &Candidate) -> Result<Likeness, Failure> {
    look(candidate, |root| {
        let has = |path: &str| inside::open(root, Path::new(path), OFlags::PATH, Mode::empty()).is_ok();
        if has("/etc/fstab") {
            Likeness::Fstab
        } else if ["/etc/os-release", "/usr/lib/os-release", "/bin/sh"].into_iter().any(has) {
            Likeness::System
        } else {
            Likeness::None
        }
    })
}

/// Mounts a candidate for reading, and looks at it.
fn look<T>(candidate: &Candidate, see: impl FnOnce(&OwnedFd) -> T) -> Result<T, Failure> {
    let Candidate { device, kind, options } = candidate;
    let doing = || format!("cannot look at {}", device.display());
    let place = mount::place(Path::new("/"))?;
    mount::attach_with(device, kind, options, MountFlags::RDONLY, &place).doing(doing)?;
    let seen = inside::root(Path::new(IMAGE_ROOT)).map(|root| see(&root));
    drop(place);
    finish::unmount(Path::new(IMAGE_ROOT))?;
    seen.doing(doing)
}

/// Mounts what the image's fstab lists; what cannot be mounted is noted.
fn mount_listed(devices: &[Device], note: &mut dyn FnMut(String)) -> Result<Vec<MountedDevice>, Failure> {
    let root = inside::root(Path::new(IMAGE_ROOT)).doing(|| "cannot open the image's root")?;
    let Ok(file) = inside::open(&root, Path::new("/etc/fstab"), OFlags::RDONLY, Mode::empty()) else {
        return Ok(Vec::new());
    };
    let text = std::fs::read(inside::path_of(&file)).doing(|| "cannot read the image's /etc/fstab")?;
    drop(file);
    let mut entries: BTreeMap<(usize, usize), Entry> = BTreeMap::new();
    for (line, entry) in fstab::parse(&text).into_iter().enumerate() {
        if mount::depth(&entry.target) > 0 && !entry.is_on_demand() {
            entries.insert((mount::depth(&entry.target), line), entry);
        }
    }
    let mut mounts = Vec::new();
    for entry in entries.values() {
        match mount_entry(entry, devices) {
            Ok(mounted) => mounts.push(mounted),
            Err(failure) => note(format!("{} is not mounted: {}", entry.target.display(), failure.message)),
        }
    }
    Ok(mounts)
}

fn mount_entry(entry: &Entry, devices: &[Device]) -> Result<MountedDevice, Failure> {
    let (device, kind) = match &entry.source {
        Source::Tag(tag, value) => by_tag(devices, tag, value),
        Source::Device(name) => by_name(devices, name),
    }
    .ok_or_else(|| Failure::other(format!("the image's disk has no {}", described(&entry.source))))?;
    let kind = match entry.kind.as_str() {
        "auto" => kind.ok_or_else(|| Failure::other("no filesystem is known on it"))?,
        kind => kind.to_owned(),
    };
    let (options, target) = (entry.options_that_matter(), entry.target.clone());
    let mounted = MountedDevice { device, kind, options, target };
    mount::mount(&mounted)?;
    Ok(mounted)
}

fn described(source: &Source) -> String {
    match source {
        Source::Tag(tag, value) => format!("filesystem with {tag}={value}"),
        Source::Device(name) => name.clone(),
    }
}

fn by_tag(devices: &[Device], tag: &str, value: &str) -> Option<(PathBuf, Option<String>)> {
    let key = match tag {
        "PARTUUID" => "PART_ENTRY_UUID",
        "PARTLABEL" => "PART_ENTRY_NAME",
        other => other,
    };
    let same =
        |found: &str| if tag.ends_with("UUID") { found.eq_ignore_ascii_case(value) } else { found == value };
    devices.iter().find(|device| device.found.get(key).is_some_and(same)).map(of)
}

fn by_name(devices: &[Device], name: &str) -> Option<(PathBuf, Option<String>)> {
    let wanted = match fstab::partition_number(name) {
        Some(0) => PathBuf::from(IMAGE_DISK),
        Some(number) => super::partition::device(number),
        None => PathBuf::from(name),
    };
    if let Some(device) = devices.iter().find(|device| device.path == wanted) {
        return Some(of(device));
    }
    // /dev/GROUP/VOLUME is another name of a device in /dev/mapper.
    let number = block_number(&wanted)?;
    devices.iter().find(|device| block_number(&device.path) == Some(number)).map(of)
}

fn of(device: &Device) -> (PathBuf, Option<String>) {
    (device.path.clone(), device.found.get("TYPE").map(str::to_owned))
}

fn block_number(path: &Path) -> Option<u64> {
    let meta = std::fs::metadata(path).ok()?;
    meta.file_type().is_block_device().then(|| meta.rdev())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(path: &str, tags: &str) -> Device {
        Device { path: path.into(), found: blkid::parse(tags) }
    }

    #[test]
    fn devices_are_found_by_every_name() {
        let devices = [
            device("/dev/vda1", "UUID=AB-CD\nTYPE=vfat\nPART_ENTRY_NAME=esp part\n"),
            device("/dev/vda2", "UUID=77\nTYPE=ext4\nLABEL=root\nPART_ENTRY_UUID=0f-1\n"),
        ];
        let found = |tag, value| by_tag(&devices, tag, value).map(|(path, _)| path.display().to_string());
        assert_eq!(found("UUID", "ab-cd").as_deref(), Some("/dev/vda1"));
        assert_eq!(found("PARTUUID", "0F-1").as_deref(), Some("/dev/vda2"));
        assert_eq!(found("PARTLABEL", "esp part").as_deref(), Some("/dev/vda1"));
        assert_eq!(found("LABEL", "ROOT"), None);
        assert_eq!(by_name(&devices, "/dev/nvme0n1p2"), Some(("/dev/vda2".into(), Some("ext4".into()))));
        assert_eq!(by_name(&devices, "/dev/sda7"), None);
    }
}
