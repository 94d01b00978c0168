//! A VM in the hands of a program.

use std::fmt;
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

use super::machine::{Ended, Machine, Shared};
use super::run::After;
use super::running::Order;
use super::session::{SshCommand, SshSession};
use super::transfer;
use crate::event::{Event, Reporter};
use crate::{CancelToken, Error, ErrorKind, Terminal};

/// How often a wait looks whether it was cancelled.
const CANCEL_INTERVAL: Duration = Duration::from_millis(50);

/// A VM that runs. All calls block, and may be made from any thread, several at once.
///
/// Dropping it shuts the VM down as [`Vm::stop`] does, but copies nothing out. Whatever becomes of this process, QEMU
/// ends with it. In a forked child, dropping it ends nothing, and what needs the VM fails.
///
/// ```no_run
/// use transient_core::{CancelToken, Locations, RunOptions, SshCommand, Store, VmConfig, run};
///
/// let store = Store::new(Locations::from_env()?);
/// let mut config = VmConfig::new("debian/12");
/// config.ssh = true;
/// let cancel = CancelToken::new();
/// let vm = run(&store, &RunOptions::new(config), &mut |_| {}, &cancel)?;
/// let status = vm.ssh(SshCommand::new("hostname"), &mut |event| println!("{event:?}"), &cancel)?;
/// vm.stop(false, &mut |_| {}, &cancel)?;
/// # Ok::<(), transient_core::Error>(())
/// ```
pub struct Vm {
    pub(super) shared: Arc<Shared>,
    pub(super) thread: Mutex<Option<JoinHandle<()>>>,
    pub(super) after: Mutex<Option<After>>,
    /// The process that owns it: a forked child has a copy of this, and no business with the VM.
    pub(super) process: u32,
}

impl fmt::Debug for Vm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Vm").field("name", &self.shared.name).finish_non_exhaustive()
    }
}

impl Vm {
    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Returns the name of the image that it started from.
    pub fn image(&self) -> &str {
        &self.shared.image
    }

    /// Returns the number of the QEMU process.
    pub fn qemu_pid(&self) -> u32 {
        self.shared.qemu
    }

    /// Returns the port of this host's loopback that leads to the guest's port 22, if it is reached by SSH.
    pub fn ssh_port(&self) -> Option<u16> {
        self.shared.ssh_port
    }

    /// Whether QEMU runs.
    pub fn is_running(&self) -> bool {
        self.shared.ended.borrow().is_none()
    }

    /// Returns what came over the serial console, the last 4 MiB of it.
    pub fn serial(&self) -> Vec<u8> {
        self.shared.console.text()
    }

    /// Runs a command in the guest by SSH, and waits for its end; for a guest that is still booting, too. What it writes
    /// is told as [`Event::Output`]. Returns its exit status, 128 + n if signal n ended it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Timeout`] when the guest does not accept SSH in time, or the command takes too long;
    /// [`ErrorKind::SshFailed`] when it lets nobody in; [`ErrorKind::GuestPanic`], [`ErrorKind::QemuFailed`],
    /// [`ErrorKind::ConnectionLost`] when it ends meanwhile; [`ErrorKind::VmNotRunning`].
    pub fn ssh(
        &self,
        command: SshCommand,
        listener: &mut dyn FnMut(Event),
        cancel: &CancelToken,
    ) -> Result<u32, Error> {
        self.work(listener, cancel, async move |machine, reporter| {
            machine.attend(SshSession::Command(command), &reporter).await
        })
    }

    /// Gives a terminal a shell in the guest by SSH, or a command, and waits for its end. Without a terminal at both of
    /// its ends, the shell gets none, and the input is what it reads. Returns its exit status.
    ///
    /// # Errors
    ///
    /// As [`Vm::ssh`].
    pub fn ssh_terminal(
        &self,
        terminal: Terminal,
        command: Option<String>,
        listener: &mut dyn FnMut(Event),
        cancel: &CancelToken,
    ) -> Result<u32, Error> {
        self.work(listener, cancel, async move |machine, reporter| {
            machine.attend(SshSession::Terminal(terminal, command), &reporter).await
        })
    }

