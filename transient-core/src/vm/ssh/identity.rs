//! The keys to log in with, in the order in which they are tried.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{PrivateKey, PublicKey, load_secret_key};
use tokio::net::UnixStream;

use super::Target;
use crate::{Error, ErrorKind};

/// The key that vagrant boxes let in, which is no secret: keys/vagrant of
/// <https://github.com/hashicorp/vagrant/tree/main/keys>.
const WELL_KNOWN: &str = include_str!("vagrant.key");
/// What OpenSSH's client tries by default.
const DEFAULTS: [&str; 3] = ["id_rsa", "id_ecdsa", "id_ed25519"];
/// An agent that does not answer is none.
const AGENT_TIMEOUT: Duration = Duration::from_secs(2);

/// A key that may be let in.
#[derive(Clone)]
pub(super) enum Identity {
    Key {
        name: String,
        key: Arc<PrivateKey>,
    },
    /// A key of the agent, which alone can use it.
    Agent {
        name: String,
        key: PublicKey,
    },
}

impl Identity {
    /// What it is called in messages.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Key { name, .. } | Self::Agent { name, .. } => name,
        }
    }
}

/// Returns the keys to try: the one that was named, or else the agent's, the user's and the well-known one.
pub(super) async fn identities(target: &Target) -> Result<Vec<Identity>, Error> {
    if let Some(path) = &target.options.key {
        return named(path).map(|key| vec![key]);
    }
    let mut identities = match &target.identities.agent {
        Some(path) => of_agent(path).await,
        None => Vec::new(),
    };
    if let Some(folder) = &target.identities.folder {
        identities.extend(DEFAULTS.iter().filter_map(|name| {
            let path = folder.join(name);
            // One with a passphrase is for the agent.
            let key = load_secret_key(&path, None).ok()?;
            Some(Identity::Key { name: format!("'{}'", path.display()), key: Arc::new(key) })
        }));
    }
    identities.push(well_known()?);
    Ok(identities)
}

fn named(path: &Path) -> Result<Identity, Error> {
    let key = load_secret_key(path, None).map_err(|error| {
        let message = format!("'{}' is no private key that can be used", path.display());
        let error = match error {
            russh::keys::Error::KeyIsEncrypted => "it has a passphrase".to_owned(),
            error => error.to_string(),
        };
        Error::new(ErrorKind::InvalidArgument, message)
            .caused_by(error)
            .hint("a key with a passphrase can be used through an agent: ssh-add")
    })?;
    Ok(Identity::Key { name: format!("'{}'", path.display()), key: Arc::new(key) })
}

async fn of_agent(path: &Path) -> Vec<Identity> {
    let asked = async { AgentClient::<UnixStream>::connect_uds(path).await?.request_identities().await };
    let keys = match tokio::time::timeout(AGENT_TIMEOUT, asked).await {
        Ok(Ok(keys)) => keys,
        Ok(Err(error)) => {
            tracing::info!("the SSH agent cannot be used: {error}");
            Vec::new()
        }
        Err(_) => Vec::new(),
    };
    keys.into_iter()
        .filter_map(|identity| match identity {
            AgentIdentity::PublicKey { key, comment } => {
                Some(Identity::Agent { name: format!("'{comment}' of the agent"), key })
            }
            AgentIdentity::Certificate { .. } => None,
        })
        .collect()
}

/// Returns the text of the well-known private key.
pub(super) fn well_known_text() -> &'static str {
    WELL_KNOWN
}

fn well_known() -> Result<Identity, Error> {
    let key = russh::keys::decode_secret_key(WELL_KNOWN, None).map_err(|error| {
        Error::new(ErrorKind::Internal, "the well-known key cannot be read").caused_by(error)
    })?;
    Ok(Identity::Key { name: "the well-known key of vagrant boxes".to_owned(), key: Arc::new(key) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_well_known_key_is_an_rsa_key() {
        let Ok(Identity::Key { key, .. }) = well_known() else { panic!("no key") };
        assert!(key.algorithm().is_rsa());
    }

    #[test]
    fn a_file_that_is_no_key_is_told() {
        let error = named(Path::new("/etc/passwd")).map(|_| ()).expect_err("no key");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
}
