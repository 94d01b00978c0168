//! The resolver of programs in the image: our own `resolv.conf` lies over the image's while they run.

use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use transient_guest::protocol::RESOLVER;

use super::inside;

/// The file that is laid over the image's.
const OURS: &str = "/run/transient/resolv.conf";
const IN_IMAGE: &str = "/etc/resolv.conf";

/// Tells whether the VM has a network.
pub(super) fn has_network() -> bool {
    std::env::var_os("TRANSIENT_NETWORK").is_some_and(|value| value == "1")
        || Path::new("/run/transient-network").exists()
}

/// What had to be made so that there is a file to lay ours over.
#[derive(Debug, Default)]
pub(super) struct Placeholder {
    directories: Vec<PathBuf>,
    file: Option<(PathBuf, OwnedFd)>,
}

/// Writes our file, and makes an empty one in the image where a (possibly dangling) link leads to none.
pub(super) fn prepare(root: impl AsFd) -> io::Result<Placeholder> {
    let root = root.as_fd();
    if let Some(folder) = Path::new(OURS).parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut ours = std::fs::File::create(OURS)?;
    writeln!(ours, "nameserver {}", Ipv4Addr::from(RESOLVER))?;

    make_placeholder(root)
}

fn make_placeholder(root: impl AsFd) -> io::Result<Placeholder> {
    let root = root.as_fd();
    let mut placeholder = Placeholder::default();
    let target = inside::follow(root, Path::new(IN_IMAGE))?;
    match inside::open(root, &target, OFlags::PATH, Mode::empty()) {
        Ok(_) => return Ok(placeholder),
        Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let parent = target.parent().unwrap_or(Path::new("/"));
    inside::make_directory(root, parent, &mut placeholder.directories)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    let file = inside::open(root, &target, flags, Mode::from_raw_mode(0o644))?;
    placeholder.file = Some((target, file));
    Ok(placeholder)
}

/// Lays our file over the image's. To be called in the container's own mount namespace.
pub(super) fn cover(root: impl AsFd) -> io::Result<()> {
    let file = inside::open(root, Path::new(IN_IMAGE), OFlags::PATH, Mode::empty())?;
    Ok(rustix::mount::mount_bind(OURS, inside::path_of(&file))?)
}

impl Placeholder {
    /// Removes what was made, if it is still as it was made.
    pub(super) fn remove(self, root: impl AsFd) {
        let root = root.as_fd();
        if let Some((path, file)) = &self.file {
            let _ = remove_if_ours(root, path, file);
        }
        inside::remove_made(root, &self.directories);
    }
}

fn remove_if_ours(root: impl AsFd, path: &Path, ours: &OwnedFd) -> rustix::io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    let parent = inside::directory(root, parent)?;
    let ours = rustix::fs::fstat(ours)?;
    let there = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if (ours.st_dev, ours.st_ino, ours.st_size) == (there.st_dev, there.st_ino, 0) {
        rustix::fs::unlinkat(&parent, name, AtFlags::empty())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> (tempfile::TempDir, OwnedFd) {
        let folder = tempfile::tempdir().unwrap();
        let root = inside::root(folder.path()).unwrap();
        (folder, root)
    }

    #[test]
    fn a_missing_file_is_made_and_removed_with_its_folder() {
        let (folder, root) = image();
        let placeholder = make_placeholder(&root).unwrap();
        assert!(folder.path().join("etc/resolv.conf").is_file());
        placeholder.remove(&root);
        assert!(!folder.path().join("etc").exists());
    }

    #[test]
    fn a_link_into_run_stays_a_link() {
        let (folder, root) = image();
        std::fs::create_dir(folder.path().join("etc")).unwrap();
        let link = folder.path().join("etc/resolv.conf");
        std::os::unix::fs::symlink("../run/systemd/resolve/stub-resolv.conf", &link).unwrap();
        let placeholder = make_placeholder(&root).unwrap();
        assert!(folder.path().join("run/systemd/resolve/stub-resolv.conf").is_file());
        placeholder.remove(&root);
        assert!(link.is_symlink() && !folder.path().join("run").exists());
    }

    #[test]
    fn what_someone_wrote_meanwhile_is_kept() {
        let (folder, root) = image();
        let placeholder = make_placeholder(&root).unwrap();
        std::fs::write(folder.path().join("etc/resolv.conf"), "nameserver 9.9.9.9\n").unwrap();
        placeholder.remove(&root);
        assert_eq!(std::fs::read(folder.path().join("etc/resolv.conf")).unwrap(), b"nameserver 9.9.9.9\n");
    }

    #[test]
    fn a_file_that_is_there_is_left_alone() {
        let (folder, root) = image();
        std::fs::create_dir(folder.path().join("etc")).unwrap();
        std::fs::write(folder.path().join("etc/resolv.conf"), "").unwrap();
        make_placeholder(&root).unwrap().remove(&root);
        assert!(folder.path().join("etc/resolv.conf").exists());
    }
}
