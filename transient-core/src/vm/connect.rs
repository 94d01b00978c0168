//! SSH to a VM that runs, whoever runs it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::host_key::HostKey;
use super::list::{AnyRunning, find_running};
use super::session::{Client, SshSession};
use super::ssh::{Connection, Identities, Target};
use super::{SshOptions, stop, stored};
use crate::call::call;
use crate::event::{Event, Reporter};
use crate::{CancelToken, Error, ErrorKind, ImageName, Store};

/// How often a VM is looked for that does not run yet.
const INTERVAL: Duration = Duration::from_millis(100);

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
    let connect = async { Connection::open(target).await.map(std::rc::Rc::new) };
    let client = Client::open(target, connect).await?;
    let status = client.attend(session, reporter).await;
    if let Client::Own(connection) = client {
        connection.close().await;
    }
    status
}
