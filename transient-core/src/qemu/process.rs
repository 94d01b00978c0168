//! The process itself: started with nothing inherited but what it is given, never left behind.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::process::Stdio;

use command_fds::{CommandFdExt, FdMapping};
use rustix::process::Pid;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

use super::arguments::Configuration;
use super::trouble::{Trouble, Watch};
use crate::{Error, ErrorKind};

/// How much of QEMU's own words is kept.
const WORDS_MAX: u64 = 16 * 1024;

/// The least that a process can ask of the host's processors (`setpriority(2)`).
const NICEST: i32 = 19;

/// Starts QEMU with these descriptors, each under its number.
pub(crate) fn spawn(
    configuration: &Configuration,
    arguments: Vec<OsString>,
    descriptors: Vec<(i32, OwnedFd)>,
) -> Result<Child, Error> {
    let mut command = std::process::Command::new(&configuration.program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    // Its messages are shown to people and looked at: not in their language.
    command.env("LC_ALL", "C");
    tracing::info!(target: "transient::run", "{command:?}");
    let mappings =
        descriptors.into_iter().map(|(child_fd, parent_fd)| FdMapping { parent_fd, child_fd }).collect();
    command.fd_mappings(mappings).map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
    crate::sys::die_with_parent(&mut command);
    let mut command = Command::from(command);
    command.kill_on_drop(true);
    let child = command.spawn().map_err(|error| not_started(configuration, &error))?;
    if configuration.background {
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

fn not_started(configuration: &Configuration, error: &std::io::Error) -> Error {
    let name = configuration.program.display();
    if error.kind() == std::io::ErrorKind::NotFound {
        return Error::new(ErrorKind::MissingProgram, format!("Required program '{name}' is not installed"))
            .hint("install the package qemu-system-x86 (Debian, Ubuntu) or qemu-system-x86-core (Fedora)");
    }
    Error::new(ErrorKind::ProgramFailed, format!("Could not run required program '{name}': {error}"))
}

/// Waits for the end of the process, and reports it with what it said.
pub(crate) async fn watch(mut child: Child, kill: tokio::sync::oneshot::Receiver<()>, watch: Watch) {
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
                Ok(status) => (status.to_string(), status.success()),
                Err(error) => (error.to_string(), false),
            },
            // Also when the machine is dropped, which drops the sender.
            _ = kill => {
                let _ = child.kill().await;
                ("killed".to_owned(), false)
            }
        }
    };
    let ((status, success), words) = tokio::join!(ended, words);
    watch.report(Trouble::Exited { status, success, words });
}
