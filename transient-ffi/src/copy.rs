//! Copies between this host and the disk of a VM that does not run.

use std::ffi::{c_char, c_void};
use std::path::PathBuf;

use transient_core::{CopyOptions, FileCopy, copy};

use crate::boundary::{Failure, Out, borrow, change, fallible, free};
use crate::builder::transient_builder_options;
use crate::cancel::{token, transient_cancel_token};
use crate::duration;
use crate::error::transient_error;
use crate::event::{Listener, transient_event_callback, transient_finalizer};
use crate::status::transient_status;
use crate::store::{image_name, transient_store};
use crate::text;

/// Reads a copy into a VM.
pub(crate) fn into_vm(source: *const c_char, destination: *const c_char) -> Result<FileCopy, Failure> {
    let (source, destination) = (text::path(source, "source")?, guest(destination, "destination")?);
    Ok(FileCopy { source, destination })
}

/// Reads a copy out of a VM.
pub(crate) fn out_of_vm(source: *const c_char, destination: *const c_char) -> Result<FileCopy, Failure> {
    let (source, destination) = (guest(source, "source")?, text::path(destination, "destination")?);
    Ok(FileCopy { source, destination })
}

fn guest(path: *const c_char, name: &str) -> Result<PathBuf, Failure> {
    match text::path(path, name)? {
        path if path.is_absolute() => Ok(path),
        path => Err(Failure::Argument(format!("'{}' is no absolute path of the guest", path.display()))),
    }
}

/// What is copied between this host and the first disk of a VM. It may be used by several calls at once; it must not be
/// changed meanwhile.
#[derive(Debug)]
pub struct transient_copy_options(CopyOptions);

/// Makes options that copy nothing. The caller owns `*options_out`: `transient_copy_options_free`. Any thread may call
/// this.
#[unsafe(no_mangle)]
pub extern "C" fn transient_copy_options_new(
    options_out: *mut *mut transient_copy_options,
    error_out: *mut *mut transient_error,
) -> transient_status {
    fallible(error_out, || {
        Out::new(options_out, "options_out")?.give(transient_copy_options(CopyOptions::default()));
        Ok(())
    })
}

/// Frees options. NULL is ignored.
#[unsafe(no_mangle)]
pub extern "C" fn transient_copy_options_free(options: *mut transient_copy_options) {
    free(options);
}

/// Adds a copy into the VM; these come before those out of it. `source` is a file, folder or link of this host.
/// `destination`, an absolute path of the guest, is a folder below which it goes, or else its new name. Both are
/// copied.
#[unsafe(no_mangle)]
pub extern "C" fn transient_copy_options_add_into(
    options: *mut transient_copy_options,
    source: *const c_char,
    destination: *const c_char,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(options, "options", error_out, |options| {
        options.0.into.push(into_vm(source, destination)?);
        Ok(())
    })
}

/// Adds a copy out of the VM. `source` is an absolute path of the guest. `destination`, a path of this host, is a
/// folder below which it goes, or else its new name. Both are copied.
#[unsafe(no_mangle)]
pub extern "C" fn transient_copy_options_add_out(
    options: *mut transient_copy_options,
    source: *const c_char,
    destination: *const c_char,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(options, "options", error_out, |options| {
        options.0.out.push(out_of_vm(source, destination)?);
        Ok(())
    })
}

/// Sets how many seconds all of it may take; 0 is as long as it likes, the default.
#[unsafe(no_mangle)]
pub extern "C" fn transient_copy_options_set_timeout(
    options: *mut transient_copy_options,
    seconds: f64,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(options, "options", error_out, |options| {
        options.0.timeout = duration::optional(seconds)?;
        Ok(())
    })
}

/// Sets the VM in which the copies are made. `builder` is copied.
#[unsafe(no_mangle)]
pub extern "C" fn transient_copy_options_set_builder(
    options: *mut transient_copy_options,
    builder: *const transient_builder_options,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(options, "options", error_out, |options| {
        options.0.builder = borrow(builder, "builder")?.0.clone();
        Ok(())
    })
}

/// Copies between this host and the first disk of a VM of the VM store that does not run, with owners, modes, times and
/// links. It needs nothing in the VM's image, and one boot of a builder VM.
///
/// `on_event`, `user_data`, `finalizer` and `cancel` are as of `transient_vm_run`. Any thread may call this, and several at
/// once. No handle that it was given may be freed meanwhile.
///
/// Fails with `TRANSIENT_STATUS_VM_NOT_FOUND`, `TRANSIENT_STATUS_VM_IN_USE`, `TRANSIENT_STATUS_NO_ROOT_FILESYSTEM`,
/// `TRANSIENT_STATUS_INVALID_SOURCE` when something to copy is not there, and what else can go wrong with a builder VM.
#[unsafe(no_mangle)]
pub extern "C" fn transient_copy(
    store: *const transient_store,
    name: *const c_char,
    options: *const transient_copy_options,
    on_event: transient_event_callback,
    user_data: *mut c_void,
    finalizer: transient_finalizer,
    cancel: *const transient_cancel_token,
    error_out: *mut *mut transient_error,
) -> transient_status {
    // Outside: it must also be finalized when a pointer is bad.
    let listener = Listener::new(on_event, user_data, finalizer);
    fallible(error_out, || {
        let store = &borrow(store, "store")?.store;
        let (name, options) = (image_name(name)?, &borrow(options, "options")?.0);
        copy(store, &name, options, &mut |event| listener.tell(&event), &token(cancel))?;
        drop(listener);
        Ok(())
    })
}
