//! Unpacking a tar stream, of which nothing is trusted, into a directory.

use std::io::BufRead;
use std::os::fd::OwnedFd;

use crate::archive::Archive;
use crate::failure::Failure;
use extract::Extractor;
pub use placement::Places;

mod describe;
mod directories;
mod extract;
mod later;
mod make;
mod partial;
mod placement;

/// What a directory is that is unpacked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Site {
    /// The root of an image, in a process of root without a umask. Links of the image are followed inside of it, and
    /// directories that are missing are made. Nothing may be lost but extended attributes.
    Image,
    /// A directory of the host, in any process. No link is followed. A file gets its name when it is whole, and never
    /// takes the place of a directory, nor a directory that of a file. Owners, and the bits that lend their rights, are
    /// kept if this process may; devices too, else they are passed over.
    Host,
}

/// Unpacks a stream into `root`, out of which no member can lead, at the places that `places` says.
///
/// Returns what a person should know of it, a sentence each.
///
/// # Errors
///
/// A cause of [`BadArchive`](crate::protocol::FailureCause::BadArchive) when the stream is at fault. What was unpacked
/// before stays.
pub fn unpack(
    stream: &mut (impl BufRead + ?Sized),
    root: OwnedFd,
    places: Places,
    site: Site,
) -> Result<Vec<String>, Failure> {
    Extractor::new(root, places, site).unpack(&mut Archive::new(stream))
}

#[cfg(test)]
mod host;
#[cfg(test)]
mod hostile;
#[cfg(test)]
pub(crate) mod tests;
