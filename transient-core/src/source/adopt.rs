//! Making a disk image of any format one that can be committed.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use super::{Place, Plain};
use crate::image::header::{Format, Header};
use crate::process::qemu_img;
use crate::{Error, ErrorKind, Event};

/// How far into a file one looks for what makes it a web page.
const PAGE_START: u64 = 512;

/// Converts a disk image, unless QEMU must not open it, and returns the new file.
pub(super) fn adopt(plain: &Plain, place: &Place<'_>) -> Result<PathBuf, Error> {
    let header = inspect(plain)?;
    let converted = place.folder.join("image.qcow2");
    let task = format!("Converting {}", plain.named);
    let total = header.virtual_size;
    let mut progress = |part: f64| place.reporter.progress(&task, (part * total as f64) as u64, Some(total));
    qemu_img::convert(&plain.path, header.format.name(), &converted, &mut progress, place.cancel)?;
    let finished = Event::Progress { task, done: total, total: Some(total), finished: true };
    place.reporter.send_blocking(finished);
    Ok(converted)
}

/// Reads the header, and refuses what QEMU must not open.
fn inspect(plain: &Plain) -> Result<Header, Error> {
    let named = &plain.named;
    let refused = |reason: &str| {
        Error::new(ErrorKind::InvalidImage, format!("the image file '{named}' is refused: {reason}"))
    };
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => refused(&error.to_string()),
        _ => Error::new(ErrorKind::SourceFailed, format!("cannot read the image file '{named}'"))
            .caused_by(error),
    };
    let file = File::open(&plain.path).map_err(unreadable)?;
    if file.metadata().map_err(unreadable)?.len() == 0 {
        return Err(refused("it is empty"));
    }
    let header = Header::read(&file).map_err(unreadable)?;
    if let Some(reason) = header.refusal() {
        return Err(refused(reason).hint("only an image that is whole in itself can be brought in"));
    }
    if header.format == Format::Raw && is_page(&file).map_err(unreadable)? {
        return Err(refused("it is a web page").hint("the address may be that of a page about the image"));
    }
    Ok(header)
}

/// Any file can be a raw disk; but no disk begins as a web page does.
fn is_page(file: &File) -> io::Result<bool> {
    let mut start = Vec::new();
    file.take(PAGE_START).read_to_end(&mut start)?;
    let start = start.trim_ascii_start().to_ascii_lowercase();
    Ok(start.starts_with(b"<!doctype html") || start.starts_with(b"<html"))
}
