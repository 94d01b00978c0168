//! What is done over SSH, by whichever client.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use super::machine::Machine;
use super::ssh::{Connection, Input, OpenSsh, Target, late};
use crate::event::{Event, Reporter};
use crate::{Error, ErrorKind, Terminal, terminal};

/// A command for a guest.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct SshCommand {
    /// The command, as the guest's shell takes it; `None` is a shell, which reads its commands from the input.
    pub command: Option<String>,
    /// What it reads.
    pub input: SshInput,
    /// How long it may take, from when the guest has accepted SSH; `None` is as long as it likes.
    pub timeout: Option<Duration>,
}

/// What a command reads.
#[derive(Debug)]
#[non_exhaustive]
pub enum SshInput {
    /// These bytes.
    Bytes(Vec<u8>),
    /// A file, pipe or terminal, until its end.
    File(OwnedFd),
}

impl Default for SshInput {
    fn default() -> Self {
        Self::Bytes(Vec::new())
    }
}

impl SshCommand {
    /// Returns a command that reads nothing.
    pub fn new(command: impl Into<String>) -> Self {
        Self { command: Some(command.into()), ..Self::default() }
    }
}

/// What is done over SSH.
#[derive(Debug)]
pub enum SshSession {
    /// A command runs; what it writes is told as [`Event::Output`].
    Command(SshCommand),
    /// A terminal gets a shell, or runs a command. Without a terminal at both of its ends, the shell gets none, and the
    /// input is what it reads.
    Terminal(Terminal, Option<String>),
}

/// How commands reach a guest.
pub(super) enum Client {
    Own(Rc<Connection>),
    OpenSsh(Box<OpenSsh>),
}

impl Client {
    /// Returns the client that is asked for. Waits for a guest that is still booting.
    pub(super) async fn open(
        target: &Target,
        connect: impl Future<Output = Result<Rc<Connection>, Error>>,
    ) -> Result<Self, Error> {
        match target.options.openssh() {
            Some(program) => OpenSsh::prepare(target, program).await.map(|ssh| Self::OpenSsh(Box::new(ssh))),
            None => connect.await.map(Self::Own),
        }
    }

    /// Does what is to be done, and returns the exit status.
    pub(super) async fn attend(&self, session: SshSession, reporter: &Reporter) -> Result<u32, Error> {
        match session {
            SshSession::Command(command) => self.run(command, reporter).await,
            SshSession::Terminal(terminal, command) if !terminal::is_terminal(&terminal) => {
                let input = SshInput::File(terminal.input);
                self.run(SshCommand { command, input, timeout: None }, reporter).await
            }
            SshSession::Terminal(terminal, command) => match self {
                Self::Own(connection) => connection.join(&terminal, command.as_deref()).await,
                Self::OpenSsh(program) => program.join(&terminal, command.as_deref()).await,
            },
        }
    }

    async fn run(&self, command: SshCommand, reporter: &Reporter) -> Result<u32, Error> {
        let output = async |stream, data: &[u8]| {
            reporter.send(Event::Output { stream, data: data.to_vec() }).await;
        };
        let (text, timeout) = (command.command.as_deref(), command.timeout);
        match self {
            Self::Own(connection) => connection.run(text, input(command.input)?, timeout, output).await,
            Self::OpenSsh(program) => tokio::select! {
                ran = program.run(text, command.input, output) => ran,
                error = late(timeout) => Err(error),
            },
        }
    }
}

fn input(input: SshInput) -> Result<Input, Error> {
    Ok(match input {
        SshInput::Bytes(bytes) => Input::Bytes(bytes),
        SshInput::File(file) => Input::Keys(terminal::keys(&file)?),
    })
}

impl Machine {
    /// Returns the connection that all share, and makes it where there is none.
    pub(super) async fn connection(&self) -> Result<Rc<Connection>, Error> {
        let target = self.target.as_ref().ok_or_else(no_ssh)?;
        let mut shared = self.connection.lock().await;
        if let Some(connection) = shared.as_ref().filter(|connection| !connection.is_closed()) {
            return Ok(Rc::clone(connection));
        }
        let connection = Rc::new(Connection::open(target).await?);
        *shared = Some(Rc::clone(&connection));
        Ok(connection)
    }

    /// Does something over SSH, and returns the exit status.
    pub(super) async fn attend(&self, session: SshSession, reporter: &Reporter) -> Result<u32, Error> {
        self.guard(async { self.client(reporter).await?.attend(session, reporter).await }).await
    }

    /// Waits until the guest accepts SSH; meanwhile, what its serial console shows is told, if that is asked for.
    async fn client(&self, reporter: &Reporter) -> Result<Client, Error> {
        let target = self.target.as_ref().ok_or_else(no_ssh)?;
        let show = async {
            if self.config.ssh_with_serial {
                let shown = self.console.follow(async |data| {
                    reporter.send(Event::SerialOutput { data: data.to_vec() }).await;
                    Ok(())
                });
                let _ = shown.await;
            }
            std::future::pending().await
        };
        tokio::select! {
            opened = Client::open(target, self.connection()) => opened,
            never = show => never,
        }
    }
}

fn no_ssh() -> Error {
    Error::new(ErrorKind::VmNotRunning, "the VM was not started with SSH")
        .hint("start it with --ssh, or with --ssh-command")
}
