//! The image's `/run` and `/tmp` while it is being built: shared by all steps, and not part of the image.
//!
//! They lie on the image's disk, so that whoever goes on from a copy of the disk finds what earlier steps left there.

use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode};
use rustix::io::Errno;
use rustix::mount::MountFlags;

use super::failure::{Doing, Failure};
use super::{inside, mounts};

/// The folder at the top of the image in which they are.
pub(super) const FOLDER: &str = ".transient-build";
/// Where the mount points that had to be made are remembered until the build ends, NUL-separated.
const MADE: &str = ".transient-build/made";
/// The modes of what is there, by its name in the image's root.
const SCRATCH: [(&str, u32); 2] = [("run", 0o755), ("tmp", 0o1777)];

/// Mounts `/run` and `/tmp` in the image at `image`, unless that has been done or they are partitions.
pub(super) fn mount(image: &Path) -> Result<(), Failure> {
    let root = inside::root(image).doing(|| "cannot open the image's root")?;
    make_folder(&root, Path::new(FOLDER), 0o700).doing(|| "cannot make a folder for /run and /tmp")?;
    for (name, mode) in SCRATCH {
        let doing = || format!("cannot mount /{name} in the image");
        if mounts::is_mounted(&image.join(name)).doing(doing)? {
            continue;
        }
        let mut made = Vec::new();
        let place = inside::make_directory(&root, &Path::new("/").join(name), &mut made).doing(doing)?;
        remember(image, &made).doing(|| "cannot note what was made")?;
        let folder = Path::new(FOLDER).join(name);
        make_folder(&root, &folder, mode).doing(doing)?;
        let place = inside::path_of(&place);
        rustix::mount::mount_bind(image.join(folder), &place).doing(doing)?;
        let flags = MountFlags::BIND | MountFlags::NOSUID | MountFlags::NODEV;
        rustix::mount::mount_remount(image.join(name), flags, c"").doing(doing)?;
    }
    // Programs put their locks there, and expect it to be made at boot.
    let lock = Path::new(FOLDER).join("run/lock");
    make_folder(&root, &lock, 0o1777).doing(|| "cannot make /run/lock in the image")
}

/// Makes a folder that may be there, whatever the umask.
fn make_folder(root: &std::os::fd::OwnedFd, path: &Path, mode: u32) -> rustix::io::Result<()> {
    let mode = Mode::from_raw_mode(mode);
    match rustix::fs::mkdirat(root, path, mode) {
        Ok(()) => rustix::fs::chmodat(root, path, mode, AtFlags::empty()),
        Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error),
    }
}

fn remember(image: &Path, made: &[PathBuf]) -> io::Result<()> {
    if made.is_empty() {
        return Ok(());
    }
    let list = image.join(MADE);
    let mut text = std::fs::read(&list).unwrap_or_default();
    for path in made {
        text.extend_from_slice(path.as_os_str().as_bytes());
        text.push(0);
    }
    std::fs::write(list, text)
}

/// Unmounts what [`mount`] mounted, and removes it with the mount points that were made.
///
/// A partition of the image that is mounted there stays.
pub(super) fn unmount(image: &Path) -> Result<(), Failure> {
    for place in mounted(image)?.iter().rev() {
        super::finish::unmount(place)?;
    }
    let made: Vec<PathBuf> = std::fs::read(image.join(MADE))
        .unwrap_or_default()
        .split(|&byte| byte == 0)
        .filter(|path| !path.is_empty())
        .map(|path| std::ffi::OsString::from_vec(path.to_vec()).into())
        .collect();
    match std::fs::remove_dir_all(image.join(FOLDER)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).doing(|| "cannot remove what the build left in /run and /tmp");
        }
        _ => {}
    }
    if let Ok(root) = inside::root(image) {
        inside::remove_made(&root, &made);
    }
    Ok(())
}

/// Returns where [`mount`] has mounted something.
pub(super) fn mounted(image: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mounted = mounts::below(image).doing(|| "cannot read the mount table")?;
    let is_ours = |mounted: &mounts::Mounted| mounted.root.iter().any(|name| name == FOLDER);
    Ok(mounted.into_iter().filter(is_ours).map(|mounted| mounted.target).collect())
}
