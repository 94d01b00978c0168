//! SSH to a guest: waiting for it, logging in, commands and shells.

mod client;
mod identity;
mod openssh;
mod wait;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub(super) use client::{Connection, Input, late, lost};
pub(super) use openssh::OpenSsh;

use super::SshOptions;
use super::host_key::HostKey;
use crate::{Error, ErrorKind, Locations};

/// Where a guest is reached, and how one logs in.
#[derive(Clone)]
pub(super) struct Target {
    /// A port of this host's loopback.
    pub(super) port: u16,
    pub(super) options: SshOptions,
    pub(super) host_key: Arc<HostKey>,
    pub(super) identities: Identities,
}

/// Where the user's own keys are.
#[derive(Debug, Clone)]
pub(super) struct Identities {
    agent: Option<PathBuf>,
    folder: Option<PathBuf>,
}

impl Identities {
    pub(super) fn of(locations: &Locations) -> Self {
        Self { agent: locations.ssh_agent.clone(), folder: locations.ssh_keys.clone() }
    }
}

/// A guest that did not let us in within this time.
fn no_answer(timeout: Duration, last: Option<Error>) -> Error {
    let message = format!("the guest did not accept SSH within {} s", timeout.as_secs());
    let error = Error::new(ErrorKind::Timeout, message);
    let error = match last {
        Some(last) => error.caused_by(last.report()),
        None => error.caused_by("nothing answers at its port 22"),
    };
    error.hint("does the image start an SSH server? `--ssh-with-serial` shows its console; `--ssh-timeout` gives it longer")
}
