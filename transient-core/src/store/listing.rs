//! Reading images from a backend.

use std::error::Error as _;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::failure;
use crate::image::Image;
use crate::image::header::{Format, Header};
use crate::{Error, ErrorKind, ImageName};

/// The unit of `st_blocks`, whatever the filesystem's own block size is.
const BLOCK: u64 = 512;

/// What a backend holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listing {
    /// The images, sorted by name.
    pub images: Vec<Image>,
    /// One sentence for each file that looks like an image and is none.
    pub warnings: Vec<String>,
}

/// Lists the images of a backend; one that does not exist has none.
pub(super) fn list(backend: &Path) -> Result<Listing, Error> {
    let failed = |error| failure("cannot read the backend", backend, error);
    let entries = match fs::read_dir(backend) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Listing::default()),
        Err(error) => return Err(failed(error)),
    };
    let mut listing = Listing::default();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let file = entry.file_name();
        if !could_be_image(&file) || entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let path = entry.path();
        let Some(name) = ImageName::from_encoded(&file) else {
            listing.warnings.push(format!("'{}' has a name that no image has", path.display()));
            continue;
        };
        match read(&path, name.as_str()) {
            Ok(image) => listing.images.extend(image),
            Err(error) => listing.warnings.push(in_one_line(&error)),
        }
    }
    listing.images.sort_by(|one, other| one.name.cmp(&other.name));
    listing.warnings.sort();
    Ok(listing)
}

/// Whether a file of this name is left out of a backend's images.
pub(super) fn is_hidden(encoded: &str) -> bool {
    encoded.starts_with('.')
}

fn could_be_image(file: &OsStr) -> bool {
    let name = file.as_bytes();
    !name.starts_with(b".") && !name.contains(&b'-')
}

/// Reads one image file; `None` as of [`open`].
pub(super) fn read(path: &Path, name: &str) -> Result<Option<Image>, Error> {
    open(path)?.map(|file| read_open(&file, path, name)).transpose()
}

/// Opens one image file; `None` when there is none (any more), or when it is no file at all.
pub(super) fn open(path: &Path) -> Result<Option<File>, Error> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Ok(None),
        _ => Err(failure("cannot read", path, error)),
    };
    // Opening, say, a named pipe would wait for its other end.
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => return Ok(None),
        Ok(_) => {}
        Err(error) => return failed(error),
    }
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) => failed(error),
    }
}

/// Reads an open image file, which must be a standalone qcow2 image.
pub(super) fn read_open(file: &File, path: &Path, name: &str) -> Result<Image, Error> {
    let failed = |error| failure("cannot read", path, error);
    let header = Header::read(file).map_err(failed)?;
    if header.format != Format::Qcow2 {
        return Err(invalid(path, &format!("it looks like {}", header.format.name())));
    }
    if let Some(reason) = header.refusal() {
        let error = invalid(path, reason);
        return Err(match header.hint() {
            Some(hint) => error.hint(hint),
            None => error,
        });
    }
    let real_size = file.metadata().map_err(failed)?.blocks() * BLOCK;
    Ok(Image { name: name.to_owned(), path: path.to_owned(), virtual_size: header.virtual_size, real_size })
}

fn invalid(path: &Path, reason: &str) -> Error {
    let message = format!("'{}' is no standalone qcow2 image: {reason}", path.display());
    Error::new(ErrorKind::InvalidImage, message)
}

fn in_one_line(error: &Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
