//! Bringing the image's filesystems to a state in which a copy of the disk is as good as the disk.
//!
//! Read-only, a filesystem has written everything and says of itself that it is whole: also one such as vfat, which
//! cannot be frozen.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::StatVfsMountFlags;
use rustix::mount::{MountFlags, mount_remount};
use transient_guest::protocol::IMAGE_ROOT;

use super::failure::{Doing, Failure};
use super::mounts;

/// What was made read-only, NUL-separated.
const PAUSED: &str = "/run/transient/paused";
/// The flags of a mount that a change of another one must not take away.
const KEPT: [(StatVfsMountFlags, MountFlags); 3] = [
    (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
    (StatVfsMountFlags::NODEV, MountFlags::NODEV),
    (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
];

/// Makes everything of the image read-only. What cannot be, because something still writes to it, is at least on disk.
pub(super) fn pause() -> Result<(), Failure> {
    let mounted = mounts::below(Path::new(IMAGE_ROOT)).doing(|| "cannot read the mount table")?;
    let mut paused = Vec::new();
    for place in mounted.into_iter().rev().filter(|mounted| mounted.is_on_disk()) {
        let target = place.target;
        let is_writable = flags(&target).is_ok_and(|flags| !flags.contains(MountFlags::RDONLY));
        if is_writable && remount(&target, MountFlags::RDONLY).is_ok() {
            paused.extend_from_slice(target.as_os_str().as_bytes());
            paused.push(0);
        }
    }
    rustix::fs::sync();
    std::fs::create_dir_all("/run/transient")
        .and_then(|()| std::fs::write(PAUSED, paused))
        .doing(|| "cannot note what is paused")
}

/// Makes writable again what [`pause`] made read-only.
pub(super) fn go_on() -> Result<(), Failure> {
    let paused = std::fs::read(PAUSED).doing(|| "cannot read what is paused")?;
    let targets = paused.split(|&byte| byte == 0).filter(|target| !target.is_empty());
    for target in targets.map(|target| PathBuf::from(OsString::from_vec(target.to_vec()))) {
        remount(&target, MountFlags::empty()).doing(|| format!("cannot go on with {}", target.display()))?;
    }
    Ok(())
}

fn remount(target: &Path, more: MountFlags) -> io::Result<()> {
    let kept = flags(target)?.difference(MountFlags::RDONLY);
    Ok(mount_remount(target, kept | more, c"")?)
}

fn flags(target: &Path) -> io::Result<MountFlags> {
    let now = rustix::fs::statvfs(target)?.f_flag;
    let mut flags: MountFlags =
        KEPT.iter().filter(|(had, _)| now.contains(*had)).map(|(_, flag)| *flag).collect();
    flags.set(MountFlags::RDONLY, now.contains(StatVfsMountFlags::RDONLY));
    Ok(flags)
}
