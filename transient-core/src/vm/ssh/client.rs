//! The library's own SSH client.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use russh::client::{Config, Handle, Handler, Msg};
use russh::keys::agent::client::AgentClient;
use russh::keys::{PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig};
use tokio::net::{TcpStream, UnixStream};

use super::identity::{Identity, identities};
use super::{Target, no_answer, wait};
use crate::event::Stream;
use crate::terminal::{self, Keys, Start};
use crate::vm::host_key::HostKey;
use crate::{Error, ErrorKind, Terminal};

/// How many keys are tried on one connection: OpenSSH's server hangs up after six.
const KEYS_AT_A_TIME: usize = 5;
/// A guest that is still starting may turn everybody away for a while.
const DENIAL_PATIENCE: Duration = Duration::from_secs(5);
/// How often a channel is opened for one command.
const ATTEMPTS: usize = 5;
const RETRY_PAUSE: Duration = Duration::from_millis(300);

/// A connection that the guest has accepted. It carries any number of commands at once.
pub(in crate::vm) struct Connection(Handle<Pinned>);

/// Accepts the guest that is known, or one that is met for the first time.
struct Pinned(Arc<HostKey>);

impl Handler for Pinned {
    type Error = russh::Error;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = key else { return Ok(false) };
        // Without the comment, which may be anything.
        let key = russh::keys::PublicKey::from(key.key_data().clone());
        Ok(key.to_openssh().is_ok_and(|key| self.0.accepts(&key)))
    }
}

/// Why one attempt to log in came to nothing.
enum Denied {
    /// Another attempt may succeed.
    ForNow(Error),
    /// No key is let in.
    Keys(Error),
    Final(Error),
}

impl Connection {
    /// Logs in. Waits for a guest that is still booting.
    pub(in crate::vm) async fn open(target: &Target) -> Result<Self, Error> {
        let mut last = None;
        let timeout = target.options.timeout;
        match tokio::time::timeout(timeout, Self::keep_trying(target, &mut last)).await {
            Ok(opened) => opened,
            Err(_) => Err(no_answer(timeout, last)),
        }
    }

