//! QEMU started for a VM, with its private channels, until it answers.

use std::fs::File;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::net::UnixStream;
use tokio::process::Child;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::arguments::{self, ABOUT_FD, COMMANDS_FD, CONSOLE_FD, MONITOR_FD};
use super::commands::Commands;
use super::console::Console;
use super::legacy::{self, About};
use super::machine::Launching;
use crate::Error;
use crate::qemu::process::{self, Launch};
use crate::qemu::{Monitor, Watch, nonblocking, pair};

/// How long QEMU's own words may take to come when it has failed.
const WORDS_TIMEOUT: Duration = Duration::from_millis(500);

/// A QEMU that answers.
pub(super) struct Launched {
    pub(super) pid: u32,
    pub(super) process: JoinHandle<Option<ExitStatus>>,
    /// Kills it when it is dropped.
    pub(super) kill: oneshot::Sender<()>,
    pub(super) watch: Watch,
    pub(super) console: Arc<Console>,
    pub(super) commands: Commands,
    pub(super) monitor: Monitor,
    pub(super) ssh_port: Option<u16>,
    /// What tells release 0.25 of the VM.
    about: File,
}

/// The host's ends of the channels.
struct Channels {
    monitor: UnixStream,
    commands: UnixStream,
    /// `None` where the user has taken the serial port.
    console: Option<UnixStream>,
    about: File,
}

/// Starts QEMU. If it does not answer, it is gone when this returns.
pub(super) async fn launch(launching: &Launching) -> Result<Launched, Error> {
    let (child, channels) = spawn(launching)?;
    let pid = child.id().unwrap_or_default();
    let watch = Watch::of_vm();
    let (kill, killed) = oneshot::channel();
    let process = tokio::spawn(process::watch(child, killed, watch.clone()));
    let console = Console::new(channels.console, watch.clone());
    let (monitor, ssh_port) = match connect(launching, channels.monitor, &watch).await {
        Ok(connected) => connected,
        Err(error) => {
            drop(kill);
            let _ = process.await;
            return Err(error);
        }
    };
    let (commands, about) = (Commands::new(channels.commands), channels.about);
    Ok(Launched { pid, process, kill, watch, console, commands, monitor, ssh_port, about })
}

fn spawn(launching: &Launching) -> Result<(Child, Channels), Error> {
    let (monitor, monitor_theirs) = pair()?;
    let (commands, commands_theirs) = pair()?;
    let (console, console_theirs) = pair()?;
    let about = legacy::file().map_err(|error| Error::io("cannot make a file in memory", error))?;
    let about_theirs = about.try_clone().map_err(|error| Error::io("cannot pass a file on", error))?;
    let has_console = !arguments::brings_serial(&launching.config);
    let mut descriptors = vec![
        (MONITOR_FD, monitor_theirs.into()),
        (COMMANDS_FD, commands_theirs.into()),
        (ABOUT_FD, about_theirs),
    ];
    if has_console {
        descriptors.push((CONSOLE_FD, console_theirs.into()));
    }
    let mut environment = legacy::environment();
    let temporary = launching.temporary.as_ref();
    environment.extend(temporary.map(|folder| ("TMPDIR", folder.path().to_string_lossy().into_owned())));
    let channels = Channels {
        monitor: nonblocking(monitor)?,
        commands: nonblocking(commands)?,
        console: has_console.then(|| nonblocking(console)).transpose()?,
        about: about.into(),
    };
    let child = process::spawn(Launch {
        program: launching.config.qemu(),
        arguments: arguments::arguments(&launching.name, &launching.config, &launching.drives),
        descriptors,
        environment,
        // What is written to disks that are kept must not be torn.
        death_signal: if launching.keeps.is_nothing() { Signal::KILL } else { Signal::TERM },
        background: false,
        inherits_stdio: launching.inherits_stdio,
    })?;
    Ok((child, channels))
}

/// Connects to the monitor, and asks for the port that leads to the guest's SSH.
async fn connect(
    launching: &Launching,
    stream: UnixStream,
    watch: &Watch,
) -> Result<(Monitor, Option<u16>), Error> {
    let connecting = async {
        let monitor = Monitor::connect(stream, launching.config.qmp_timeout(), watch.clone()).await?;
        let port = if launching.config.has_ssh() { monitor.ssh_port().await? } else { None };
        Ok((monitor, port))
    };
    tokio::select! {
        biased;
        error = watch.trouble() => Err(error),
        connected = connecting => match connected {
            Err(error) => Err(tokio::time::timeout(WORDS_TIMEOUT, watch.trouble()).await.unwrap_or(error)),
            connected => connected,
        },
    }
}

impl Launched {
    /// Ends it again.
    pub(super) async fn discard(self) {
        drop(self.kill);
        let _ = self.process.await;
    }

    /// Tells release 0.25 of the VM.
    pub(super) fn tell(&self, launching: &Launching) {
        let about = About {
            name: launching.name.clone(),
            vmstore: launching.vmstore.clone(),
            primary_image: launching.image.clone(),
            stateless: launching.keeps.is_nothing(),
            transient_pid: std::process::id(),
            ssh_port: self.ssh_port,
        };
        if let Err(error) = legacy::tell(&self.about, &about) {
            tracing::warn!("release 0.25 is not told of the VM: {error}");
        }
    }
}
