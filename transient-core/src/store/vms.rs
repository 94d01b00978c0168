//! Which VMs of the VM store have a disk on an image.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::{failure_in, scratch};
use crate::{Error, ImageName};

/// Which VMs count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// Those of the store, and those that run and are not kept.
    Made,
    /// Also those that are being made.
    All,
}

/// Returns the names of the VMs with a disk on the image that is (or would be) at `image`, sorted.
pub(super) fn using(
    vmstore: &Path,
    image: &Path,
    name: &ImageName,
    which: Which,
) -> Result<Vec<String>, Error> {
    let entries = match fs::read_dir(vmstore) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failure_in("VM store", "cannot read the VM store", vmstore, error)),
    };
    let mut vms = Vec::new();
    let counts = |folder: &Path| {
        let hidden = folder.file_name().is_some_and(|name| name.as_bytes().starts_with(b"."));
        which == Which::All || !hidden || scratch::is_alive(folder)
    };
    // One that cannot be read does not hide the others.
    for entry in entries.flatten().filter(|entry| counts(&entry.path())) {
        if uses(&entry.path(), image, name) {
            let folder = entry.file_name();
            let decoded = ImageName::from_encoded(&folder);
            vms.push(decoded.map_or(folder.to_string_lossy().into_owned(), |vm| vm.as_str().to_owned()));
        }
    }
    vms.sort();
    Ok(vms)
}

/// Whether a VM's folder has a disk on the image.
fn uses(vm: &Path, image: &Path, name: &ImageName) -> bool {
    let disks = fs::read_dir(vm).into_iter().flatten().flatten();
    disks.into_iter().any(|disk| {
        let Some((_, encoded)) = parts_of_disk(&disk.file_name()) else { return false };
        match backing_file(&disk.path()) {
            Ok(Some(backing)) => is_same(&vm.join(backing), image),
            // What it stands on cannot be told: its name decides.
            Ok(None) | Err(_) => encoded == name.encoded(),
        }
    })
}

/// Returns the number and the encoded image name in the name of a disk, `<encoded vm>-<n>-<encoded image>`.
pub(crate) fn parts_of_disk(file: &OsStr) -> Option<(u32, String)> {
    let mut parts = file.to_str()?.split('-');
    let (_vm, number, image) = (parts.next()?, parts.next()?, parts.next()?);
    let whole = parts.next().is_none() && !image.is_empty();
    Some((number.parse().ok().filter(|_| whole)?, image.to_owned()))
}

/// Returns the path that a qcow2 file names as its backing file, if it is a plain path.
pub(crate) fn backing_file(disk: &Path) -> io::Result<Option<PathBuf>> {
    /// The longest name that the format allows.
    const LONGEST: u32 = 1023;
    if !fs::metadata(disk)?.is_file() {
        return Ok(None);
    }
    let file = File::open(disk)?;
    let mut header = [0; 20];
    file.read_exact_at(&mut header, 0)?;
    let [b'Q', b'F', b'I', 0xfb, _, _, _, _, o0, o1, o2, o3, o4, o5, o6, o7, l0, l1, l2, l3] = header else {
        return Ok(None);
    };
    let offset = u64::from_be_bytes([o0, o1, o2, o3, o4, o5, o6, o7]);
    let length = u32::from_be_bytes([l0, l1, l2, l3]);
    if offset == 0 || length == 0 || length > LONGEST {
        return Ok(None);
    }
    let mut name = vec![0; length as usize];
    file.read_exact_at(&mut name, offset)?;
    let first = name.split(|byte| *byte == b'/').next().unwrap_or_default();
    // `json:...` and `file:...` are ways to name it too, which QEMU alone can read.
    Ok((!first.contains(&b':')).then(|| PathBuf::from(std::ffi::OsString::from_vec(name))))
}

/// Whether two paths are one place. That both are the same file proves nothing: an image may have several names.
fn is_same(one: &Path, other: &Path) -> bool {
    let resolved = |path: &Path| fs::canonicalize(path).or_else(|_| std::path::absolute(path)).ok();
    let (Some(one), Some(other)) = (resolved(one), resolved(other)) else { return false };
    one == other || one.file_name() == other.file_name() && is_same_folder(one.parent(), other.parent())
}

/// A folder may be mounted in several places.
fn is_same_folder(one: Option<&Path>, other: Option<&Path>) -> bool {
    match (one.map(fs::metadata), other.map(fs::metadata)) {
        (Some(Ok(one)), Some(Ok(other))) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disks_name_has_three_parts() {
        let image = |name: &str| parts_of_disk(OsStr::new(name));
        assert_eq!(image("my%2Dvm-0-centos%2F7%3A2004.01"), Some((0, "centos%2F7%3A2004.01".to_owned())));
        assert_eq!(image("vm-12-a"), Some((12, "a".to_owned())));
        for other in ["config", "vm-a-b", "vm-0", "vm-0-", "vm-0-a-b", "vm--a"] {
            assert_eq!(image(other), None, "{other}");
        }
    }
}
