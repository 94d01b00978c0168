//! SSH to a VM that runs, whoever runs it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::handle::{SshCommand, input};
use super::host_key::HostKey;
use super::list::{AnyRunning, find_running};
use super::ssh::{Connection, Identities, OpenSsh, Target};
use super::{SshOptions, stop, stored};
use crate::call::call;
use crate::event::{Event, Reporter};
use crate::{CancelToken, Error, ErrorKind, ImageName, Store, Terminal, terminal};

/// How often a VM is looked for that does not run yet.
const INTERVAL: Duration = Duration::from_millis(100);

/// What is done over SSH.
#[derive(Debug)]
pub enum SshSession {
    /// A command runs; what it writes is told as [`Event::Output`].
    Command(SshCommand),
    /// A terminal gets a shell, or runs a command. Without a terminal at both of its ends, the shell gets none, and the
    /// input is what it reads.
    Terminal(Terminal, Option<String>),
}

/// Does something by SSH in a VM that runs, also one of another process, and returns the exit status. With `wait`, one
/// that does not run yet is waited for, at most [`SshOptions::timeout`].
///
/// # Errors
///
/// [`ErrorKind::VmNotRunning`]; those of [`super::Vm::ssh`].
pub fn ssh(
    store: &Store,
    name: &ImageName,
    options: &SshOptions,
    session: SshSession,
    wait: bool,
    listener: &mut dyn FnMut(Event),
    cancel: &CancelToken,
) -> Result<u32, Error> {
    call("transient-ssh", listener, cancel, |reporter, cancel| {
        let vm = find(store, name, wait.then_some(options.timeout), cancel)?;
        let port = vm.ssh_port().ok_or_else(|| {
            let message = format!("Running VM '{name}' has no known SSH port. Was it started with '--ssh'?");
            Error::new(ErrorKind::VmNotRunning, message)
        })?;
        let target = Target {
            port,
            options: options.clone(),
            host_key: Arc::new(host_key(store, name, &vm)),
            identities: Identities::of(store.locations()),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Error::io("cannot start an event loop", error))?;
        runtime.block_on(async {
            tokio::select! {
                biased;
                () = cancel.cancelled() => Err(Error::cancelled()),
                error = ended(&vm) => Err(error),
                done = carry_out(&target, session, reporter) => done,
            }
        })
    })
}

fn find(
    store: &Store,
    name: &ImageName,
    wait: Option<Duration>,
    cancel: &CancelToken,
) -> Result<AnyRunning, Error> {
    let begun = Instant::now();
    loop {
        cancel.check()?;
        match find_running(store, name)? {
            Some(vm) if vm.ssh_port().is_some() || wait.is_none() => return Ok(vm),
            _ if wait.is_some_and(|wait| begun.elapsed() < wait) => std::thread::sleep(INTERVAL),
            Some(vm) => return Ok(vm),
            None => return Err(stop::not_running(name)),
        }
    }
}

fn host_key(store: &Store, name: &ImageName, vm: &AnyRunning) -> HostKey {
    let known = match vm {
        AnyRunning::Ours(vm) => vm.record.host_key.clone(),
        AnyRunning::Legacy(_) => None,
    };
    let kept = !vm.info().stateless && stored::is_there(store, name);
    HostKey::new(known, kept.then(|| stored::config_path(store, name)), None)
}

/// Waits for the end of the VM.
async fn ended(vm: &AnyRunning) -> Error {
    let qemu = vm.info().qemu_pid;
    while super::running::start_of(qemu).is_some() {
        tokio::time::sleep(INTERVAL).await;
    }
    // What ends with it may still say something.
    tokio::time::sleep(INTERVAL).await;
    Error::new(ErrorKind::ConnectionLost, format!("the VM '{}' ended", vm.name()))
}

async fn carry_out(target: &Target, session: SshSession, reporter: &Reporter) -> Result<u32, Error> {
    let output = async |stream, data: &[u8]| {
        reporter.send(Event::Output { stream, data: data.to_vec() }).await;
    };
    let session = match session {
        SshSession::Terminal(terminal, command) if !terminal::is_terminal(&terminal) => {
            let input = super::SshInput::File(terminal.input);
            SshSession::Command(SshCommand { command, input, timeout: None })
        }
        session => session,
    };
    if let Some(program) = target.options.openssh() {
        let openssh = OpenSsh::prepare(target, program).await?;
        return match session {
            SshSession::Command(command) => {
                openssh.run(command.command.as_deref(), command.input, output).await
            }
            SshSession::Terminal(terminal, command) => openssh.join(&terminal, command.as_deref()).await,
        };
    }
    let connection = Connection::open(target).await?;
    let status = match session {
        SshSession::Command(command) => {
            let running = connection.run(command.command.as_deref(), input(command.input)?, output);
            match command.timeout {
                None => running.await,
                Some(timeout) => tokio::time::timeout(timeout, running).await.unwrap_or_else(|_| {
                    let message = format!("the command did not end within {} s", timeout.as_secs_f64());
                    Err(Error::new(ErrorKind::Timeout, message))
                }),
            }
        }
        SshSession::Terminal(terminal, command) => connection.join(&terminal, command.as_deref()).await,
    };
    connection.close().await;
    status
}
