//! Making a disk image of any format one that can be committed.

use std::path::PathBuf;

use super::candidate::Candidate;
use super::{Place, Plain};
use crate::image::header::Format;
use crate::{Error, Event};

/// A disk image that can be committed.
pub(super) struct Adopted {
    /// The new file.
    pub(super) path: PathBuf,
    /// What it was before.
    pub(super) format: Format,
}

/// Converts a disk image, unless QEMU must not open it.
pub(super) fn adopt(plain: Plain, place: &Place<'_>) -> Result<Adopted, Error> {
    let task = format!("Converting {}", plain.named);
    let candidate = Candidate::inspect(plain, place.cancel)?;
    let converted = place.folder.join("image.qcow2");
    let total = candidate.header().virtual_size;
    let mut progress = |part: f64| place.reporter.progress(&task, (part * total as f64) as u64, Some(total));
    candidate.convert(&converted, &mut progress, place.cancel)?;
    let finished = Event::Progress { task, done: total, total: Some(total), finished: true };
    place.reporter.send_blocking(finished);
    Ok(Adopted { path: converted, format: candidate.header().format })
}
