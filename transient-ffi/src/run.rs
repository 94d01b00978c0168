//! Starting VMs.

use std::ffi::{c_char, c_void};

use transient_core::{RunOptions, create, run, start};

use crate::boundary::{Out, borrow, change, fallible, free};
use crate::builder::transient_builder_options;
use crate::cancel::{token, transient_cancel_token};
use crate::copy::{into_vm, out_of_vm};
use crate::duration;
use crate::error::transient_error;
use crate::event::{Listener, transient_event_callback, transient_finalizer};
use crate::status::transient_status;
use crate::store::{image_name, transient_store};
use crate::text::{self, c_string};
use crate::vm::transient_vm;
use crate::vm_config::transient_vm_config;

/// How a VM is run. It may be used for several VMs, also at once; it must not be changed meanwhile.
#[derive(Debug)]
pub struct transient_run_options(pub(crate) RunOptions);

/// Makes options that run a VM with these settings, which are copied. The caller owns `*options_out`:
/// `transient_run_options_free`. Any thread may call this.
#[unsafe(no_mangle)]
pub extern "C" fn transient_run_options_new(
    config: *const transient_vm_config,
    options_out: *mut *mut transient_run_options,
    error_out: *mut *mut transient_error,
) -> transient_status {
    fallible(error_out, || {
        let out = Out::new(options_out, "options_out")?;
        out.give(transient_run_options(RunOptions::new(borrow(config, "config")?.0.clone())));
        Ok(())
    })
}

/// Frees options, once no call uses them. NULL is ignored.
#[unsafe(no_mangle)]
pub extern "C" fn transient_run_options_free(options: *mut transient_run_options) {
    free(options);
}

/// Sets the settings of the VM, in place of those before. `config` is copied.
#[unsafe(no_mangle)]
pub extern "C" fn transient_run_options_set_config(
    options: *mut transient_run_options,
    config: *const transient_vm_config,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(options, "options", error_out, |options| {
        options.0.config = borrow(config, "config")?.0.clone();
        Ok(())
    })
}

/// Adds a copy into the VM's first disk, before it starts. `source` is a file, folder or link of this host.
/// `destination`, an absolute path of the guest, is a folder below which it goes, or else its new name. Both are
/// copied.
#[unsafe(no_mangle)]
pub extern "C" fn transient_run_options_add_copy_in_before(
    options: *mut transient_run_options,
    source: *const c_char,
    destination: *const c_char,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(options, "options", error_out, |options| {
        options.0.copy_in_before.push(into_vm(source, destination)?);
        Ok(())
    })
}

/// Adds a copy out of the VM's first disk, which `transient_vm_stop` makes. `source` is an absolute path of the guest.
/// `destination`, a path of this host, is a folder below which it goes, or else its new name. Both are copied.
#[unsafe(no_mangle)]
pub extern "C" fn transient_run_options_add_copy_out_after(
    options: *mut transient_run_options,
    source: *const c_char,
    destination: *const c_char,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(options, "options", error_out, |options| {
        options.0.copy_out_after.push(out_of_vm(source, destination)?);
        Ok(())
    })
}

/// Sets how many seconds all copies before it starts, or all after it, may take; 0 is as long as they like, the
/// default.
#[unsafe(no_mangle)]
pub extern "C" fn transient_run_options_set_copy_timeout(
    options: *mut transient_run_options,
    seconds: f64,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(options, "options", error_out, |options| {
        options.0.copy_timeout = duration::optional(seconds)?;
        Ok(())
    })
}

/// Sets the VM in which the copies are made. `builder` is copied.
#[unsafe(no_mangle)]
pub extern "C" fn transient_run_options_set_builder(
    options: *mut transient_run_options,
    builder: *const transient_builder_options,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(options, "options", error_out, |options| {
        options.0.builder = borrow(builder, "builder")?.0.clone();
        Ok(())
    })
}

/// Sets whether QEMU has this process's standard input and output if its arguments have a serial port of their own: for
/// a program that is nothing else. The default is false.
#[unsafe(no_mangle)]
pub extern "C" fn transient_run_options_set_inherit_stdio(
    options: *mut transient_run_options,
    inherit: bool,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(options, "options", error_out, |options| {
        options.0.inherit_stdio = inherit;
        Ok(())
    })
}

