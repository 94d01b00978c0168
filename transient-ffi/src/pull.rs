//! Bringing images in.

use std::ffi::{c_char, c_void};

use transient_core::{ImageSpec, pull};

use crate::boundary::{Failure, Out, borrow, fallible, null};
use crate::cancel::{token, transient_cancel_token};
use crate::error::transient_error;
use crate::event::{Listener, transient_event_callback, transient_finalizer};
use crate::image::transient_image_list;
use crate::status::transient_status;
use crate::store::transient_store;
use crate::text;

/// Brings images into the backend, those that it lacks, one after the other, and returns when others can see them.
/// `specs` has `specs_len` image specs, as they follow `FROM` in an Imagefile. Where one fails, those before it stay.
///
/// `on_event` may be NULL; else it is called on the calling thread, with `user_data`, for each event, and never
/// again once this function has returned. It must not unwind. `finalizer` may be NULL; else it is called once
/// with `user_data` on the calling thread before this function returns, whatever the outcome.
///
/// `cancel` may be NULL. Any thread may cancel; the call then cleans up and fails with
/// `TRANSIENT_STATUS_CANCELLED`.
///
/// `list_out` may be NULL; else on success the caller owns `*list_out`, which has the images in the order of the
/// specs: `transient_image_list_free`.
///
/// Any thread may call this, and several at once. No handle that it was given may be freed meanwhile.
///
/// Fails with `TRANSIENT_STATUS_INVALID_IMAGE_NAME`, `TRANSIENT_STATUS_IMAGE_NOT_FOUND`,
/// `TRANSIENT_STATUS_SOURCE_FAILED`, `TRANSIENT_STATUS_INVALID_IMAGE`, and what else can go wrong on the host.
#[unsafe(no_mangle)]
pub extern "C" fn transient_pull(
    store: *const transient_store,
    specs: *const *const c_char,
    specs_len: usize,
    on_event: transient_event_callback,
    user_data: *mut c_void,
    finalizer: transient_finalizer,
    cancel: *const transient_cancel_token,
    list_out: *mut *mut transient_image_list,
    error_out: *mut *mut transient_error,
) -> transient_status {
    // Outside: it must also be finalized when a pointer is bad.
    let listener = Listener::new(on_event, user_data, finalizer);
    fallible(error_out, || {
        let store = borrow(store, "store")?;
        let specs = image_specs(specs, specs_len)?;
        let images = pull(&store.store, &specs, &mut |event| listener.tell(&event), &token(cancel))?;
        drop(listener);
        if let Ok(out) = Out::new(list_out, "list_out") {
            out.give(transient_image_list::of(&images));
        }
        Ok(())
    })
}

fn image_specs(specs: *const *const c_char, length: usize) -> Result<Vec<ImageSpec>, Failure> {
    if length == 0 {
        return Ok(Vec::new());
    }
    if specs.is_null() {
        return Err(null("specs"));
    }
    // SAFETY: not null, and by contract that many strings.
    let texts = (0..length).map(|index| text::string(unsafe { *specs.add(index) }, "specs"));
    texts.map(|text| Ok(text?.parse()?)).collect()
}
