//! A VM in the hands of a program.

use std::ffi::{CString, c_char, c_int, c_void};

use transient_core::Vm;

use crate::boundary::{Failure, Out, borrow, fallible, free, read, write};
use crate::bytes::transient_bytes;
use crate::cancel::{token, transient_cancel_token};
use crate::duration;
use crate::error::transient_error;
use crate::event::{Listener, transient_event_callback, transient_finalizer};
use crate::status::transient_status;
use crate::terminal::terminal;
use crate::text::{self, c_string};

/// A VM that this process runs. Several threads may use it at once. Whatever becomes of the process, QEMU ends with it.
///
/// A child that was forked has no business with it: there, freeing it ends nothing, and all that needs the VM fails with
/// `TRANSIENT_STATUS_VM_NOT_RUNNING`.
#[derive(Debug)]
pub struct transient_vm {
    pub(crate) vm: Vm,
    name: CString,
    image: CString,
}

impl transient_vm {
    pub(crate) fn new(vm: Vm) -> Self {
        Self { name: c_string(vm.name()), image: c_string(vm.image()), vm }
    }
}

/// Returns the name. Lives as long as the handle.
#[unsafe(no_mangle)]
pub extern "C" fn transient_vm_name(vm: *const transient_vm) -> *const c_char {
    read(vm, |vm| vm.name.as_ptr())
}

/// Returns the name of the image that it started from. Lives as long as the handle.
#[unsafe(no_mangle)]
pub extern "C" fn transient_vm_image(vm: *const transient_vm) -> *const c_char {
    read(vm, |vm| vm.image.as_ptr())
}

/// Returns the number of the QEMU process.
#[unsafe(no_mangle)]
pub extern "C" fn transient_vm_qemu_pid(vm: *const transient_vm) -> u32 {
    read(vm, |vm| vm.vm.qemu_pid())
}

/// Returns the port of this host's loopback that leads to the guest's port 22; 0 when it is not reached by SSH.
#[unsafe(no_mangle)]
pub extern "C" fn transient_vm_ssh_port(vm: *const transient_vm) -> u16 {
    read(vm, |vm| vm.vm.ssh_port().unwrap_or(0))
}

/// Returns whether QEMU runs.
#[unsafe(no_mangle)]
pub extern "C" fn transient_vm_is_running(vm: *const transient_vm) -> bool {
    read(vm, |vm| vm.vm.is_running())
}

/// Writes what came over the serial console, the last 4 MiB of it, also once the VM has ended. The caller owns
/// `*bytes_out`: `transient_bytes_free`. Any thread may call this.
#[unsafe(no_mangle)]
pub extern "C" fn transient_vm_serial(
    vm: *const transient_vm,
    bytes_out: *mut *mut transient_bytes,
    error_out: *mut *mut transient_error,
) -> transient_status {
    fallible(error_out, || {
        let out = Out::new(bytes_out, "bytes_out")?;
        out.give(transient_bytes::new(borrow(vm, "vm")?.vm.serial()));
        Ok(())
    })
}

/// Joins a terminal, or what else `input` and `output` are, to the serial console until the VM ends. Ctrl-A x ends QEMU,
/// Ctrl-A c leads to its prompt. Both descriptors are duplicated; a terminal at `input` is set to raw mode meanwhile.
///
/// `cancel` may be NULL. Any thread may call this. No handle that it was given may be freed meanwhile.
///
/// Fails with `TRANSIENT_STATUS_QEMU_FAILED` when QEMU ends with an error, and with `TRANSIENT_STATUS_IO` when the
/// terminal cannot be used.
#[unsafe(no_mangle)]
pub extern "C" fn transient_vm_console(
    vm: *const transient_vm,
    input: c_int,
    output: c_int,
    cancel: *const transient_cancel_token,
    error_out: *mut *mut transient_error,
) -> transient_status {
    fallible(error_out, || {
        let vm = &borrow(vm, "vm")?.vm;
        Ok(vm.console(terminal(input, output, "")?, &token(cancel))?)
    })
}

/// Has QEMU carry out a QMP command, a JSON object such as `{"execute": "query-status"}`, and writes what it returns, as
/// JSON: <https://www.qemu.org/docs/master/interop/qemu-qmp-ref.html>. `answer_out` may be NULL; else on success the
/// caller owns `*answer_out`: `transient_string_free`. Any thread may call this, and several at once.
///
/// Fails with `TRANSIENT_STATUS_INVALID_ARGUMENT` when the command is no JSON, `TRANSIENT_STATUS_QEMU_FAILED` with QEMU's
/// words when it refuses, and `TRANSIENT_STATUS_VM_NOT_RUNNING`.
#[unsafe(no_mangle)]
pub extern "C" fn transient_vm_qmp(
    vm: *const transient_vm,
    command: *const c_char,
    answer_out: *mut *mut c_char,
    error_out: *mut *mut transient_error,
) -> transient_status {
    fallible(error_out, || {
        let vm = &borrow(vm, "vm")?.vm;
        let command = serde_json::from_str(text::string(command, "command")?)
            .map_err(|error| Failure::Argument(format!("the argument 'command' is no JSON: {error}")))?;
        let answer = vm.qmp(&command)?;
        if !answer_out.is_null() {
            text::give(answer_out, "answer_out", c_string(answer.to_string()))?;
        }
        Ok(())
    })
}

