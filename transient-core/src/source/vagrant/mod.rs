//! `vagrant=BOX:VERSION`: boxes of a registry such as Vagrant itself uses.

mod disk;
mod metadata;
mod version;

#[cfg(test)]
mod tests;

use std::io::Read;

pub(super) use disk::extract_disk;

use metadata::{BoxFile, Metadata};

use super::http::{Address, Download, Expects, Failure, Patience, Request};
use super::receive::{Contents, receive};
use super::{Place, Plain};
use crate::{Downloads, Error, ErrorKind};

/// The longest description of a box that is read.
const LONGEST_METADATA: u64 = 32 << 20;

/// The name of a box, `USER/BOX`, and a version if it is not to be the newest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BoxName {
    name: String,
    version: Option<String>,
}

impl BoxName {
    pub(super) fn parse(source: &str) -> Result<Self, Error> {
        let (name, version) = match source.split_once(':') {
            Some((name, version)) => (name, Some(version.strip_prefix('v').unwrap_or(version))),
            None => (source, None),
        };
        let is_word = |word: &str| {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
            !word.is_empty() && !matches!(word, "." | "..") && word.bytes().all(allowed)
        };
        let is_box = name.split_once('/').is_some_and(|(user, name)| is_word(user) && is_word(name));
        if !is_box || version == Some("") {
            let message = format!("'{source}' is no name of a vagrant box");
            return Err(Error::new(ErrorKind::SourceFailed, message).hint(
                "a box is USER/BOX:VERSION, as in `generic/alpine38:v3.0.2`, or USER/BOX for the newest",
            ));
        }
        Ok(Self { name: name.to_owned(), version: version.map(str::to_owned) })
    }
}

/// Downloads the disk image of a box.
pub(super) fn fetch(name: &BoxName, place: &Place<'_>) -> Result<Plain, Error> {
    let registry = Registry::new(&place.store.locations().downloads)?;
    let (metadata, address) = registry.metadata(name, place)?;
    let BoxFile { url, checksum } = metadata.choose(name.version.as_deref())?;
    // What the user says about the file counts for more than what the registry does.
    let checksum = place.checksum.cloned().or(checksum);
    let address = address.join(&url)?;
    let named = address.to_string();
    let request = registry.request(address, Expects::Image, checksum.is_some());
    let mut origin = Download::start(request, Patience::default(), place)?.into_origin();
    origin.checksum = checksum;
    Plain::received(receive(origin, Contents::VagrantBox, place)?, named)
}

/// Where boxes are described.
struct Registry {
    server: Address,
    token: Option<String>,
}

impl Registry {
    fn new(downloads: &Downloads) -> Result<Self, Error> {
        let server = Address::parse(&format!("{}/", downloads.vagrant_server.trim_end_matches('/')))
            .map_err(|error| error.hint("VAGRANT_SERVER_URL names the server of vagrant boxes"))?;
        Ok(Self { server, token: downloads.vagrant_token.clone() })
    }

    /// Returns the description of a box and where it was. Vagrant asks at the same two places.
    fn metadata(&self, name: &BoxName, place: &Place<'_>) -> Result<(Metadata, Address), Error> {
        let mut absent = None;
        for path in [format!("api/v2/vagrant/{}", name.name), name.name.clone()] {
            let address = self.server.join(&path)?;
            match self.read_metadata(address.clone(), place) {
                Ok(metadata) => return Ok((metadata, address)),
                // The first answer is that of the place that is meant.
                Err(failure) if failure.absent => absent = absent.or(Some(failure.error)),
                Err(failure) => return Err(self.explained(failure.error)),
            }
        }
        let message = format!("'{}' has no vagrant box '{}'", self.server, name.name);
        let error = Error::new(ErrorKind::SourceFailed, message);
        Err(self.explained(match absent {
            Some(cause) => error.caused_by(cause),
            None => error,
        }))
    }

    fn read_metadata(&self, address: Address, place: &Place<'_>) -> Result<Metadata, Failure> {
        let named = address.to_string();
        let request = self.request(address, Expects::Json, false);
        let download = Download::start(request, Patience::default(), place)?;
        let mut text = Vec::new();
        download.take(LONGEST_METADATA).read_to_end(&mut text).map_err(|error| {
            error
                .downcast::<Error>()
                .unwrap_or_else(|error| Error::io(format!("cannot read '{named}'"), error))
        })?;
        serde_json::from_slice(&text).map_err(|error| {
            let message = format!("'{named}' is no description of a vagrant box");
            Failure { error: Error::new(ErrorKind::SourceFailed, message).caused_by(error), absent: true }
        })
    }

    fn request(&self, address: Address, expects: Expects, checked: bool) -> Request {
        // Nobody but the registry itself gets to see the token.
        let token = self.token.clone().filter(|_| address.has_origin_of(&self.server));
        Request { address, expects, token, checked }
    }

    fn explained(&self, error: Error) -> Error {
        if error.kind() != ErrorKind::SourceFailed {
            return error;
        }
        match self.token {
            Some(_) => {
                error.hint("the token in VAGRANT_CLOUD_TOKEN or ATLAS_TOKEN may be of no use any more")
            }
            None => error.hint("a box that is not public needs a token in VAGRANT_CLOUD_TOKEN"),
        }
    }
}
