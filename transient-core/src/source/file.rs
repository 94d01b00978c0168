//! `file=PATH`: a file of the host, plain or compressed, in any format that `qemu-img` reads.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::candidate::{Candidate, Witness, open_now};
use super::unpack::unpack;
use crate::event::Reporter;
use crate::image::header::Compression;
use crate::image::{Image, ImageName};
use crate::{CancelToken, Error, ErrorKind, Event, Store};

/// As many bytes as tell one compression from another.
const MAGIC: usize = 16;

/// Makes the file the image of that name.
pub(super) fn bring_in(
    store: &Store,
    name: &ImageName,
    path: &Path,
    reporter: &Reporter,
    cancel: &CancelToken,
) -> Result<Image, Error> {
    let source = open(path)?;
    let reservation = store.reserve(name, None, reporter, cancel)?;
    // Whoever had the name before may have been bringing in the same image.
    if let Some(image) = store.image(name)? {
        return Ok(image);
    }
    let named = path.display().to_string();
    let plain = match Compression::detect(&first_bytes(&source, path)?) {
        None => source,
        Some(compression) => {
            let witness = Witness::of(&source, &named)?;
            let unpacked = reservation.folder().join("unpacked");
            unpack(&source, compression, path, &unpacked, reporter, cancel)?;
            witness.check(&source, &named)?;
            File::open(&unpacked).map_err(|error| unreadable(path, error))?
        }
    };
    let candidate = Candidate::inspect(plain, named, cancel)?;
    let converted = reservation.folder().join("image.qcow2");
    convert(&candidate, path, &converted, reporter, cancel)?;
    reservation.commit(&converted)
}

fn open(path: &Path) -> Result<File, Error> {
    let failed = |error| unreadable(path, error);
    // Opening, say, a named pipe would wait for its other end.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        let message = format!("'{}' is no regular file", path.display());
        return Err(Error::new(ErrorKind::SourceFailed, message).hint("name the file of a disk image"));
    }
    open_now(path).map_err(failed)
}

fn unreadable(path: &Path, error: io::Error) -> Error {
    let hint = match error.kind() {
        io::ErrorKind::NotFound if path.is_relative() => Some("a path is relative to the current directory"),
        io::ErrorKind::PermissionDenied => Some("check its owner and permissions"),
        _ => None,
    };
    let message = format!("cannot read the image file '{}'", path.display());
    let error = Error::new(ErrorKind::SourceFailed, message).caused_by(error);
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

fn first_bytes(file: &File, path: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![0; MAGIC];
    let mut length = 0;
    while length < MAGIC {
        match file.read_at(&mut bytes[length..], length as u64) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unreadable(path, error)),
        }
    }
    bytes.truncate(length);
    Ok(bytes)
}

fn convert(
    candidate: &Candidate,
    named: &Path,
    converted: &Path,
    reporter: &Reporter,
    cancel: &CancelToken,
) -> Result<(), Error> {
    let task = format!("Converting {}", named.display());
    let total = candidate.header().virtual_size;
    let mut progress = |part: f64| reporter.progress(&task, (part * total as f64) as u64, Some(total));
    candidate.convert(converted, &mut progress, cancel)?;
    reporter.send_blocking(Event::Progress { task, done: total, total: Some(total), finished: true });
    Ok(())
}
