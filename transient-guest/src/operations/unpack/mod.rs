//! Unpacking a tar stream into the image.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::Mode;
use transient_guest::archive::Archive;
use transient_guest::protocol::{FailureCause, IMAGE_ROOT, Placement, Reply};

use super::failure::{Doing, Failure};
use super::inside;
use extract::Extractor;
use frames::FrameReader;
use placement::Places;

mod extract;
mod frames;
mod later;
mod make;
mod placement;

/// Unpacks the stream that comes over `port` to `destination` in the image.
///
/// This process makes the image its root: it is of no use for anything else afterwards.
pub(super) fn unpack(
    port: Option<&Path>,
    destination: &Path,
    placement: &Placement,
    reply: &mut dyn FnMut(Reply),
) -> Result<(), Failure> {
    let port = port.ok_or_else(|| Failure::other("there is no data port"))?;
    let port = File::open(port).doing(|| format!("cannot open the data port {}", port.display()))?;
    let mut stream = FrameReader::new(port);
    let outcome = enter_image().and_then(|root| unpack_stream(&mut stream, root, destination, placement));
    // Whatever happened, the host must get rid of what it sends before it can read the reply.
    let rest = stream.drain();
    if let Some(message) = outcome? {
        reply(Reply::Note { message });
    }
    rest.map_err(|error| {
        Failure::new(FailureCause::BadArchive, format!("the archive did not come whole: {error}"))
    })
}

fn enter_image() -> Result<OwnedFd, Failure> {
    rustix::process::chroot(IMAGE_ROOT)
        .and_then(|()| rustix::process::chdir("/"))
        .and_then(|()| inside::root(Path::new("/")))
        .doing(|| "cannot enter the image")
}

/// Unpacks a stream to `destination` inside `root`; returns what a person should know.
fn unpack_stream(
    stream: &mut impl std::io::BufRead,
    root: OwnedFd,
    destination: &Path,
    placement: &Placement,
) -> Result<Option<String>, Failure> {
    rustix::process::umask(Mode::empty());
    let places = Places::new(&root, destination, placement);
    Extractor::new(root, places).unpack(&mut Archive::new(stream))
}

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;
