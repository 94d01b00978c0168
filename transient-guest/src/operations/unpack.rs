//! Unpacking a tar stream into the image.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::Mode;
use transient_guest::frames::FrameReader;
use transient_guest::protocol::{FailureCause, IMAGE_ROOT, Placement, Reply};
use transient_guest::unpack::{Places, Site, unpack as unpack_stream};

use super::failure::{Doing, Failure};
use super::inside;

/// Unpacks the stream that comes over `port` to `destination` in the image.
pub(super) fn unpack(
    port: Option<&Path>,
    destination: &Path,
    placement: &Placement,
    reply: &mut dyn FnMut(Reply),
) -> Result<(), Failure> {
    let port = port.ok_or_else(|| Failure::other("there is no data port"))?;
    let port = File::open(port).doing(|| format!("cannot open the data port {}", port.display()))?;
    let mut stream = FrameReader::new(port);
    let outcome = enter_image().and_then(|root| {
        rustix::process::umask(Mode::empty());
        let places = Places::new(&root, destination, placement);
        unpack_stream(&mut stream, root, places, Site::Image)
    });
    // Whatever happened, the host must get rid of what it sends before it can read the reply.
    let rest = stream.drain();
    outcome?.into_iter().for_each(|message| reply(Reply::Note { message }));
    rest.map_err(|error| {
        Failure::new(FailureCause::BadArchive, format!("the archive did not come whole: {error}"))
    })
}

/// Returns the image's root. This process is seen to use it from then on.
pub(super) fn enter_image() -> Result<OwnedFd, Failure> {
    rustix::process::chdir(IMAGE_ROOT)
        .and_then(|()| inside::root(Path::new(".")))
        .doing(|| "cannot enter the image")
}
