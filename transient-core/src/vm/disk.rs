//! Disks of VMs: qcow2 files, each above an image of the backend.

use std::fs;
use std::path::{Path, PathBuf};

use crate::image::Image;
use crate::process::qemu_img;
use crate::store::{self, backing_file};
use crate::{CancelToken, Error, ErrorKind, ImageName, qemu};

/// A disk of a VM.
#[derive(Debug, Clone)]
pub(super) struct VmDisk {
    pub(super) path: PathBuf,
    /// The image that it stands on.
    pub(super) backing: PathBuf,
    /// That image's name.
    pub(super) image: String,
    number: u32,
}

impl VmDisk {
    /// Returns it as the builder VM takes it.
    pub(super) fn chain(&self) -> qemu::Disk {
        qemu::Disk { path: self.path.clone(), below: vec![self.backing.clone()], durable: true }
    }
}

/// Makes disk `number` of a VM in `folder`.
pub(super) fn create(
    folder: &Path,
    vm: &ImageName,
    number: usize,
    name: &ImageName,
    image: &Image,
    cancel: &CancelToken,
) -> Result<(), Error> {
    let file = format!("{}-{number}-{}", vm.encoded(), name.encoded());
    qemu_img::create_overlay(&folder.join(file), &image.path, cancel)
}

/// Returns the disks in a VM's folder, in order.
pub(super) fn in_folder(folder: &Path) -> Result<Vec<VmDisk>, Error> {
    let failed = |error| Error::io(format!("cannot read the VM '{}'", folder.display()), error);
    let mut disks = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let file = entry.map_err(failed)?.file_name();
        let Some((number, image)) = store::parts_of_disk(&file) else { continue };
        let path = folder.join(&file);
        disks.push(VmDisk { backing: backing_of(&path)?, image: decoded(&image), path, number });
    }
    disks.sort_by_key(|disk| disk.number);
    Ok(disks)
}

/// What a disk stands on: one file, which must be a standalone qcow2 image. No more is opened than that.
fn backing_of(path: &Path) -> Result<PathBuf, Error> {
    let unusable = |why: String| {
        Error::new(ErrorKind::InvalidImage, format!("the disk '{}' cannot be used: {why}", path.display()))
    };
    let named = backing_file(path)
        .map_err(|error| unusable(error.to_string()))?
        .ok_or_else(|| unusable("it names no image that it stands on".to_owned()))?;
    let backing = path.parent().unwrap_or(Path::new(".")).join(named);
    match store::is_standalone(&backing) {
        Ok(true) => Ok(backing),
        Ok(false) => Err(unusable(format!("its image '{}' is gone", backing.display()))
            .hint("remove the VM, or bring the image back")),
        Err(error) => Err(unusable(format!("of its image: {}", error.report()))),
    }
}

fn decoded(encoded: &str) -> String {
    ImageName::from_encoded(encoded.as_ref()).map_or(encoded.to_owned(), |name| name.as_str().to_owned())
}