    async fn keep_trying(target: &Target, last: &mut Option<Error>) -> Result<Self, Error> {
        let identities = identities(target).await?;
        let mut denied_since = None;
        loop {
            for keys in identities.chunks(KEYS_AT_A_TIME) {
                let stream = wait::greeted(target.port).await?;
                match Self::log_in(target, stream, keys).await {
                    Ok(connection) => return Ok(connection),
                    Err(Denied::Final(error)) => return Err(error),
                    Err(Denied::Keys(error)) => *last = Some(error),
                    Err(Denied::ForNow(error)) => {
                        *last = Some(error);
                        denied_since = None;
                        break;
                    }
                }
            }
            if last.as_ref().is_some_and(|error| error.kind() == ErrorKind::SshFailed) {
                let since = *denied_since.get_or_insert_with(Instant::now);
                if since.elapsed() > DENIAL_PATIENCE {
                    return Err(not_let_in(target, &identities));
                }
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    async fn log_in(target: &Target, stream: TcpStream, keys: &[Identity]) -> Result<Self, Denied> {
        let _ = stream.set_nodelay(true);
        // A guest may be paused for as long as one likes: whether it lives is watched otherwise.
        let config = Config { inactivity_timeout: None, nodelay: true, ..Config::default() };
        let handler = Pinned(Arc::clone(&target.host_key));
        let mut handle = match russh::client::connect_stream(Arc::new(config), stream, handler).await {
            Ok(handle) => handle,
            Err(russh::Error::UnknownKey) => return Err(Denied::Final(other_guest())),
            Err(error) => return Err(Denied::ForNow(lost(error))),
        };
        for key in keys {
            match authenticate(&mut handle, target, key).await {
                Ok(true) => return Ok(Self(handle)),
                Ok(false) => {}
                Err(error) => return Err(Denied::ForNow(lost(error))),
            }
        }
        Err(Denied::Keys(Error::new(ErrorKind::SshFailed, "no key is let in")))
    }

    /// Whether it is of no use any more.
    pub(in crate::vm) fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    pub(in crate::vm) async fn channel(&self) -> Result<Channel<Msg>, Error> {
        self.0.channel_open_session().await.map_err(lost)
    }

    /// Runs a command, or a shell that is no one's terminal. Returns its exit status, 128 + n for signal n. One that takes
    /// too long is ended, as far as the guest lets us.
    pub(in crate::vm) async fn run(
        &self,
        command: Option<&str>,
        input: Input,
        timeout: Option<Duration>,
        mut output: impl AsyncFnMut(Stream, &[u8]),
    ) -> Result<u32, Error> {
        let (mut reader, running) = self.begin(command).await?;
        let writer = running.writer();
        let feeding = feed(input, writer);
        tokio::pin!(feeding);
        let late = late(timeout);
        tokio::pin!(late);
        let mut status = None;
        let mut fed = false;
        loop {
            tokio::select! {
                biased;
                message = reader.wait() => match message {
                    Some(ChannelMsg::Data { data }) => output(Stream::Stdout, &data).await,
                    Some(ChannelMsg::ExtendedData { data, .. }) => output(Stream::Stderr, &data).await,
                    Some(message) => note(&message, &mut status)?,
                    None => break,
                },
                () = &mut feeding, if !fed => fed = true,
                error = &mut late => return Err(error),
            }
        }
        running.ended.set(true);
        status.ok_or_else(|| lost("the channel closed without an exit status"))
    }

    /// Has a command begin. A server may close a channel that has run nothing yet, when another one ends (dropbear does);
    /// then another is opened.
    async fn begin(&self, command: Option<&str>) -> Result<(ChannelReadHalf, Started), Error> {
        for _ in 0..ATTEMPTS {
            let (mut reader, writer) = self.channel().await?.split();
            let asked = match command {
                Some(command) => writer.exec(true, command).await,
                None => writer.request_shell(true).await,
            };
            if let Err(error) = asked {
                tracing::debug!("a channel closed at once: {error}");
                continue;
            }
            loop {
                match reader.wait().await {
                    Some(ChannelMsg::Success) => return Ok((reader, Started::new(writer))),
                    Some(ChannelMsg::Failure) => return Err(refused()),
                    Some(_) => {}
                    None => break,
                }
            }
        }
        Err(lost("the guest's SSH server closes every channel"))
    }

    /// Gives a terminal a shell, or a command.
    pub(in crate::vm) async fn join(&self, terminal: &Terminal, command: Option<&str>) -> Result<u32, Error> {
        let start = command.map_or(Start::Shell, Start::Command);
        terminal::join(self.channel().await?, terminal, start, lost).await
    }

    /// Says goodbye.
    pub(in crate::vm) async fn close(&self) {
        let _ = self.0.disconnect(russh::Disconnect::ByApplication, "", "").await;
    }
}

/// A command that has begun. When this is dropped, it is ended, and its channel closed.
struct Started {
    writer: Arc<ChannelWriteHalf<Msg>>,
    /// Whether it has ended by itself.
    ended: Cell<bool>,
}

impl Started {
    fn new(writer: ChannelWriteHalf<Msg>) -> Self {
        Self { writer: Arc::new(writer), ended: Cell::new(false) }
    }

    fn writer(&self) -> &ChannelWriteHalf<Msg> {
        &self.writer
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if self.ended.get() {
            return;
        }
        let writer = Arc::clone(&self.writer);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                // Some servers wait for its end before they close anything.
                let _ = writer.signal(Sig::TERM).await;
                writer.close().await
            });
        }
    }
}

/// What a command reads.
pub(in crate::vm) enum Input {
    Bytes(Vec<u8>),
    Keys(Keys),
}

