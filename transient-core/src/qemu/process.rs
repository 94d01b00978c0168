//! The process itself: started with nothing inherited but what it is given, never left behind.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use command_fds::{CommandFdExt, FdMapping};
use rustix::process::{Pid, Signal};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

use super::trouble::{Trouble, Watch};
use crate::{Error, ErrorKind};

/// How much of QEMU's own words is kept.
const WORDS_MAX: u64 = 16 * 1024;

/// The least that a process can ask of the host's processors (`setpriority(2)`).
const NICEST: i32 = 19;

/// How QEMU is started.
#[derive(Debug)]
pub(crate) struct Launch {
    /// A name or a path.
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    /// What it inherits, each under its number.
    pub(crate) descriptors: Vec<(i32, OwnedFd)>,
    /// What is added to the environment.
    pub(crate) environment: Vec<(&'static str, String)>,
    /// What it gets when the thread that starts it ends.
    pub(crate) death_signal: Signal,
    /// Whether it only gets what others leave of the host's processors.
    pub(crate) background: bool,
    /// Whether it has this process's standard input and output.
    pub(crate) inherits_stdio: bool,
}

/// Starts QEMU.
pub(crate) fn spawn(launch: Launch) -> Result<Child, Error> {
    let stdio = || if launch.inherits_stdio { Stdio::inherit() } else { Stdio::null() };
    let mut command = std::process::Command::new(&launch.program);
    command.args(launch.arguments).stdin(stdio()).stdout(stdio()).stderr(Stdio::piped());
    // Its messages are shown to people and looked at: not in their language.
    command.env("LC_ALL", "C").envs(launch.environment);
    if !launch.inherits_stdio {
        // Ctrl-C in a terminal goes to the whole group; how QEMU ends is ours to decide.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
    }
    tracing::info!(target: "transient::run", "{command:?}");
    let mappings = launch
        .descriptors
        .into_iter()
        .map(|(child_fd, parent_fd)| FdMapping { parent_fd, child_fd })
        .collect();
    command.fd_mappings(mappings).map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
    crate::sys::signal_with_parent(&mut command, launch.death_signal);
    let mut command = Command::from(command);
    command.kill_on_drop(true);
    let child = command.spawn().map_err(|error| not_started(&launch.program, &error))?;
    if launch.background {
        yield_to_others(&child);
    }
    Ok(child)
}

/// The threads that it starts have its priority too.
fn yield_to_others(child: &Child) {
    let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    if let Err(error) = rustix::process::setpriority_process(pid, NICEST) {
        tracing::debug!("QEMU runs with the usual priority: {error}");
    }
}

fn not_started(program: &std::path::Path, error: &std::io::Error) -> Error {
    let name = program.display();
    if error.kind() == std::io::ErrorKind::NotFound {
        return Error::new(ErrorKind::MissingProgram, format!("Required program '{name}' is not installed"))
            .hint("install the package qemu-system-x86 (Debian, Ubuntu) or qemu-system-x86-core (Fedora)");
    }
    Error::new(ErrorKind::ProgramFailed, format!("Could not run required program '{name}': {error}"))
}

/// Waits for the end of the process, reports it with what it said, and returns its status, if it has one.
pub(crate) async fn watch(
    mut child: Child,
    kill: tokio::sync::oneshot::Receiver<()>,
    watch: Watch,
) -> Option<ExitStatus> {
    let stderr = child.stderr.take();
    let words = async {
        let mut words = Vec::new();
        if let Some(stderr) = stderr {
            // An error while reading only means that there is no more to show.
            let _ = stderr.take(WORDS_MAX).read_to_end(&mut words).await;
        }
        String::from_utf8_lossy(&words).trim().to_owned()
    };
    let ended = async {
        tokio::select! {
            status = child.wait() => match status {
                Ok(status) => (status.to_string(), Some(status)),
                Err(error) => (error.to_string(), None),
            },
            // Also when the machine is dropped, which drops the sender.
            _ = kill => {
                let _ = child.kill().await;
                ("killed".to_owned(), None)
            }
        }
    };
    let ((status, exit), words) = tokio::join!(ended, words);
    watch.report(Trouble::Exited { status, success: exit.is_some_and(|exit| exit.success()), words });
    exit
}
