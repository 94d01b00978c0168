//! Making a disk image of any format one that can be committed.

use std::path::PathBuf;

use super::candidate::Candidate;
use super::{Place, Plain};
use crate::{Error, Event};

/// Converts a disk image, unless QEMU must not open it, and returns the new file.
pub(super) fn adopt(plain: Plain, place: &Place<'_>) -> Result<PathBuf, Error> {
    let task = format!("Converting {}", plain.named);
    let candidate = Candidate::inspect(plain, place.cancel)?;
    let converted = place.folder.join("image.qcow2");
    let total = candidate.header().virtual_size;
    let mut progress = |part: f64| place.reporter.progress(&task, (part * total as f64) as u64, Some(total));
    candidate.convert(&converted, &mut progress, place.cancel)?;
    let finished = Event::Progress { task, done: total, total: Some(total), finished: true };
    place.reporter.send_blocking(finished);
    Ok(converted)
}
