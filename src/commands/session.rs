//! A VM that runs as long as somebody uses it: its serial console, a shell, or a command.

use transient_core::{CancelToken, Error, Event, SshCommand, SshInput, Terminal, Vm, VmConfig};

use super::terminal;
use crate::cli::Progress;
use crate::failure::{Failure, Status};

/// Starts a VM, uses it as its settings say, and ends it. Returns the status of its SSH command or shell.
pub(super) fn run(
    config: &VmConfig,
    start: impl FnOnce(&mut dyn FnMut(Event), &CancelToken) -> Result<Vm, Error>,
) -> Result<Status, Failure> {
    let terminal = terminal::ends().map_err(|error| Failure::Write("stdin".to_owned(), error))?;
    super::watched(Progress::Auto, |listener, cancel| {
        let vm = start(listener, cancel)?;
        let used = use_vm(&vm, config, terminal, listener, cancel);
        // A signal has ended the use, not this; a second one ends the process, and QEMU with it.
        let stopped = vm.stop(false, listener, &CancelToken::new());
        let status = used?;
        stopped.map(|()| status)
    })
}

fn use_vm(
    vm: &Vm,
    config: &VmConfig,
    terminal: Terminal,
    listener: &mut dyn FnMut(Event),
    cancel: &CancelToken,
) -> Result<Status, Error> {
    if let Some(command) = &config.ssh_command {
        let mut command = SshCommand::new(command);
        command.input = SshInput::File(terminal.input);
        return vm.ssh(command, listener, cancel).map(Status::of_command);
    }
    if config.has_ssh_session() {
        return vm.ssh_terminal(terminal, None, listener, cancel).map(Status::of_command);
    }
    vm.console(terminal, cancel).map(|()| Status::Success)
}