    /// Joins a terminal, or what else its ends are, to the serial console until the VM ends. Ctrl-A x ends QEMU, Ctrl-A c
    /// leads to its prompt.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::QemuFailed`] when QEMU fails; [`ErrorKind::Io`] when the terminal does.
    pub fn console(&self, terminal: Terminal, cancel: &CancelToken) -> Result<(), Error> {
        self.work(&mut |_| {}, cancel, async move |machine, _| {
            // The user's own serial port may be anywhere.
            if super::arguments::brings_serial(&machine.config) {
                return Ok(());
            }
            machine.console.join(&terminal).await
        })?;
        self.wait(None, cancel).map(drop)
    }

    /// Waits until the VM has ended, or `timeout` is over. Returns whether it has ended.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::QemuFailed`] when QEMU ended with an error.
    pub fn wait(&self, timeout: Option<Duration>, cancel: &CancelToken) -> Result<bool, Error> {
        let begun = std::time::Instant::now();
        self.check_process()?;
        while self.is_running() {
            cancel.check()?;
            match timeout.map(|timeout| timeout.saturating_sub(begun.elapsed())) {
                Some(Duration::ZERO) => return Ok(false),
                left => std::thread::sleep(left.unwrap_or(CANCEL_INTERVAL).min(CANCEL_INTERVAL)),
            }
        }
        match &*self.shared.ended.borrow() {
            Some(Ended { status: Some(status) }) if !status.success() => {
                let message = format!("QEMU ended with an error ({status})");
                Err(Error::new(ErrorKind::QemuFailed, message).with_output(self.shared.words()))
            }
            _ => Ok(true),
        }
    }

    /// Has QEMU carry out a QMP command, an object such as `{"execute": "query-status"}`, and returns what it returns:
    /// <https://www.qemu.org/docs/master/interop/qemu-qmp-ref.html>.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::QemuFailed`] with QEMU's words when it refuses; [`ErrorKind::VmNotRunning`].
    pub fn qmp(&self, command: &Value) -> Result<Value, Error> {
        let command = command.clone();
        self.work(&mut |_| {}, &CancelToken::new(), async move |machine, _| {
            machine.guard(async { machine.commands.lock().await.execute(&command).await }).await
        })
    }

    /// Copies a file or folder of this host into the running guest by SSH, with modes, times and links. It needs `tar`
    /// there. `destination` is a folder that exists, or else the new name.
    ///
    /// # Errors
    ///
    /// As [`Vm::ssh`]; [`ErrorKind::CommandFailed`] with what `tar` said.
    pub fn copy_in(
        &self,
        source: &Path,
        destination: &Path,
        listener: &mut dyn FnMut(Event),
        cancel: &CancelToken,
    ) -> Result<(), Error> {
        let (source, destination) = (source.to_owned(), destination.to_owned());
        self.work(listener, cancel, async move |machine, reporter| {
            transfer::copy_in(&machine, &source, &destination, &reporter).await
        })
    }

    /// Copies a file or folder out of the running guest by SSH, with modes, times and links. It needs `tar` there.
    /// `destination` is a folder that exists, or else the new name.
    ///
    /// # Errors
    ///
    /// As [`Vm::copy_in`].
    pub fn copy_out(
        &self,
        source: &Path,
        destination: &Path,
        listener: &mut dyn FnMut(Event),
        cancel: &CancelToken,
    ) -> Result<(), Error> {
        let (source, destination) = (source.to_owned(), destination.to_owned());
        self.work(listener, cancel, async move |machine, reporter| {
            transfer::copy_out(&machine, &source, &destination, &reporter).await
        })
    }

