//! The disk of a VM made an image.

use std::ffi::{c_char, c_void};

use transient_core::commit;

use crate::boundary::{borrow, fallible};
use crate::build::compression_type;
use crate::cancel::{token, transient_cancel_token};
use crate::error::transient_error;
use crate::event::{Listener, transient_event_callback, transient_finalizer};
use crate::image::transient_image;
use crate::status::transient_status;
use crate::store::{image_name, transient_store};

/// Makes a new image of the first disk of a VM that does not run; the VM stays as it is. `vm` is its name, `name` that of
/// the image, `compression` a `transient_compression`.
///
/// `on_event`, `user_data`, `finalizer` and `cancel` are as of `transient_vm_run`. `image_out` may be NULL; else on success
/// the caller owns `*image_out`: `transient_image_free`. Any thread may call this, and several at once.
///
/// Fails with `TRANSIENT_STATUS_VM_NOT_FOUND`, `TRANSIENT_STATUS_VM_IN_USE` and `TRANSIENT_STATUS_IMAGE_EXISTS`.
#[unsafe(no_mangle)]
pub extern "C" fn transient_commit(
    store: *const transient_store,
    vm: *const c_char,
    name: *const c_char,
    compression: u32,
    on_event: transient_event_callback,
    user_data: *mut c_void,
    finalizer: transient_finalizer,
    cancel: *const transient_cancel_token,
    image_out: *mut *mut transient_image,
    error_out: *mut *mut transient_error,
) -> transient_status {
    // Outside: it must also be finalized when a pointer is bad.
    let listener = Listener::new(on_event, user_data, finalizer);
    fallible(error_out, || {
        let store = &borrow(store, "store")?.store;
        let (vm, name, compress) = (image_name(vm)?, image_name(name)?, compression_type(compression)?);
        let image = commit(store, &vm, &name, compress, &mut |event| listener.tell(&event), &token(cancel))?;
        drop(listener);
        transient_image::give(&image, image_out);
        Ok(())
    })
}
