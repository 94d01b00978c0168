//! OpenSSH's own client, for those who ask for it.

use std::ffi::OsString;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::identity::well_known_text;
use super::{Target, lost, no_answer, wait};
use crate::event::Stream;
use crate::vm::SshInput;
use crate::{Error, ErrorKind, Terminal};

/// What it ends with when there is no connection (ssh(1)).
const NO_CONNECTION: i32 = 255;
const PIECE: usize = 32 * 1024;

/// A program like OpenSSH's, and what it needs for one guest.
pub(in crate::vm) struct OpenSsh {
    program: PathBuf,
    arguments: Vec<OsString>,
    target: Target,
    /// The guest's host key, and the well-known key to log in with.
    folder: TempDir,
}

impl OpenSsh {
    /// Prepares it for a guest. Waits for one that is still booting.
    pub(in crate::vm) async fn prepare(target: &Target, program: PathBuf) -> Result<Self, Error> {
        let failed = |error| Error::io("cannot write files for SSH", error);
        let timeout = target.options.timeout;
        let greeted = tokio::time::timeout(timeout, wait::greeted(target.port)).await;
        drop(greeted.map_err(|_| no_answer(timeout, None))??);
        let folder = tempfile::tempdir().map_err(failed)?;
        let (hosts, key) = (folder.path().join("known_hosts"), folder.path().join("vagrant.key"));
        let known = target.host_key.known();
        let line = known.as_ref().map(|key| format!("[127.0.0.1]:{} {key}\n", target.port));
        std::fs::write(&hosts, line.unwrap_or_default()).map_err(failed)?;
        std::fs::File::create(&key)
            .and_then(|mut file| {
                file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
                file.write_all(well_known_text().as_bytes())
            })
            .map_err(failed)?;
        let strict = if known.is_some() { "yes" } else { "accept-new" };
        let mut arguments: Vec<OsString> = Vec::new();
        let mut option = |text: String| arguments.extend(["-o".into(), text.into()]);
        // What the user gives counts first.
        target.options.options.iter().for_each(|given| option(given.clone()));
        option(format!("UserKnownHostsFile={}", hosts.display()));
        option(format!("StrictHostKeyChecking={strict}"));
        option("BatchMode=yes".to_owned());
        option("LogLevel=ERROR".to_owned());
        arguments.extend(["-p".into(), target.port.to_string().into(), "-i".into()]);
        arguments.push(target.options.key.clone().unwrap_or(key).into());
        arguments.push(format!("{}@127.0.0.1", target.options.user).into());
        Ok(Self { program, arguments, target: target.clone(), folder })
    }

    /// Runs a command; returns its exit status.
    pub(in crate::vm) async fn run(
        &self,
        command: Option<&str>,
        input: SshInput,
        mut output: impl AsyncFnMut(Stream, &[u8]),
    ) -> Result<u32, Error> {
        let mut child = self.command(command);
        child.stdout(Stdio::piped()).stderr(Stdio::piped());
        let bytes = match input {
            SshInput::Bytes(bytes) => {
                child.stdin(Stdio::piped());
                bytes
            }
            SshInput::File(file) => {
                child.stdin(Stdio::from(file));
                Vec::new()
            }
        };
        let mut child = child.spawn().map_err(|error| self.not_run(&error))?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let feeding = async {
            if let Some(mut stdin) = stdin {
                // A command need not read it.
                let _ = stdin.write_all(&bytes).await;
            }
        };
        let reading = async {
            let (Some(mut stdout), Some(mut stderr)) = (stdout, stderr) else { return };
            let (mut out, mut err) = (vec![0; PIECE], vec![0; PIECE]);
            let (mut out_open, mut err_open) = (true, true);
            while out_open || err_open {
                tokio::select! {
                    read = stdout.read(&mut out), if out_open => match read {
                        Ok(length @ 1..) => output(Stream::Stdout, &out[..length]).await,
                        _ => out_open = false,
                    },
                    read = stderr.read(&mut err), if err_open => match read {
                        Ok(length @ 1..) => output(Stream::Stderr, &err[..length]).await,
                        _ => err_open = false,
                    },
                }
            }
        };
        tokio::join!(feeding, reading);
        self.conclude(child.wait().await)
    }

    /// Has it use a terminal, or what else the user's input and output are.
    pub(in crate::vm) async fn join(&self, terminal: &Terminal, command: Option<&str>) -> Result<u32, Error> {
        let copy = |descriptor: &OwnedFd| {
            descriptor
                .try_clone()
                .map(Stdio::from)
                .map_err(|error| Error::io("cannot use the terminal", error))
        };
        let mut child = self.command(command);
        child.stdin(copy(&terminal.input)?).stdout(copy(&terminal.output)?).stderr(copy(&terminal.output)?);
        let status = child.status().await;
        self.conclude(status)
    }

    fn command(&self, command: Option<&str>) -> Command {
        let mut child = std::process::Command::new(&self.program);
        child.args(&self.arguments).args(command);
        crate::sys::die_with_parent(&mut child);
        tracing::info!(target: "transient::run", "{child:?}");
        let mut child = Command::from(child);
        child.kill_on_drop(true);
        child
    }

    fn conclude(&self, status: std::io::Result<std::process::ExitStatus>) -> Result<u32, Error> {
        use std::os::unix::process::ExitStatusExt;
        self.learn();
        let status = status.map_err(|error| self.not_run(&error))?;
        match (status.code(), status.signal()) {
            (Some(NO_CONNECTION), _) => {
                Err(lost(format!("'{}' ended with status 255", self.program.display())))
            }
            (Some(code), _) => Ok(code.unsigned_abs()),
            (None, signal) => Ok(128 + signal.unwrap_or_default().unsigned_abs()),
        }
    }

    /// Pins the host key that it learned.
    fn learn(&self) {
        let hosts = std::fs::read_to_string(self.folder.path().join("known_hosts")).unwrap_or_default();
        let key = hosts.lines().find_map(|line| line.split_once(' ')).map(|(_, key)| key.trim());
        if let Some(key) = key.filter(|_| self.target.host_key.known().is_none()) {
            self.target.host_key.accepts(key);
        }
    }

    fn not_run(&self, error: &std::io::Error) -> Error {
        let name = Path::new(&self.program).display();
        if error.kind() == std::io::ErrorKind::NotFound {
            return Error::new(
                ErrorKind::MissingProgram,
                format!("Required program '{name}' is not installed"),
            )
            .hint("install the package openssh-client, or leave --ssh-bin-name and --ssh-option away");
        }
        Error::new(ErrorKind::ProgramFailed, format!("Could not run required program '{name}': {error}"))
    }
}
