//! Mounting the image's filesystems below its root.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::MountFlags;
use transient_guest::protocol::{Filesystem, IMAGE_ROOT, Mount, MountedDevice};

use super::failure::{Doing, Failure};
use super::{inside, lvm, modules, partition};

/// In nanoseconds.
const SECOND: u64 = 1_000_000_000;

/// The file that says when the build began to change the image, in nanoseconds since 1970.
const MOUNTED_MARK: &str = "/run/transient/mounted";

/// Mounts the partitions of a new image, the shallowest path first.
pub(super) fn mount_new(mounts: &[Mount], since: Option<u64>) -> Result<(), Failure> {
    let mut mounts: Vec<&Mount> =
        mounts.iter().filter(|mount| mount.filesystem != Filesystem::Swap).collect();
    mounts.sort_by_key(|mount| depth(&mount.path));
    mark_mounted(since)?;
    for mount in mounts {
        let place = place(&mount.path)?;
        attach(&partition::device(mount.partition), mount.filesystem.name(), "", &place).map_err(
            |failure| Failure {
                message: format!("{} at {}", failure.message, mount.path.display()),
                ..failure
            },
        )?;
    }
    Ok(())
}

/// Returns the number of names in a path.
pub(super) fn depth(path: &Path) -> usize {
    path.components().filter(|component| matches!(component, std::path::Component::Normal(_))).count()
}

/// Mounts the filesystems of an image as they were mounted before.
pub(super) fn mount_again(mounts: &[MountedDevice], since: u64) -> Result<(), Failure> {
    if mounts.iter().any(|mount| mount.device.starts_with("/dev/mapper")) {
        lvm::activate()?;
    }
    mark_mounted(Some(since))?;
    mounts.iter().try_for_each(mount)
}

/// Mounts a filesystem of an image.
pub(super) fn mount(mounted: &MountedDevice) -> Result<(), Failure> {
    attach(&mounted.device, &mounted.kind, &mounted.options, &place(&mounted.target)?)
}

/// Notes when the build began to change the image: what has changed since, the build made.
pub(super) fn mark_mounted(since: Option<u64>) -> Result<(), Failure> {
    let since = since.unwrap_or_else(|| {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
        u64::try_from(now.tv_sec).unwrap_or(0) * SECOND + u64::try_from(now.tv_nsec).unwrap_or(0)
    });
    std::fs::create_dir_all("/run/transient")
        .and_then(|()| std::fs::write(MOUNTED_MARK, since.to_string()))
        .doing(|| "cannot note that the image is mounted")
}

/// Returns when the build began to change the image, in seconds and nanoseconds since 1970; `None` if it is not mounted.
pub(super) fn mounted_since() -> Option<(i64, i64)> {
    let since: u64 = std::fs::read_to_string(MOUNTED_MARK).ok()?.parse().ok()?;
    Some((i64::try_from(since / SECOND).ok()?, i64::try_from(since % SECOND).ok()?))
}

/// Opens the directory `path` of the image, made where it is missing, to mount on.
pub(super) fn place(path: &Path) -> Result<OwnedFd, Failure> {
    let doing = || format!("cannot make the mount point {}", path.display());
    std::fs::create_dir_all(IMAGE_ROOT).doing(doing)?;
    let root = inside::root(Path::new(IMAGE_ROOT)).doing(doing)?;
    inside::make_directory(&root, path, &mut Vec::new()).doing(doing)
}

/// Mounts `device` on an open directory, for writing.
pub(super) fn attach(device: &Path, kind: &str, options: &str, place: &OwnedFd) -> Result<(), Failure> {
    modules::load_filesystem(kind)?;
    let mut result = Err(Errno::INVAL);
    // Discard lets the image file give back what is deleted; not every filesystem or option goes with it.
    for ours in [first_choice(kind), ""] {
        result = attach_with(device, kind, &join(ours, options), MountFlags::empty(), place);
        if result != Err(Errno::INVAL) {
            break;
        }
    }
    result.doing(|| format!("cannot mount {} ({kind})", device.display()))
}

/// Mounts `device` on an open directory with exactly these options.
pub(super) fn attach_with(
    device: &Path,
    kind: &str,
    options: &str,
    flags: MountFlags,
    place: &OwnedFd,
) -> rustix::io::Result<()> {
    let options = CString::new(options).map_err(|_| Errno::INVAL)?;
    rustix::mount::mount(device, inside::path_of(place), kind, flags, options.as_c_str())
}

/// The options that we add to the user's.
fn first_choice(kind: &str) -> &'static str {
    match kind {
        // A background thread would write zeros to inode tables, which makes the image larger.
        "ext4" => "discard,noinit_itable",
        "ext3" | "xfs" | "btrfs" => "discard",
        // Owners and modes that the format cannot hold are no error; names are UTF-8.
        "vfat" => "discard,quiet,utf8",
        _ => "",
    }
}

fn join(first: &str, second: &str) -> String {
    [first, second].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_names_only() {
        let depths = ["/", "/boot", "/boot/", "//boot//efi", "/a/b/c"].map(|path| depth(Path::new(path)));
        assert_eq!(depths, [0, 1, 1, 2, 3]);
    }

    #[test]
    fn options_are_joined_without_empty_ones() {
        assert_eq!(join("discard", ""), "discard");
        assert_eq!(join("", "subvol=@"), "subvol=@");
        assert_eq!(join("a", "b"), "a,b");
    }
}
