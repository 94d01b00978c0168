//! A machine: a QEMU process and its private channels.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as BlockingStream;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::Signal;
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use super::arguments::{
    CONSOLE_FD, CONTROL_FD, Configuration, DATA_FD, GUEST_FRAMES_FD, MEMORY_FD, Memory, PASSED_FRAMES_FD,
    QMP_FD,
};
use super::process::Launch;
use super::qmp::Monitor;
use super::trouble::Watch;
use super::{console, gate, process};
use crate::{Error, ErrorKind};

/// How long a trouble may take to be noticed after something else failed because of it.
const TROUBLE_DELAY: Duration = Duration::from_millis(500);
/// How long QEMU may take to end after it was told to.
const QUIT_TIMEOUT: Duration = Duration::from_secs(5);

/// A running QEMU. Dropping it kills the process; [`Machine::kill`] also waits for its end.
#[derive(Debug)]
pub(crate) struct Machine {
    watch: Watch,
    process: JoinHandle<Option<ExitStatus>>,
    kill: Option<oneshot::Sender<()>>,
}

/// The host's ends of the channels into the guest.
#[derive(Debug)]
pub(crate) struct Channels {
    pub(crate) monitor: UnixStream,
    pub(crate) control: UnixStream,
    pub(crate) data: BlockingStream,
}

impl Machine {
    /// Starts QEMU. Nothing is waited for yet.
    ///
    /// `processes` ends only after the process has, also when the machine is dropped.
    pub(crate) fn start(
        configuration: &Configuration,
        memory: Memory,
        processes: &TaskTracker,
    ) -> Result<(Self, Channels), Error> {
        let (qmp, qmp_theirs) = pair()?;
        let (control, control_theirs) = pair()?;
        let (data, data_theirs) = pair()?;
        let (console, console_theirs) = pair()?;
        let mut descriptors = vec![
            (QMP_FD, OwnedFd::from(qmp_theirs)),
            (CONTROL_FD, control_theirs.into()),
            (DATA_FD, data_theirs.into()),
            (CONSOLE_FD, console_theirs.into()),
        ];
        if configuration.network {
            let (guest, guest_theirs) = pair()?;
            let (network, network_theirs) = pair()?;
            descriptors.push((GUEST_FRAMES_FD, guest_theirs.into()));
            descriptors.push((PASSED_FRAMES_FD, network_theirs.into()));
            tokio::spawn(gate::keep(nonblocking(guest)?, nonblocking(network)?));
        }
        let arguments = configuration.arguments(&memory);
        descriptors.extend(memory.into_file().map(|file| (MEMORY_FD, file.into())));
        let child = process::spawn(Launch {
            program: configuration.program.clone(),
            arguments,
            descriptors,
            environment: Vec::new(),
            death_signal: Signal::KILL,
            background: configuration.background,
            inherits_stdio: false,
        })?;
        let watch = Watch::of_builder();
        let (kill, killed) = oneshot::channel();
        let process = processes.spawn(process::watch(child, killed, watch.clone()));
        tokio::spawn(console::watch(nonblocking(console)?, watch.clone()));
        let machine = Self { watch, process, kill: Some(kill) };
        Ok((machine, Channels { monitor: nonblocking(qmp)?, control: nonblocking(control)?, data }))
    }

    /// Connects to QEMU's monitor.
    pub(crate) async fn monitor(&self, stream: UnixStream, timeout: Duration) -> Result<Monitor, Error> {
        Monitor::connect(stream, timeout, self.watch.clone()).await
    }

    /// Carries out work that needs the machine; a trouble of the machine ends it, and explains its failure.
    pub(crate) async fn guard<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        tokio::select! {
            biased;
            error = self.watch.trouble() => Err(self.explained(error).await),
            result = work => match result {
                Err(error) if error.kind() == ErrorKind::ConnectionLost => Err(self.explained(error).await),
                result => result,
            },
        }
    }

    /// Returns the error that says most about why `error` came: what explains it may come a moment later.
    async fn explained(&self, error: Error) -> Error {
        tokio::time::sleep(TROUBLE_DELAY / 5).await;
        tokio::time::timeout(TROUBLE_DELAY, self.watch.trouble()).await.unwrap_or(error)
    }

    /// Returns the last lines of the guest's console.
    pub(crate) fn console(&self) -> String {
        self.watch.console()
    }

    /// Returns the names of the processes that the guest killed for want of memory since the last call.
    pub(crate) fn take_memory_kills(&self) -> Vec<String> {
        self.watch.take_memory_kills()
    }

    /// Ends QEMU and waits until the process is gone, and with it its lock on the disk.
    pub(crate) async fn quit(mut self, monitor: Monitor) {
        let quitting = async {
            monitor.quit().await;
            let _ = (&mut self.process).await;
        };
        if tokio::time::timeout(QUIT_TIMEOUT, quitting).await.is_err() {
            self.kill().await;
        }
    }

    /// Kills QEMU and waits until the process is gone.
    pub(crate) async fn kill(mut self) {
        drop(self.kill.take());
        if !self.process.is_finished() {
            let _ = (&mut self.process).await;
        }
    }
}

pub(crate) fn pair() -> Result<(BlockingStream, BlockingStream), Error> {
    BlockingStream::pair().map_err(|error| Error::io("cannot make a socket pair", error))
}

pub(crate) fn nonblocking(stream: BlockingStream) -> Result<UnixStream, Error> {
    stream
        .set_nonblocking(true)
        .and_then(|()| UnixStream::from_std(stream))
        .map_err(|error| Error::io("cannot use a socket pair", error))
}