/// Has a command read all input. A command that does not want it is no failure.
async fn feed(input: Input, writer: &ChannelWriteHalf<Msg>) {
    match input {
        Input::Bytes(bytes) if bytes.is_empty() => {}
        Input::Bytes(bytes) => drop(writer.data_bytes(bytes).await),
        Input::Keys(mut keys) => {
            while let Some(Ok(keys)) = keys.recv().await {
                if writer.data_bytes(keys).await.is_err() {
                    return;
                }
            }
        }
    }
    let _ = writer.eof().await;
}

/// Waits until a command has taken too long.
pub(in crate::vm) async fn late(timeout: Option<Duration>) -> Error {
    let Some(timeout) = timeout else { return std::future::pending().await };
    tokio::time::sleep(timeout).await;
    let message = format!("the command did not end within {} s", timeout.as_secs_f64());
    Error::new(ErrorKind::Timeout, message)
}

/// Takes note of how a command ended.
pub(in crate::vm) fn note(message: &ChannelMsg, status: &mut Option<u32>) -> Result<(), Error> {
    match message {
        ChannelMsg::ExitStatus { exit_status } => *status = Some(*exit_status),
        ChannelMsg::ExitSignal { signal_name, .. } => *status = Some(128 + number(signal_name)),
        ChannelMsg::Failure => {
            return Err(refused());
        }
        _ => {}
    }
    Ok(())
}

fn refused() -> Error {
    Error::new(ErrorKind::SshFailed, "the guest's SSH server refuses to run a command")
}

/// The number of a signal (signal(7)); those that are not known count as SIGTERM.
fn number(signal: &Sig) -> u32 {
    match signal {
        Sig::HUP => 1,
        Sig::INT => 2,
        Sig::QUIT => 3,
        Sig::ILL => 4,
        Sig::ABRT => 6,
        Sig::FPE => 8,
        Sig::KILL => 9,
        Sig::USR1 => 10,
        Sig::SEGV => 11,
        Sig::PIPE => 13,
        Sig::ALRM => 14,
        Sig::TERM | Sig::Custom(_) => 15,
    }
}

async fn authenticate(
    handle: &mut Handle<Pinned>,
    target: &Target,
    identity: &Identity,
) -> Result<bool, russh::Error> {
    let user = &target.options.user;
    match identity {
        Identity::Key { key, .. } => {
            let hash = match key.algorithm().is_rsa() {
                true => handle.best_supported_rsa_hash().await?.flatten(),
                false => None,
            };
            let key = PrivateKeyWithHashAlg::new(Arc::clone(key), hash);
            Ok(handle.authenticate_publickey(user, key).await?.success())
        }
        Identity::Agent { key, .. } => {
            let Some(path) = &target.identities.agent else { return Ok(false) };
            let Ok(mut agent) = AgentClient::<UnixStream>::connect_uds(path).await else { return Ok(false) };
            let hash = match key.algorithm().is_rsa() {
                true => handle.best_supported_rsa_hash().await?.flatten(),
                false => None,
            };
            // An agent that does not sign, for its user said no, is no reason to end.
            let signed = handle.authenticate_publickey_with(user, key.clone(), hash, &mut agent).await;
            Ok(signed.is_ok_and(|result| result.success()))
        }
    }
}

fn not_let_in(target: &Target, tried: &[Identity]) -> Error {
    let names: Vec<&str> = tried.iter().map(Identity::name).collect();
    let message = format!("the guest lets nobody in as '{}' by {}", target.options.user, names.join(", "));
    Error::new(ErrorKind::SshFailed, message)
        .hint("--ssh-user and --ssh-key say who logs in, and with which private key")
}

fn other_guest() -> Error {
    let message = "the guest shows another SSH host key than before: it may be another machine";
    Error::new(ErrorKind::SshFailed, message)
        .hint("if its keys were made anew, remove the line '# ssh-host-key' from the VM's file 'config' in the VM store")
}

/// The connection is gone; the machine's watchers may know why.
pub(in crate::vm) fn lost(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(ErrorKind::ConnectionLost, "the SSH connection to the guest was lost").caused_by(cause)
}
