//! The image's `/run` and `/tmp` while it is being built: in memory, shared by all steps, and not part
//! of the image.

use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode};
use rustix::mount::MountFlags;

use super::failure::{Doing, Failure};
use super::{inside, mounts};

/// Where the mount points that had to be made are remembered until the build ends, NUL-separated.
const MADE: &str = "/run/transient/made";

struct Scratch {
    path: &'static str,
    flags: MountFlags,
    options: &'static std::ffi::CStr,
}

const SCRATCH: [Scratch; 2] = [
    Scratch { path: "/run", flags: MountFlags::NOSUID.union(MountFlags::NODEV), options: c"mode=0755" },
    Scratch { path: "/tmp", flags: MountFlags::NOSUID.union(MountFlags::NODEV), options: c"mode=1777" },
];

/// Mounts `/run` and `/tmp` in the image at `image`, unless that has been done or they are partitions.
pub(super) fn mount(image: &Path) -> Result<(), Failure> {
    let root = inside::root(image).doing(|| "cannot open the image's root")?;
    let mut made = Vec::new();
    for Scratch { path, flags, options } in SCRATCH {
        let doing = || format!("cannot mount {path} in the image");
        if mounts::is_mounted(&image.join(&path[1..])).doing(doing)? {
            continue;
        }
        let place = inside::make_directory(&root, Path::new(path), &mut made).doing(doing)?;
        rustix::mount::mount("tmpfs", inside::path_of(&place), "tmpfs", flags, options).doing(doing)?;
    }
    // Programs put their locks there, and expect it to be made at boot. It is in memory, so that nothing is undone.
    if let Ok(run) = inside::directory(&root, Path::new("/run")) {
        let open_to_all = Mode::from_raw_mode(0o1777);
        let _ = rustix::fs::mkdirat(&run, "lock", open_to_all);
        let _ = rustix::fs::chmodat(&run, "lock", open_to_all, AtFlags::empty());
    }
    remember(&made).doing(|| "cannot note what was made")
}

fn remember(made: &[PathBuf]) -> io::Result<()> {
    if made.is_empty() {
        return Ok(());
    }
    let mut list = std::fs::read(MADE).unwrap_or_default();
    for path in made {
        list.extend_from_slice(path.as_os_str().as_bytes());
        list.push(0);
    }
    std::fs::create_dir_all("/run/transient")?;
    std::fs::write(MADE, list)
}

/// Unmounts what [`mount`] mounted and removes the mount points that it made.
///
/// What is mounted there that is not in memory (a partition of the image) stays.
pub(super) fn unmount(image: &Path) -> Result<(), Failure> {
    let mounted = mounts::below(image).doing(|| "cannot read the mount table")?;
    for place in mounted.iter().rev().filter(|mounted| mounted.kind == "tmpfs") {
        super::finish::unmount(&place.target)?;
    }
    let made: Vec<PathBuf> = std::fs::read(MADE)
        .unwrap_or_default()
        .split(|&byte| byte == 0)
        .filter(|path| !path.is_empty())
        .map(|path| std::ffi::OsString::from_vec(path.to_vec()).into())
        .collect();
    if let Ok(root) = inside::root(image) {
        inside::remove_made(&root, &made);
    }
    let _ = std::fs::remove_file(MADE);
    Ok(())
}
