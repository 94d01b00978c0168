//! Ending and removing VMs, whoever runs them.

use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use super::list::{AnyRunning, find_running};
use super::running::{self, Order};
use super::stored::{self, StoredVm};
use crate::{Error, ErrorKind, ImageName, Store};

/// How long release 0.25 may take to end a VM.
const PATIENCE: Duration = Duration::from_secs(60);
const INTERVAL: Duration = Duration::from_millis(50);

impl Store {
    /// Ends VMs that run, also those of other processes, and waits for their ends: the guest is asked to shut down, and
    /// QEMU is ended if it does not in time; with `kill`, QEMU is killed at once.
    ///
    /// # Errors
    ///
    /// [`crate::ErrorKind::VmNotRunning`], before any VM is ended; [`crate::ErrorKind::Timeout`] when the owner of a VM
    /// does not answer.
    pub fn stop_vms(&self, names: &[ImageName], kill: bool) -> Result<(), Error> {
        let running = names
            .iter()
            .map(|name| find_running(self, name)?.ok_or_else(|| not_running(name)))
            .collect::<Result<Vec<_>, Error>>()?;
        running.iter().try_for_each(|vm| stop(vm, kill))
    }

    /// Removes VMs of the VM store with their disks: all or none. With `force`, those that run are stopped first, and
    /// what is broken is removed as well.
    ///
    /// # Errors
    ///
    /// [`crate::ErrorKind::VmNotFound`]; [`crate::ErrorKind::VmInUse`] without `force`.
    pub fn remove_vms(&self, names: &[ImageName], force: bool) -> Result<(), Error> {
        if let Some(name) = names.iter().find(|name| !stored::is_there(self, name)) {
            return Err(stored::not_found(self, name));
        }
        if !force {
            let taken =
                names.iter().map(|name| StoredVm::take(self, name)).collect::<Result<Vec<_>, Error>>()?;
            return taken.into_iter().try_for_each(|vm| vm.remove());
        }
        for name in names {
            if let Some(vm) = find_running(self, name)?
                && let Err(error) = stop(&vm, false).or_else(|_| stop(&vm, true))
            {
                tracing::warn!("{}", error.report());
            }
            stored::remove_by_force(self, name)?;
        }
        Ok(())
    }
}

fn stop(vm: &AnyRunning, kill: bool) -> Result<(), Error> {
    match vm {
        AnyRunning::Ours(vm) => match vm.order(if kill { Order::Kill } else { Order::ShutDown }) {
            Err(_) if kill => {
                vm.kill();
                Ok(())
            }
            ordered => ordered,
        },
        AnyRunning::Legacy(vm) => stop_legacy(vm, kill),
    }
}

/// Release 0.25 ends its VM in order at SIGTERM; killed, it takes QEMU along.
fn stop_legacy(vm: &super::legacy::Found, kill: bool) -> Result<(), Error> {
    let (owner, qemu) = (vm.about.transient_pid, vm.qemu);
    let signal = if kill { Signal::KILL } else { Signal::TERM };
    for pid in [Some(owner), kill.then_some(qemu)].into_iter().flatten() {
        if let Some(pid) = Pid::from_raw(pid.cast_signed()) {
            let _ = rustix::process::kill_process(pid, signal);
        }
    }
    let begun = Instant::now();
    while running::start_of(qemu).is_some() || running::start_of(owner).is_some() {
        if begun.elapsed() > PATIENCE {
            let message = format!("the VM '{}' (process {owner}) does not end", vm.about.name);
            return Err(
                Error::new(ErrorKind::Timeout, message).hint("`transient stop --kill` ends it all the same")
            );
        }
        thread::sleep(INTERVAL);
    }
    Ok(())
}

pub(super) fn not_running(name: &ImageName) -> Error {
    Error::new(ErrorKind::VmNotRunning, format!("No running VM found with the name '{name}'"))
        .hint("`transient ps` lists those that run")
}
