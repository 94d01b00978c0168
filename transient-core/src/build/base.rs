//! What a build begins with: the image that it stands on, and the name that it takes.

use std::io;
use std::path::{Path, PathBuf};

use crate::image::Image;
use crate::imagefile::Base;
use crate::store::Reservation;
use crate::{Error, ErrorKind, ImageSpec};

/// The base image's name among a build's files.
const FILE: &str = "base.qcow2";
/// How often in a row a base image may be removed between being found and being used.
const ATTEMPTS: u32 = 10;

/// A name that is taken, and what the disk stands on.
pub(super) struct Begun {
    pub(super) reservation: Reservation,
    /// The base image, whose bytes stay for as long as the build needs them; `None` is a new disk.
    pub(super) base: Option<PathBuf>,
}

/// Has the base image brought in, if there is one, and the name for the new one taken.
///
/// While either is waited for, the other is not held: two builds, each on the image that the other makes, would wait
/// for ever, and so would one on an image of its own name.
pub(super) fn begin(
    base: &Base,
    bring_in: impl Fn(&ImageSpec) -> Result<Image, Error>,
    reserve: impl Fn() -> Result<Reservation, Error>,
) -> Result<Begun, Error> {
    let Base::Image(spec) = base else { return Ok(Begun { reservation: reserve()?, base: None }) };
    for _ in 0..ATTEMPTS {
        let image = bring_in(spec)?;
        let reservation = reserve()?;
        if let Some(base) = pin(&image.path, reservation.folder()) {
            return Ok(Begun { reservation, base: Some(base) });
        }
    }
    let message = format!("the image '{}' is removed again and again", spec.name.as_str());
    Err(Error::new(ErrorKind::ImageNotFound, message))
}

/// Keeps an image's bytes, even if it is removed or replaced meanwhile; `None` when it was removed already.
fn pin(image: &Path, folder: &Path) -> Option<PathBuf> {
    let link = folder.join(FILE);
    match std::fs::hard_link(image, &link) {
        Ok(()) => Some(link),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            // For example another user's image. It works without, as long as nobody removes it.
            tracing::debug!("{} is used in place: {error}", image.display());
            Some(image.to_owned())
        }
    }
}
