//! The images of a user.

use std::ffi::{CString, OsStr, c_char};

use transient_core::{ImageName, Store};

use crate::boundary::{Failure, Out, borrow, fallible, free, null, read};
use crate::error::transient_error;
use crate::image::{transient_image, transient_image_list};
use crate::locations::{resolve, transient_locations};
use crate::status::transient_status;
use crate::text::{self, Strings, c_path};

/// The images of a user, and the VMs that use them. It never changes: several threads may use it at once.
#[derive(Debug)]
pub struct transient_store {
    pub(crate) store: Store,
    backend: CString,
    vmstore: CString,
    cache: CString,
}

/// Makes a store. `locations` is copied; NULL is what `transient_locations_from_env` gives. Nothing is read or
/// made on disk yet. The caller owns `*store_out`: `transient_store_free`.
///
/// Fails as `transient_locations_from_env`.
#[unsafe(no_mangle)]
pub extern "C" fn transient_store_new(
    locations: *const transient_locations,
    store_out: *mut *mut transient_store,
    error_out: *mut *mut transient_error,
) -> transient_status {
    fallible(error_out, || {
        let out = Out::new(store_out, "store_out")?;
        let locations = resolve(locations)?;
        out.give(transient_store {
            backend: c_path(&locations.backend),
            vmstore: c_path(&locations.vmstore),
            cache: c_path(&locations.cache),
            store: Store::new(locations),
        });
        Ok(())
    })
}

/// Frees a store, once no call uses it. NULL is ignored. What is on disk stays.
#[unsafe(no_mangle)]
pub extern "C" fn transient_store_free(store: *mut transient_store) {
    free(store);
}

/// Returns the folder of the images. Lives as long as the store.
#[unsafe(no_mangle)]
pub extern "C" fn transient_store_backend(store: *const transient_store) -> *const c_char {
    read(store, |store| store.backend.as_ptr())
}

/// Returns the folder of the VMs. Lives as long as the store.
#[unsafe(no_mangle)]
pub extern "C" fn transient_store_vmstore(store: *const transient_store) -> *const c_char {
    read(store, |store| store.vmstore.as_ptr())
}

/// Returns the folder of what may be thrown away. Lives as long as the store.
#[unsafe(no_mangle)]
pub extern "C" fn transient_store_cache(store: *const transient_store) -> *const c_char {
    read(store, |store| store.cache.as_ptr())
}

/// Lists the images; a backend that does not exist has none. The caller owns `*list_out`:
/// `transient_image_list_free`. Any thread may call this.
///
/// Fails with `TRANSIENT_STATUS_IO` when the backend cannot be read.
#[unsafe(no_mangle)]
pub extern "C" fn transient_store_images(
    store: *const transient_store,
    list_out: *mut *mut transient_image_list,
    error_out: *mut *mut transient_error,
) -> transient_status {
    fallible(error_out, || {
        let out = Out::new(list_out, "list_out")?;
        out.give(transient_image_list::new(&borrow(store, "store")?.store.images()?));
        Ok(())
    })
}

/// Reads one image. The caller owns `*image_out`: `transient_image_free`. Any thread may call this.
///
/// Fails with `TRANSIENT_STATUS_IMAGE_NOT_FOUND` when the backend has none of that name, and with
/// `TRANSIENT_STATUS_INVALID_IMAGE` when the file is no standalone qcow2 image.
#[unsafe(no_mangle)]
pub extern "C" fn transient_store_image(
    store: *const transient_store,
    name: *const c_char,
    image_out: *mut *mut transient_image,
    error_out: *mut *mut transient_error,
) -> transient_status {
    fallible(error_out, || {
        let out = Out::new(image_out, "image_out")?;
        let name = image_name(name)?;
        let image =
            borrow(store, "store")?.store.image(&name)?.ok_or_else(|| Failure::NoImage(name.to_string()))?;
        out.give(transient_image::new(&image));
        Ok(())
    })
}

/// Lists the VMs that have a disk on an image, which need not exist. The caller owns `*names_out`:
/// `transient_name_list_free`. Any thread may call this.
///
/// Fails with `TRANSIENT_STATUS_IO` when the VM store cannot be read.
#[unsafe(no_mangle)]
pub extern "C" fn transient_store_vms_using(
    store: *const transient_store,
    name: *const c_char,
    names_out: *mut *mut transient_name_list,
    error_out: *mut *mut transient_error,
) -> transient_status {
    fallible(error_out, || {
        let out = Out::new(names_out, "names_out")?;
        let vms = borrow(store, "store")?.store.vms_using(&image_name(name)?)?;
        out.give(transient_name_list(Strings::new(vms)));
        Ok(())
    })
}

/// Removes images, all or none. `names` has `names_len` strings. With `force` also images that VMs use.
///
/// On success `*warnings_out` has a sentence for each image that was removed though VMs use it; the caller owns
/// it: `transient_name_list_free`. `warnings_out` may be NULL. Any thread may call this.
///
/// Fails with `TRANSIENT_STATUS_IMAGE_NOT_FOUND`, or with `TRANSIENT_STATUS_IMAGE_IN_USE` without `force`.
#[unsafe(no_mangle)]
pub extern "C" fn transient_store_remove(
    store: *const transient_store,
    names: *const *const c_char,
    names_len: usize,
    force: bool,
    warnings_out: *mut *mut transient_name_list,
    error_out: *mut *mut transient_error,
) -> transient_status {
    fallible(error_out, || {
        let store = borrow(store, "store")?;
        let names = image_names(names, names_len)?;
        let warnings = store.store.remove(&names, force)?;
        if let Ok(out) = Out::new(warnings_out, "warnings_out") {
            out.give(transient_name_list(Strings::new(warnings)));
        }
        Ok(())
    })
}

pub(crate) fn image_name(name: *const c_char) -> Result<ImageName, Failure> {
    Ok(ImageName::new(text::string(name, "name")?)?)
}

pub(crate) fn image_names(names: *const *const c_char, length: usize) -> Result<Vec<ImageName>, Failure> {
    if length == 0 {
        return Ok(Vec::new());
    }
    if names.is_null() {
        return Err(null("names"));
    }
    // SAFETY: not null, and by contract that many strings.
    (0..length).map(|index| image_name(unsafe { *names.add(index) })).collect()
}

/// Names, or other short texts. It never changes: several threads may read it at once.
#[derive(Debug)]
pub struct transient_name_list(Strings);

impl transient_name_list {
    pub(crate) fn new<T: AsRef<OsStr>>(texts: impl IntoIterator<Item = T>) -> Self {
        Self(Strings::new(texts))
    }
}

/// Returns how many there are.
#[unsafe(no_mangle)]
pub extern "C" fn transient_name_list_len(list: *const transient_name_list) -> usize {
    read(list, |list| list.0.len())
}

/// Returns one; NULL behind the last. Lives as long as the list.
#[unsafe(no_mangle)]
pub extern "C" fn transient_name_list_get(list: *const transient_name_list, index: usize) -> *const c_char {
    read(list, |list| list.0.get(index))
}

/// Frees a list. NULL is ignored.
#[unsafe(no_mangle)]
pub extern "C" fn transient_name_list_free(list: *mut transient_name_list) {
    free(list);
}