/// Starts a VM from an image, which is brought in if the backend lacks it. Without a name and without copies, it keeps
/// nothing on disk; without a name, what it keeps is gone at its end. With a name, it is made in the VM store, or if it
/// is there, it is started. Returns when QEMU runs, and the guest has mounted the shared folders, if there are any.
///
/// The caller owns `*vm_out`: `transient_vm_free`. It uses none of the handles that were given here.
///
/// `on_event` may be NULL; else it is called on the calling thread, with `user_data`, for each event, and never again
/// once this function has returned. It must not unwind. `finalizer` may be NULL; else it is called once with `user_data`
/// on the calling thread before this function returns, whatever the outcome.
///
/// `cancel` may be NULL. Any thread may cancel; the call then cleans up and fails with `TRANSIENT_STATUS_CANCELLED`. It
/// has no effect on the VM once this has returned.
///
/// Any thread may call this, and several at once. No handle that it was given may be freed meanwhile.
///
/// Fails with `TRANSIENT_STATUS_IMAGE_NOT_FOUND`, `TRANSIENT_STATUS_VM_IN_USE`, `TRANSIENT_STATUS_MISSING_PROGRAM`,
/// `TRANSIENT_STATUS_QEMU_FAILED` with what QEMU said in `transient_error_output`, and as `transient_pull`,
/// `transient_copy` and `transient_vm_ssh`.
#[unsafe(no_mangle)]
pub extern "C" fn transient_vm_run(
    store: *const transient_store,
    options: *const transient_run_options,
    on_event: transient_event_callback,
    user_data: *mut c_void,
    finalizer: transient_finalizer,
    cancel: *const transient_cancel_token,
    vm_out: *mut *mut transient_vm,
    error_out: *mut *mut transient_error,
) -> transient_status {
    // Outside: it must also be finalized when a pointer is bad.
    let listener = Listener::new(on_event, user_data, finalizer);
    fallible(error_out, || {
        let out = Out::new(vm_out, "vm_out")?;
        let (store, options) = (&borrow(store, "store")?.store, &borrow(options, "options")?.0);
        let vm = run(store, options, &mut |event| listener.tell(&event), &token(cancel))?;
        drop(listener);
        out.give(transient_vm::new(vm));
        Ok(())
    })
}

/// Starts a VM of the VM store. The settings of `options` are added to those that are kept there, and win over them.
///
/// All else is as of `transient_vm_run`. Fails with `TRANSIENT_STATUS_VM_NOT_FOUND`, and as `transient_vm_run`.
#[unsafe(no_mangle)]
pub extern "C" fn transient_vm_start(
    store: *const transient_store,
    name: *const c_char,
    options: *const transient_run_options,
    on_event: transient_event_callback,
    user_data: *mut c_void,
    finalizer: transient_finalizer,
    cancel: *const transient_cancel_token,
    vm_out: *mut *mut transient_vm,
    error_out: *mut *mut transient_error,
) -> transient_status {
    // Outside: it must also be finalized when a pointer is bad.
    let listener = Listener::new(on_event, user_data, finalizer);
    fallible(error_out, || {
        let out = Out::new(vm_out, "vm_out")?;
        let (store, options) = (&borrow(store, "store")?.store, &borrow(options, "options")?.0);
        let name = image_name(name)?;
        let vm = start(store, &name, options, &mut |event| listener.tell(&event), &token(cancel))?;
        drop(listener);
        out.give(transient_vm::new(vm));
        Ok(())
    })
}

/// Makes a VM in the VM store, and does not start it. `name_out` may be NULL; else on success the caller owns
/// `*name_out`, its name: `transient_string_free`.
///
/// `on_event`, `user_data`, `finalizer` and `cancel` are as of `transient_vm_run`. Any thread may call this, and several at
/// once. No handle that it was given may be freed meanwhile.
///
/// Fails with `TRANSIENT_STATUS_VM_EXISTS`, `TRANSIENT_STATUS_IMAGE_NOT_FOUND`, and as `transient_pull`.
#[unsafe(no_mangle)]
pub extern "C" fn transient_vm_create(
    store: *const transient_store,
    config: *const transient_vm_config,
    on_event: transient_event_callback,
    user_data: *mut c_void,
    finalizer: transient_finalizer,
    cancel: *const transient_cancel_token,
    name_out: *mut *mut c_char,
    error_out: *mut *mut transient_error,
) -> transient_status {
    // Outside: it must also be finalized when a pointer is bad.
    let listener = Listener::new(on_event, user_data, finalizer);
    fallible(error_out, || {
        let (store, config) = (&borrow(store, "store")?.store, &borrow(config, "config")?.0);
        let name = create(store, config, &mut |event| listener.tell(&event), &token(cancel))?;
        drop(listener);
        if !name_out.is_null() {
            text::give(name_out, "name_out", c_string(name))?;
        }
        Ok(())
    })
}
