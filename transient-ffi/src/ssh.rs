//! SSH: into a VM of this process, and into those of others.

use std::ffi::{c_char, c_int, c_void};

use transient_core::{SshCommand, SshInput, SshOptions, SshSession, ssh};

use crate::boundary::{Failure, Out, borrow, change, fallible, free, write};
use crate::cancel::{token, transient_cancel_token};
use crate::duration;
use crate::error::transient_error;
use crate::event::{Listener, transient_event_callback, transient_finalizer};
use crate::status::transient_status;
use crate::store::{image_name, transient_store};
use crate::terminal::terminal;
use crate::text;
use crate::vm::transient_vm;

/// How SSH logs in to a VM. It may be used by several calls at once; it must not be changed meanwhile.
#[derive(Debug)]
pub struct transient_ssh_options(pub(crate) SshOptions);

/// Makes options with all defaults. The caller owns `*options_out`: `transient_ssh_options_free`. Any thread may call
/// this. Those of a VM of the VM store are in `transient_vm_config_ssh_options`.
#[unsafe(no_mangle)]
pub extern "C" fn transient_ssh_options_new(
    options_out: *mut *mut transient_ssh_options,
    error_out: *mut *mut transient_error,
) -> transient_status {
    fallible(error_out, || {
        Out::new(options_out, "options_out")?.give(transient_ssh_options(SshOptions::default()));
        Ok(())
    })
}

/// Frees options. NULL is ignored.
#[unsafe(no_mangle)]
pub extern "C" fn transient_ssh_options_free(options: *mut transient_ssh_options) {
    free(options);
}

/// Sets who logs in. The default is `vagrant`. `user` is copied.
#[unsafe(no_mangle)]
pub extern "C" fn transient_ssh_options_set_user(
    options: *mut transient_ssh_options,
    user: *const c_char,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(options, "options", error_out, |options| {
        options.0.user = text::string(user, "user")?.to_owned();
        Ok(())
    })
}

/// Sets the private key to log in with. NULL, the default: the user's agent and default keys, then the well-known key
/// of vagrant boxes. `path` is copied.
#[unsafe(no_mangle)]
pub extern "C" fn transient_ssh_options_set_key(
    options: *mut transient_ssh_options,
    path: *const c_char,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(options, "options", error_out, |options| {
        options.0.key = text::optional_path(path, "path")?;
        Ok(())
    })
}

/// Sets the SSH program that is used in place of the library's own client; NULL is none, the default. `program` is
/// copied.
#[unsafe(no_mangle)]
pub extern "C" fn transient_ssh_options_set_program(
    options: *mut transient_ssh_options,
    program: *const c_char,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(options, "options", error_out, |options| {
        options.0.program = text::optional_path(program, "program")?;
        Ok(())
    })
}

/// Adds an option for `-o` of OpenSSH, which is then used in place of the library's own client. `option` is copied.
#[unsafe(no_mangle)]
pub extern "C" fn transient_ssh_options_add_option(
    options: *mut transient_ssh_options,
    option: *const c_char,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(options, "options", error_out, |options| {
        options.0.options.push(text::string(option, "option")?.to_owned());
        Ok(())
    })
}

/// Sets how many seconds the guest may take to accept it; 0 is the default, 90.
#[unsafe(no_mangle)]
pub extern "C" fn transient_ssh_options_set_timeout(
    options: *mut transient_ssh_options,
    seconds: f64,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(options, "options", error_out, |options| {
        let default = SshOptions::default().timeout;
        options.0.timeout = duration::optional(seconds)?.unwrap_or(default);
        Ok(())
    })
}

fn command_of(
    command: *const c_char,
    input: *const u8,
    input_len: usize,
    timeout: f64,
) -> Result<SshCommand, Failure> {
    let mut ssh = SshCommand::default();
    ssh.command = text::optional_string(command, "command")?.map(str::to_owned);
    ssh.input = SshInput::Bytes(text::bytes(input, input_len, "input")?.to_vec());
    ssh.timeout = duration::optional(timeout)?;
    Ok(ssh)
}

/// Runs a command in the guest by SSH, and waits for its end; for a guest that is still booting, too. `command` is as the
/// guest's shell takes it; NULL is a shell, which reads its commands from the input. It reads the `input_len` bytes of
/// `input`, which are copied; that may be NULL if there are none. `timeout` is how many seconds it may take, from when
/// the guest has accepted SSH; 0 is as long as it likes.
///
/// What it writes is told as `TRANSIENT_EVENT_KIND_OUTPUT`. `exit_status_out` may be NULL; else on success it gets the
/// exit status, 128 + n if signal n ended the command. Another status than 0 is no error.
///
/// `on_event`, `user_data`, `finalizer` and `cancel` are as of `transient_vm_run`; a cancelled command may go on in the
/// guest. Any thread may call this, and several at once. No handle that it was given may be freed meanwhile.
///
/// Fails with `TRANSIENT_STATUS_TIMEOUT` when the guest does not accept SSH in time or the command takes too long,
/// `TRANSIENT_STATUS_SSH_FAILED` when it lets nobody in; `TRANSIENT_STATUS_GUEST_PANIC`, `TRANSIENT_STATUS_QEMU_FAILED` or
/// `TRANSIENT_STATUS_CONNECTION_LOST` when it ends meanwhile; and `TRANSIENT_STATUS_VM_NOT_RUNNING` when it has ended, or
/// has no SSH.
#[unsafe(no_mangle)]
pub extern "C" fn transient_vm_ssh(
    vm: *const transient_vm,
    command: *const c_char,
    input: *const u8,
    input_len: usize,
    timeout: f64,
    on_event: transient_event_callback,
    user_data: *mut c_void,
    finalizer: transient_finalizer,
    cancel: *const transient_cancel_token,
    exit_status_out: *mut u32,
    error_out: *mut *mut transient_error,
) -> transient_status {
    // Outside: it must also be finalized when a pointer is bad.
    let listener = Listener::new(on_event, user_data, finalizer);
    fallible(error_out, || {
        let vm = &borrow(vm, "vm")?.vm;
        let command = command_of(command, input, input_len, timeout)?;
        let status = vm.ssh(command, &mut |event| listener.tell(&event), &token(cancel))?;
        drop(listener);
        write(exit_status_out, status);
        Ok(())
    })
}

