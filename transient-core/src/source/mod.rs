//! Bringing images into the backend.
//!
//! Whatever an image comes from, its bytes are [received](receive) as a stream: counted, checked against a
//! checksum, unpacked. What is then a plain disk image is [adopted](adopt::adopt): looked at, converted, committed.

mod adopt;
mod candidate;
mod decompress;
mod file;
mod http;
mod import;
mod intake;
mod pipe;
mod pull;
mod receive;
mod sparse;
mod vagrant;

#[cfg(test)]
mod tests;

pub(crate) use decompress::decompress;
pub use import::{ImportOptions, import};
pub use pull::pull;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;

use adopt::{Adopted, adopt};
use candidate::Witness;
use receive::Received;

use crate::event::Reporter;
use crate::image::header::Compression;
use crate::image::{Checksum, Image, Protocol};
use crate::store::Making;
use crate::{CancelToken, Error, ErrorKind, Event, ImageName, ImageSpec, Store};

/// Returns the image of a spec, bringing it in if the backend lacks it. Blocks.
///
/// # Errors
///
/// [`ErrorKind::ImageNotFound`] when the spec names no source, and none can be guessed; [`ErrorKind::SourceFailed`]
/// when the source cannot be read; [`ErrorKind::InvalidImage`] when it is damaged, or points at other files.
pub(crate) fn bring_in(
    store: &Store,
    spec: &ImageSpec,
    reporter: &Reporter,
    cancel: &CancelToken,
) -> Result<Image, Error> {
    if let Some(image) = store.image(&spec.name)? {
        return Ok(image);
    }
    // What can be known to be wrong is said before anything is made.
    let source = Source::find(store, spec)?;
    let message = format!("Unable to find image '{}' in backend", spec.name.as_str());
    reporter.send_blocking(Event::Note { message });
    let mut reservation = match store.reserve(&spec.name, None, reporter, cancel) {
        // Whoever had the name before has made the image; there may even be a VM on it by now.
        Err(error) if error.kind() == ErrorKind::ImageInUse => return store.image(&spec.name)?.ok_or(error),
        reserved => reserved?,
    };
    if let Some(image) = store.image(&spec.name)? {
        return Ok(image);
    }
    let started = Instant::now();
    let folder = reservation.folder();
    let place = Place { store, folder, checksum: spec.checksum.as_ref(), reporter, cancel };
    let plain = source.fetch(&place)?;
    let (path, making) = convert(plain, spec, started, &place)?;
    reservation.tell(making);
    reservation.commit(&path)
}

/// Makes a disk image one that can be committed, and tells how it was made.
fn convert(
    plain: Plain,
    spec: &ImageSpec,
    started: Instant,
    place: &Place<'_>,
) -> Result<(PathBuf, Making), Error> {
    let (compression, checksum) = (plain.compression, plain.checksum.clone());
    let Adopted { path, format } = adopt(plain, place)?;
    let making = Making::pulled(&without_secrets(spec), format, compression, checksum.as_ref(), started);
    Ok((path, making))
}

/// Checks, without fetching anything, that an image is in the backend or could be brought in.
pub(crate) fn check(store: &Store, spec: &ImageSpec) -> Result<(), Error> {
    match store.image(&spec.name)? {
        Some(_) => Ok(()),
        None => Source::find(store, spec).map(drop),
    }
}

/// Returns the spec as it may be shown: a URL without what may be secret.
pub(crate) fn without_secrets(spec: &ImageSpec) -> ImageSpec {
    let mut shown = spec.clone();
    if let Some((Protocol::Http, url)) = &mut shown.source {
        *url = http::Address::parse(url).map_or_else(|_| "...".to_owned(), |address| address.to_string());
    }
    shown
}

/// What the parts of bringing in one image share.
struct Place<'a> {
    store: &'a Store,
    /// The folder for everything that is on its way.
    folder: &'a Path,
    /// What the spec says that the source must add up to.
    checksum: Option<&'a Checksum>,
    reporter: &'a Reporter,
    cancel: &'a CancelToken,
}

/// A disk image that is a file of its own.
#[derive(Debug)]
struct Plain {
    file: File,
    /// Tells whether it is still as it was when it was first looked at.
    witness: Witness,
    /// What people call it.
    named: String,
    /// How it was compressed.
    compression: Option<Compression>,
    /// What its bytes were compared with.
    checksum: Option<Checksum>,
}

impl Plain {
    /// Opens a file of our own, that nobody else writes to.
    fn received(received: Received, named: String) -> Result<Self, Error> {
        let Received { path, compression, checksum } = received;
        let file = File::open(path).map_err(|error| candidate::unreadable(&named, error))?;
        Ok(Self { witness: Witness::of(&file, &named)?, file, named, compression, checksum })
    }
}

/// Where an image comes from.
enum Source {
    File(file::ImageFile),
    Http(http::Address),
    Vagrant(vagrant::BoxName),
}

impl Source {
    fn find(store: &Store, spec: &ImageSpec) -> Result<Self, Error> {
        match &spec.source {
            Some((Protocol::File, path)) => file::ImageFile::open(path.as_ref()).map(Self::File),
            Some((Protocol::Http, url)) => http::Address::parse(url).map(Self::Http),
            Some((Protocol::Vagrant, source)) => vagrant::BoxName::parse(source).map(Self::Vagrant),
            None => match vagrant::BoxName::parse(spec.name.as_str()) {
                Ok(name) => Ok(Self::Vagrant(name)),
                Err(_) => Err(not_found(store, &spec.name)),
            },
        }
    }

    fn fetch(self, place: &Place<'_>) -> Result<Plain, Error> {
        match self {
            Self::File(file) => file.fetch(place),
            Self::Http(address) => http::fetch(address, place),
            Self::Vagrant(name) => vagrant::fetch(&name, place),
        }
    }
}

fn not_found(store: &Store, name: &ImageName) -> Error {
    let backend = store.locations().backend.display();
    Error::new(ErrorKind::ImageNotFound, format!("Unable to find image '{name}' in backend"))
        .caused_by(format!("it is not in '{backend}', and is no name of a vagrant box, which is USER/BOX"))
        .hint("`transient image ls` lists the images that are there")
        .hint(format!(
            "say where it comes from: {name},file=PATH or {name},http=URL or {name},vagrant=USER/BOX"
        ))
}