/// Copies a file or folder of this host into the running guest by SSH, with modes, times and links. It needs `tar` there.
/// `destination` is a folder of the guest, below which it goes, or else its new name.
///
/// `on_event`, `user_data`, `finalizer` and `cancel` are as of `transient_vm_run`. Any thread may call this, and several at
/// once. No handle that it was given may be freed meanwhile.
///
/// Fails as `transient_vm_ssh`, and with `TRANSIENT_STATUS_COMMAND_FAILED` with what `tar` said.
#[unsafe(no_mangle)]
pub extern "C" fn transient_vm_copy_in(
    vm: *const transient_vm,
    source: *const c_char,
    destination: *const c_char,
    on_event: transient_event_callback,
    user_data: *mut c_void,
    finalizer: transient_finalizer,
    cancel: *const transient_cancel_token,
    error_out: *mut *mut transient_error,
) -> transient_status {
    // Outside: it must also be finalized when a pointer is bad.
    let listener = Listener::new(on_event, user_data, finalizer);
    fallible(error_out, || {
        let vm = &borrow(vm, "vm")?.vm;
        let (source, destination) = (text::path(source, "source")?, text::path(destination, "destination")?);
        vm.copy_in(&source, &destination, &mut |event| listener.tell(&event), &token(cancel))?;
        drop(listener);
        Ok(())
    })
}

/// Copies a file or folder out of the running guest by SSH, with modes, times and links. It needs `tar` there.
/// `destination` is a folder of this host, below which it goes, or else its new name. All else is as of
/// `transient_vm_copy_in`.
#[unsafe(no_mangle)]
pub extern "C" fn transient_vm_copy_out(
    vm: *const transient_vm,
    source: *const c_char,
    destination: *const c_char,
    on_event: transient_event_callback,
    user_data: *mut c_void,
    finalizer: transient_finalizer,
    cancel: *const transient_cancel_token,
    error_out: *mut *mut transient_error,
) -> transient_status {
    // Outside: it must also be finalized when a pointer is bad.
    let listener = Listener::new(on_event, user_data, finalizer);
    fallible(error_out, || {
        let vm = &borrow(vm, "vm")?.vm;
        let (source, destination) = (text::path(source, "source")?, text::path(destination, "destination")?);
        vm.copy_out(&source, &destination, &mut |event| listener.tell(&event), &token(cancel))?;
        drop(listener);
        Ok(())
    })
}

/// Waits until the VM has ended, or `timeout` seconds are over; 0 is as long as it takes. `ended_out` may be NULL; else on
/// success it gets whether the VM has ended. `cancel` may be NULL. Any thread may call this, and several at once. No
/// handle that it was given may be freed meanwhile.
///
/// Fails with `TRANSIENT_STATUS_QEMU_FAILED` when QEMU ended with an error.
#[unsafe(no_mangle)]
pub extern "C" fn transient_vm_wait(
    vm: *const transient_vm,
    timeout: f64,
    cancel: *const transient_cancel_token,
    ended_out: *mut bool,
    error_out: *mut *mut transient_error,
) -> transient_status {
    fallible(error_out, || {
        let vm = &borrow(vm, "vm")?.vm;
        write(ended_out, vm.wait(duration::optional(timeout)?, &token(cancel))?);
        Ok(())
    })
}

/// Ends the VM, and waits for its end: the guest is asked to shut down, and QEMU ended if it does not in time; with
/// `kill`, QEMU is killed. Then what `transient_run_options_add_copy_out_after` names is copied out, and a VM without a
/// name is removed. A VM that has ended is no error. The handle is still to be freed.
///
/// `on_event`, `user_data` and `finalizer` are as of `transient_vm_run`. `cancel` may be NULL; a cancelled one kills QEMU,
/// and then nothing is copied. Any thread may call this, and several at once. No handle that it was given may be freed
/// meanwhile.
///
/// Fails as `transient_copy`.
#[unsafe(no_mangle)]
pub extern "C" fn transient_vm_stop(
    vm: *const transient_vm,
    kill: bool,
    on_event: transient_event_callback,
    user_data: *mut c_void,
    finalizer: transient_finalizer,
    cancel: *const transient_cancel_token,
    error_out: *mut *mut transient_error,
) -> transient_status {
    // Outside: it must also be finalized when a pointer is bad.
    let listener = Listener::new(on_event, user_data, finalizer);
    fallible(error_out, || {
        borrow(vm, "vm")?.vm.stop(kill, &mut |event| listener.tell(&event), &token(cancel))?;
        drop(listener);
        Ok(())
    })
}

/// Frees a VM, once no call uses it; any thread may do that. One that runs is first shut down as `transient_vm_stop` does,
/// but nothing is copied out. NULL is ignored.
#[unsafe(no_mangle)]
pub extern "C" fn transient_vm_free(vm: *mut transient_vm) {
    free(vm);
}