/// Gives a terminal a shell in the guest by SSH, or `command` if that is not NULL, and waits for its end. Keys are read
/// from `input`, which is set to raw mode meanwhile, and what it shows goes to `output`; both are duplicated. `term` is
/// the value of `TERM`, for example `xterm-256color`.
///
/// Unless both are terminals, the shell gets none: `input` is what it reads, and what it writes is told as
/// `TRANSIENT_EVENT_KIND_OUTPUT`. So a command has a file or a pipe for input.
///
/// All else is as of `transient_vm_ssh`.
#[unsafe(no_mangle)]
pub extern "C" fn transient_vm_ssh_terminal(
    vm: *const transient_vm,
    command: *const c_char,
    input: c_int,
    output: c_int,
    term: *const c_char,
    on_event: transient_event_callback,
    user_data: *mut c_void,
    finalizer: transient_finalizer,
    cancel: *const transient_cancel_token,
    exit_status_out: *mut u32,
    error_out: *mut *mut transient_error,
) -> transient_status {
    // Outside: it must also be finalized when a pointer is bad.
    let listener = Listener::new(on_event, user_data, finalizer);
    fallible(error_out, || {
        let vm = &borrow(vm, "vm")?.vm;
        let command = text::optional_string(command, "command")?.map(str::to_owned);
        let terminal = terminal(input, output, text::string(term, "term")?)?;
        let status =
            vm.ssh_terminal(terminal, command, &mut |event| listener.tell(&event), &token(cancel))?;
        drop(listener);
        write(exit_status_out, status);
        Ok(())
    })
}

/// Runs a command by SSH in a VM that runs, also one of another process, and waits for its end. `options` may be NULL:
/// all defaults. With `wait`, a VM that does not run yet is waited for, at most as long as the guest may take to accept
/// SSH.
///
/// All else is as of `transient_vm_ssh`. Fails with `TRANSIENT_STATUS_VM_NOT_RUNNING`, and as that.
#[unsafe(no_mangle)]
pub extern "C" fn transient_ssh(
    store: *const transient_store,
    name: *const c_char,
    options: *const transient_ssh_options,
    command: *const c_char,
    input: *const u8,
    input_len: usize,
    timeout: f64,
    wait: bool,
    on_event: transient_event_callback,
    user_data: *mut c_void,
    finalizer: transient_finalizer,
    cancel: *const transient_cancel_token,
    exit_status_out: *mut u32,
    error_out: *mut *mut transient_error,
) -> transient_status {
    // Outside: it must also be finalized when a pointer is bad.
    let listener = Listener::new(on_event, user_data, finalizer);
    fallible(error_out, || {
        let command = command_of(command, input, input_len, timeout)?;
        let session = SshSession::Command(command);
        let status = carry_out(store, name, options, session, wait, &listener, cancel)?;
        drop(listener);
        write(exit_status_out, status);
        Ok(())
    })
}

/// Gives a terminal a shell by SSH in a VM that runs, also one of another process, or `command` if that is not NULL, and
/// waits for its end. `input`, `output` and `term` are as of `transient_vm_ssh_terminal`, all else is as of
/// `transient_ssh`.
#[unsafe(no_mangle)]
pub extern "C" fn transient_ssh_terminal(
    store: *const transient_store,
    name: *const c_char,
    options: *const transient_ssh_options,
    command: *const c_char,
    input: c_int,
    output: c_int,
    term: *const c_char,
    wait: bool,
    on_event: transient_event_callback,
    user_data: *mut c_void,
    finalizer: transient_finalizer,
    cancel: *const transient_cancel_token,
    exit_status_out: *mut u32,
    error_out: *mut *mut transient_error,
) -> transient_status {
    // Outside: it must also be finalized when a pointer is bad.
    let listener = Listener::new(on_event, user_data, finalizer);
    fallible(error_out, || {
        let command = text::optional_string(command, "command")?.map(str::to_owned);
        let terminal = terminal(input, output, text::string(term, "term")?)?;
        let session = SshSession::Terminal(terminal, command);
        let status = carry_out(store, name, options, session, wait, &listener, cancel)?;
        drop(listener);
        write(exit_status_out, status);
        Ok(())
    })
}

fn carry_out(
    store: *const transient_store,
    name: *const c_char,
    options: *const transient_ssh_options,
    session: SshSession,
    wait: bool,
    listener: &Listener,
    cancel: *const transient_cancel_token,
) -> Result<u32, Failure> {
    let (store, name) = (&borrow(store, "store")?.store, image_name(name)?);
    let options =
        borrow(options, "options").map_or_else(|_| SshOptions::default(), |options| options.0.clone());
    Ok(ssh(store, &name, &options, session, wait, &mut |event| listener.tell(&event), &token(cancel))?)
}
