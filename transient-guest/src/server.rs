//! The SSH server on the control port: one session, whose end is the end of the guest.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use russh::keys::PrivateKey;
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::ssh_key::public::KeyData;
use russh::server::{Auth, ChannelOpenHandle, Config, Handler, Msg, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, MethodKind, MethodSet, Pty};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use transient_guest::protocol::{Preamble, SUBSYSTEM};

use crate::port::Port;
use crate::{child, network, request};

/// This very program, for its child processes.
const PROGRAM: &str = "/proc/self/exe";

/// Serves until the host goes away.
pub(crate) async fn serve(control: Port, preamble: &Preamble, data_port: PathBuf) -> io::Result<()> {
    let host_key = PrivateKey::from(Ed25519Keypair::from_seed(&preamble.host_key_seed));
    let config = Config {
        keys: vec![host_key],
        methods: MethodSet::from(&[MethodKind::PublicKey][..]),
        auth_rejection_time: Duration::ZERO,
        inactivity_timeout: None,
        ..Config::default()
    };
    let agent = Agent {
        client_key: preamble.client_key,
        data_port,
        network: Network { card: preamble.network, up: false },
        channels: HashMap::new(),
        terminals: HashMap::new(),
    };
    let session =
        russh::server::run_stream(Arc::new(config), control, agent).await.map_err(io::Error::other)?;
    session.await.map_err(io::Error::other)
}

struct Agent {
    client_key: [u8; 32],
    data_port: PathBuf,
    network: Network,
    /// Channels that are open and have not said yet what they are for.
    channels: HashMap<ChannelId, Channel<Msg>>,
    terminals: HashMap<ChannelId, TerminalRequest>,
}

struct Network {
    card: bool,
    up: bool,
}

struct TerminalRequest {
    term: String,
    columns: u32,
    rows: u32,
}

impl Agent {
    /// Returns a command that runs this program in one of its other forms.
    fn form(form: &str) -> Command {
        let mut command = Command::new(PROGRAM);
        command.arg0("transient-guest").arg(form).env_clear();
        command
    }

    /// Returns a command that runs something of the image, after seeing to its network.
    async fn image_command(&mut self, form: &str) -> Command {
        let mut command = Self::form(form);
        if !self.network.up {
            self.network.up = true;
            if let Err(error) = network::bring_up(self.network.card).await {
                eprintln!("transient-guest: the network does not come up: {error}");
            }
        }
        if self.network.card {
            command.env("TRANSIENT_NETWORK", "1");
        }
        command
    }

    fn take(&mut self, id: ChannelId) -> Result<Channel<Msg>, russh::Error> {
        self.channels.remove(&id).ok_or(russh::Error::WrongChannel)
    }
}

impl Handler for Agent {
    type Error = russh::Error;

    async fn auth_publickey(&mut self, _user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        match key.public_key.key_data() {
            KeyData::Ed25519(key) if key.0 == self.client_key => Ok(Auth::Accept),
            _ => Ok(Auth::reject()),
        }
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.channels.insert(channel.id(), channel);
        reply.accept().await;
        Ok(())
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        data: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let (reader, writer) = self.take(id)?.split();
        let mut command = self.image_command("run").await;
        command.arg(OsStr::from_bytes(data));
        session.channel_success(id)?;
        tokio::spawn(child::run(command, Vec::new(), reader, writer));
        Ok(())
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        if name != SUBSYSTEM {
            session.channel_failure(id)?;
            return Ok(());
        }
        let (reader, writer) = self.take(id)?.split();
        let mut command = Self::form("operate");
        command.arg(&self.data_port);
        session.channel_success(id)?;
        tokio::spawn(request::serve(command, reader, writer));
        Ok(())
    }

    async fn pty_request(
        &mut self,
        id: ChannelId,
        term: &str,
        col_width: u32,
        row_height: u32,
        _pix_width: u32,
        _pix_height: u32,
        _modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let request = TerminalRequest { term: term.to_owned(), columns: col_width, rows: row_height };
        self.terminals.insert(id, request);
        session.channel_success(id)?;
        Ok(())
    }

    async fn shell_request(&mut self, id: ChannelId, session: &mut Session) -> Result<(), Self::Error> {
        let Some(request) = self.terminals.remove(&id) else {
            session.channel_failure(id)?;
            return Ok(());
        };
        let (reader, writer) = self.take(id)?.split();
        let mut command = self.image_command("inspect").await;
        command.env("TERM", &request.term);
        let opened = open_terminal();
        match opened {
            Ok((controller, terminal)) => {
                child::resize(&controller, request.columns, request.rows);
                session.channel_success(id)?;
                tokio::spawn(child::run_on_terminal(command, controller, terminal, reader, writer));
            }
            Err(error) => {
                eprintln!("transient-guest: no pseudo-terminal: {error}");
                session.channel_failure(id)?;
            }
        }
        Ok(())
    }
}

/// Returns both ends of a new pseudo-terminal: ours, and the command's.
fn open_terminal() -> io::Result<(OwnedFd, OwnedFd)> {
    let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&controller)?;
    unlockpt(&controller)?;
    let name = ptsname(&controller, Vec::new())?;
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
    let terminal = rustix::fs::open(name.as_c_str(), flags, rustix::fs::Mode::empty())?;
    Ok((controller, terminal))
}
