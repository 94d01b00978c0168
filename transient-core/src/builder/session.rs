//! The SSH session with the guest, over the private channel.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use russh::client::{Config, Handle, Handler, Msg};
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::ssh_key::public::KeyData;
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{Channel, ChannelMsg};
use rustix::rand::{GetRandomFlags, getrandom};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use transient_guest::protocol::{Preamble, Reply, Request, SUBSYSTEM, USER};

use crate::event::Stream;
use crate::{Error, ErrorKind};

/// How long one request's replies may be in all; they are lines for people.
const REPLIES_MAX: usize = 1 << 20;

/// An SSH connection that the guest has accepted.
pub(crate) struct Session(Handle<OnlyThisHost>);

/// Accepts the one host key that was given to the guest.
struct OnlyThisHost([u8; 32]);

impl Handler for OnlyThisHost {
    type Error = russh::Error;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = key else { return Ok(false) };
        Ok(matches!(key.key_data(), KeyData::Ed25519(key) if key.0 == self.0))
    }
}

impl Session {
    /// Gives the guest this boot's fresh keys, and logs in. Waits for a guest that is still booting.
    pub(crate) async fn connect(mut control: UnixStream, network: bool) -> Result<Self, Error> {
        let host = Ed25519Keypair::from_seed(&random()?);
        let client = Ed25519Keypair::from_seed(&random()?);
        let preamble = Preamble {
            host_key_seed: host.private.to_bytes(),
            client_key: client.public.0,
            entropy: random()?,
            clock: clock(),
            network,
        };
        control.write_all(&preamble.to_bytes()).await.map_err(lost)?;
        let config = Config { inactivity_timeout: None, ..Config::default() };
        let mut handle =
            russh::client::connect_stream(Arc::new(config), control, OnlyThisHost(host.public.0))
                .await
                .map_err(lost)?;
        let key = PrivateKeyWithHashAlg::new(Arc::new(PrivateKey::from(client)), None);
        let accepted = handle.authenticate_publickey(USER, key).await.map_err(lost)?;
        if !accepted.success() {
            return Err(Error::new(
                ErrorKind::ConnectionLost,
                "the builder VM does not accept the key of this boot",
            ));
        }
        Ok(Self(handle))
    }

    pub(super) async fn channel(&self) -> Result<Channel<Msg>, Error> {
        self.0.channel_open_session().await.map_err(lost)
    }

    /// Runs a command in the image; its output goes to `output` as it comes. Returns its exit status.
    pub(crate) async fn run(
        &self,
        command: &str,
        mut output: impl AsyncFnMut(Stream, &[u8]),
    ) -> Result<u32, Error> {
        let mut channel = self.channel().await?;
        channel.exec(true, command).await.map_err(lost)?;
        // The command gets an empty standard input.
        channel.eof().await.map_err(lost)?;
        let mut status = None;
        while let Some(message) = channel.wait().await {
            match message {
                ChannelMsg::Data { data } => output(Stream::Stdout, &data).await,
                ChannelMsg::ExtendedData { data, .. } => output(Stream::Stderr, &data).await,
                ChannelMsg::ExitStatus { exit_status } => status = Some(exit_status),
                ChannelMsg::Failure => return Err(garbage("it refused to run a command")),
                _ => {}
            }
        }
        status.ok_or_else(|| lost("the channel closed without an exit status"))
    }

    /// Has the guest carry out a request. All that it answers but the last goes to `tell` as it comes.
    pub(crate) async fn request(
        &self,
        request: &Request,
        mut tell: impl AsyncFnMut(Reply),
    ) -> Result<(), Error> {
        let mut channel = self.channel().await?;
        channel.request_subsystem(true, SUBSYSTEM).await.map_err(lost)?;
        let request = serde_json::to_vec(request).map_err(garbage)?;
        channel.data_bytes(request).await.map_err(lost)?;
        channel.eof().await.map_err(lost)?;
        let mut replies = Replies::default();
        let mut status = None;
        while let Some(message) = channel.wait().await {
            match message {
                ChannelMsg::Data { data } => {
                    replies.add(&data)?;
                    while let Some(reply) = replies.next()? {
                        match reply {
                            last @ (Reply::Done | Reply::Failed { .. }) => replies.last = Some(last),
                            reply => tell(reply).await,
                        }
                    }
                }
                ChannelMsg::ExtendedData { data, .. } => replies.errors.extend_from_slice(&data),
                ChannelMsg::ExitStatus { exit_status } => status = Some(exit_status),
                ChannelMsg::Failure => return Err(garbage("it refused a request")),
                _ => {}
            }
        }
        replies.conclude(status)
    }
}

/// What a request was answered.
#[derive(Default)]
struct Replies {
    bytes: Vec<u8>,
    last: Option<Reply>,
    errors: Vec<u8>,
}

impl Replies {
    fn add(&mut self, data: &[u8]) -> Result<(), Error> {
        if self.bytes.len() + data.len() > REPLIES_MAX {
            return Err(garbage("its reply does not end"));
        }
        self.bytes.extend_from_slice(data);
        Ok(())
    }

    fn next(&mut self) -> Result<Option<Reply>, Error> {
        let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
        let line: Vec<u8> = self.bytes.drain(..=end).collect();
        serde_json::from_slice(&line).map(Some).map_err(garbage)
    }

    fn conclude(self, status: Option<u32>) -> Result<(), Error> {
        match (self.last, status) {
            (Some(Reply::Done), _) => Ok(()),
            (Some(Reply::Failed { message, output, cause }), _) => {
                Err(Error::new(super::failure_kind(cause), message).with_output(output))
            }
            (_, Some(status)) => Err(Error::new(
                ErrorKind::StepFailed,
                format!("the guest's operation ended with status {status}"),
            )
            .with_output(String::from_utf8_lossy(&self.errors))),
            (_, None) => Err(lost("the channel closed without a reply")),
        }
    }
}

fn random() -> Result<[u8; 32], Error> {
    let mut bytes = [0; 32];
    getrandom(&mut bytes, GetRandomFlags::empty())
        .map_err(|error| Error::io("the host has no random numbers", error.into()))?;
    Ok(bytes)
}

fn clock() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_nanos()).unwrap_or(0)
}

/// The connection is gone; the machine's watchers may know why.
pub(super) fn lost(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(ErrorKind::ConnectionLost, "the connection to the builder VM was lost").caused_by(cause)
}

fn garbage(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(ErrorKind::ConnectionLost, "the builder VM answered something senseless").caused_by(cause)
}
