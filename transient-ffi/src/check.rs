//! Whether an Imagefile is right, and whether an image is whole.

use std::ffi::{CString, c_char};

use transient_core::{CancelToken, ImageCheck, check};

use crate::boundary::{Out, borrow, fallible, free, read};
use crate::cancel::transient_cancel_token;
use crate::error::transient_error;
use crate::plan::transient_plan;
use crate::status::transient_status;
use crate::store::{image_name, transient_store};
use crate::text::{self, address, c_path, c_string};

/// Checks an Imagefile as far as that goes without fetching, booting or making anything: its text, that the sources
/// of COPY and ADD are in the build directory, and that the image it starts from is in the backend, or may come from
/// somewhere.
///
/// `file` is the Imagefile; NULL is `Imagefile` in `directory`. `plan_out` may be NULL; else on success the caller
/// owns `*plan_out`: `transient_plan_free`. Any thread may call this.
///
/// Fails with `TRANSIENT_STATUS_INVALID_IMAGEFILE`, with every mistake: `transient_error_diagnostic`; with
/// `TRANSIENT_STATUS_INVALID_ARGUMENT` when there is no such file or directory.
#[unsafe(no_mangle)]
pub extern "C" fn transient_check(
    store: *const transient_store,
    directory: *const c_char,
    file: *const c_char,
    plan_out: *mut *mut transient_plan,
    error_out: *mut *mut transient_error,
) -> transient_status {
    fallible(error_out, || {
        let store = borrow(store, "store")?;
        let (directory, file) = (text::path(directory, "directory")?, text::optional_path(file, "file")?);
        let plan = check(&store.store, &directory, file.as_deref())?;
        if let Ok(out) = Out::new(plan_out, "plan_out") {
            out.give(transient_plan::new(&plan));
        }
        Ok(())
    })
}

/// What was found out about an image's file. It never changes: several threads may read it at once.
#[derive(Debug)]
pub struct transient_image_check {
    sound: bool,
    name: CString,
    path: CString,
    refusal: Option<CString>,
    hint: Option<CString>,
    corruptions: u64,
    leaks: u64,
}

impl transient_image_check {
    fn new(check: &ImageCheck) -> Self {
        Self {
            sound: check.is_sound(),
            name: c_string(&check.name),
            path: c_path(&check.path),
            refusal: check.refusal.as_ref().map(c_string),
            hint: check.hint.as_ref().map(c_string),
            corruptions: check.corruptions,
            leaks: check.leaks,
        }
    }
}

/// Finds out whether one image is whole: first the library follows its tables, then `qemu-img` does. The caller owns
/// `*check_out`: `transient_image_check_free`. Any thread may call this.
///
/// `cancel` may be NULL. Any thread may cancel; the call then fails with `TRANSIENT_STATUS_CANCELLED`.
///
/// What is wrong with the image is no failure. Fails with `TRANSIENT_STATUS_IMAGE_NOT_FOUND`, and with
/// `TRANSIENT_STATUS_MISSING_PROGRAM` or `TRANSIENT_STATUS_PROGRAM_FAILED` when `qemu-img` does not do its work.
#[unsafe(no_mangle)]
pub extern "C" fn transient_store_check(
    store: *const transient_store,
    name: *const c_char,
    cancel: *const transient_cancel_token,
    check_out: *mut *mut transient_image_check,
    error_out: *mut *mut transient_error,
) -> transient_status {
    fallible(error_out, || {
        let out = Out::new(check_out, "check_out")?;
        let cancel = borrow(cancel, "cancel").map_or_else(|_| CancelToken::new(), |token| token.0.clone());
        let check = borrow(store, "store")?.store.check(&image_name(name)?, &cancel)?;
        out.give(transient_image_check::new(&check));
        Ok(())
    })
}

/// Returns whether nothing is wrong with the image. NULL gives false.
#[unsafe(no_mangle)]
pub extern "C" fn transient_image_check_is_sound(check: *const transient_image_check) -> bool {
    read(check, |check| check.sound)
}

/// Returns the image's name. Lives as long as the check.
#[unsafe(no_mangle)]
pub extern "C" fn transient_image_check_name(check: *const transient_image_check) -> *const c_char {
    read(check, |check| check.name.as_ptr())
}

/// Returns the path of the image's file. Lives as long as the check.
#[unsafe(no_mangle)]
pub extern "C" fn transient_image_check_path(check: *const transient_image_check) -> *const c_char {
    read(check, |check| check.path.as_ptr())
}

/// Returns why the image must not be used at all, so that no more was looked at; NULL when it may be. Lives as long
/// as the check.
#[unsafe(no_mangle)]
pub extern "C" fn transient_image_check_refusal(check: *const transient_image_check) -> *const c_char {
    read(check, |check| address(check.refusal.as_ref()))
}

/// Returns what can be done about the refusal, or NULL. Lives as long as the check.
#[unsafe(no_mangle)]
pub extern "C" fn transient_image_check_hint(check: *const transient_image_check) -> *const c_char {
    read(check, |check| address(check.hint.as_ref()))
}

/// Returns how many places of the image contradict one another: bytes of its disk are lost, or will be.
#[unsafe(no_mangle)]
pub extern "C" fn transient_image_check_corruptions(check: *const transient_image_check) -> u64 {
    read(check, |check| check.corruptions)
}

/// Returns how many clusters are taken by nothing: they waste space, and do no other harm.
#[unsafe(no_mangle)]
pub extern "C" fn transient_image_check_leaks(check: *const transient_image_check) -> u64 {
    read(check, |check| check.leaks)
}

/// Frees a check. NULL is ignored. The image stays.
#[unsafe(no_mangle)]
pub extern "C" fn transient_image_check_free(check: *mut transient_image_check) {
    free(check);
}
