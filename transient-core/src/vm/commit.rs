//! A VM's disk made an image.

use super::stored::StoredVm;
use crate::build::write_image;
use crate::call::call;
use crate::{CancelToken, CompressionType, Error, Event, Image, ImageName, Store};

/// Makes a new image of the first disk of a VM that does not run; the VM stays as it is.
///
/// # Errors
///
/// [`crate::ErrorKind::VmNotFound`], [`crate::ErrorKind::VmInUse`], [`crate::ErrorKind::ImageExists`].
pub fn commit(
    store: &Store,
    vm: &ImageName,
    image: &ImageName,
    compress: Option<CompressionType>,
    listener: &mut dyn FnMut(Event),
    cancel: &CancelToken,
) -> Result<Image, Error> {
    call("transient-commit", listener, cancel, |reporter, cancel| {
        let vm = StoredVm::open(store, vm)?;
        let reservation = store.reserve_free(image)?;
        let files: Vec<_> =
            vm.disks.first().into_iter().flat_map(|disk| [disk.backing.clone(), disk.path.clone()]).collect();
        let written = write_image(&files, compress, &reservation, reporter, cancel)?;
        reservation.commit(&written)
    })
}