    /// Ends the VM, and waits for its end: the guest is asked to shut down, and QEMU ended if it does not in time; with
    /// `kill`, QEMU is killed. Then what [`super::RunOptions::copy_out_after`] names is copied out, and a VM without a
    /// name is removed. A VM that has ended is no error.
    ///
    /// A `cancel` kills QEMU, and then nothing is copied.
    ///
    /// # Errors
    ///
    /// Those of copying out.
    pub fn stop(
        &self,
        kill: bool,
        listener: &mut dyn FnMut(Event),
        cancel: &CancelToken,
    ) -> Result<(), Error> {
        if self.process != std::process::id() {
            return Ok(());
        }
        let _ = self.shared.orders.send(if kill { Order::Kill } else { Order::ShutDown });
        while self.is_running() {
            if cancel.is_cancelled() {
                let _ = self.shared.orders.send(Order::Kill);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.join();
        let after = self.after.lock().ok().and_then(|mut after| after.take());
        let copied = match after {
            Some(after) if !cancel.is_cancelled() => after.copy_out(listener, cancel),
            _ => Ok(()),
        };
        self.release();
        cancel.check()?;
        copied
    }

    fn join(&self) {
        let thread = self.thread.lock().ok().and_then(|mut thread| thread.take());
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }

    /// Lets go of the disks, which removes those that are not kept.
    fn release(&self) {
        if let Ok(mut keeps) = self.shared.keeps.lock() {
            *keeps = super::machine::Keeps::Nothing;
        }
    }

    /// Has the VM's own thread do work, whose events are told here.
    pub(super) fn work<T: Send + 'static>(
        &self,
        listener: &mut dyn FnMut(Event),
        cancel: &CancelToken,
        work: impl AsyncFnOnce(Rc<Machine>, Reporter) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        cancel.check()?;
        self.check_process()?;
        if !self.is_running() {
            return Err(self.has_ended());
        }
        let (reporter, events) = Reporter::channel();
        let (done, result) = std::sync::mpsc::sync_channel(1);
        // A listener that panics ends the work too.
        let cancel = cancel.child();
        let on_panic = cancel.clone().drop_guard();
        let job = Box::new(move |machine: Rc<Machine>| -> std::pin::Pin<Box<dyn Future<Output = ()>>> {
            Box::pin(async move {
                let result = tokio::select! {
                    biased;
                    () = cancel.cancelled() => Err(Error::cancelled()),
                    result = work(machine, reporter.clone()) => result,
                };
                drop(reporter);
                let _ = done.send(result);
            })
        });
        if self.shared.jobs.send(job).is_err() {
            return Err(self.has_ended());
        }
        while let Ok(event) = events.recv_blocking() {
            listener(event);
        }
        on_panic.disarm();
        result.recv().unwrap_or_else(|_| Err(self.has_ended()))
    }

    /// In a forked child, nobody answers: the VM's own thread is not there.
    fn check_process(&self) -> Result<(), Error> {
        if self.process == std::process::id() {
            return Ok(());
        }
        let message = format!("the VM '{}' belongs to process {}", self.shared.name, self.process);
        Err(Error::new(ErrorKind::VmNotRunning, message).hint("a child that was forked cannot use it"))
    }

    fn has_ended(&self) -> Error {
        Error::new(ErrorKind::VmNotRunning, format!("the VM '{}' has ended", self.shared.name))
            .with_output(self.shared.words())
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        if self.process != std::process::id() {
            // A thread that is not there cannot be joined, nor may the disks be removed.
            std::mem::forget(self.thread.lock().map(|mut thread| thread.take()));
            std::mem::forget(Arc::clone(&self.shared));
            return;
        }
        let _ = self.shared.orders.send(Order::ShutDown);
        self.join();
        self.release();
    }
}

impl Shared {
    /// The last lines of the console, for an error.
    fn words(&self) -> String {
        let text = self.console.text();
        let tail = &text[text.len().saturating_sub(2000)..];
        String::from_utf8_lossy(tail)
            .chars()
            .filter(|character| *character == '\n' || !character.is_control())
            .collect()
    }
}
