//! The end of a build: labels, clean-up, unmounting.

use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use rustix::process::{Pid, Signal};

use transient_guest::protocol::{IMAGE_ROOT, Reply};

use super::failure::{Doing, Failure};
use super::{lvm, mounts, scratch, selinux};

/// Ends the work on the image: what was mounted is unmounted, and everything is on the disk.
pub(super) fn finish(reply: &mut dyn FnMut(Reply)) -> Result<(), Failure> {
    let image = Path::new(IMAGE_ROOT);
    selinux::relabel(image, reply)?;
    scratch::unmount(image)?;
    let mounted = mounts::below(image).doing(|| "cannot read the mount table")?;
    for place in mounted.iter().rev() {
        unmount(&place.target)?;
    }
    lvm::deactivate()?;
    rustix::fs::sync();
    Ok(())
}

const TRIES: u32 = 40;
const PAUSE: Duration = Duration::from_millis(50);

/// Unmounts `target`; processes that still use it are killed.
pub(super) fn unmount(target: &Path) -> Result<(), Failure> {
    for attempt in 1.. {
        match rustix::mount::unmount(target, UnmountFlags::NOFOLLOW) {
            Err(Errno::BUSY) if attempt < TRIES => {
                kill_users(target);
                std::thread::sleep(PAUSE);
            }
            outcome => return outcome.doing(|| format!("cannot unmount {}", target.display())),
        }
    }
    Ok(())
}

/// Kills the processes whose root, working directory or program is below `top`.
fn kill_users(top: &Path) {
    let Ok(processes) = std::fs::read_dir("/proc") else { return };
    for process in processes.flatten() {
        let pid = process.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        let Some(pid) = pid.filter(|&pid| !pid.is_init() && pid != rustix::process::getpid()) else {
            continue;
        };
        let uses = ["root", "cwd", "exe"].iter().any(|link| {
            std::fs::read_link(process.path().join(link)).is_ok_and(|path| path.starts_with(top))
        });
        if uses {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
    }
}
