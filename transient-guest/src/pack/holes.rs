//! Holes of files: they are not packed.

use std::os::fd::AsFd;

use rustix::fs::{SeekFrom, Stat, seek};
use rustix::io::Errno;

use crate::archive::{MOST_PARTS, SparseMap};

/// Returns the parts of a file that are no holes; `None` if it has none, or none that can be found.
pub(super) fn find(file: impl AsFd, stat: &Stat) -> Option<SparseMap> {
    let size = u64::try_from(stat.st_size).ok()?;
    if u64::try_from(stat.st_blocks).ok()?.saturating_mul(512) >= size {
        return None;
    }
    let mut parts = Vec::new();
    let mut at = 0;
    while at < size {
        let start = match seek(&file, SeekFrom::Data(at)) {
            Ok(start) if start < size => start,
            Ok(_) | Err(Errno::NXIO) => break,
            Err(_) => return None,
        };
        let end = seek(&file, SeekFrom::Hole(start)).ok()?.min(size);
        if end <= start || parts.len() == MOST_PARTS {
            return None;
        }
        parts.push((start, end - start));
        at = end;
    }
    // GNU tar knows the end by it.
    if parts.last().is_none_or(|(start, length)| start + length < size) {
        parts.push((size, 0));
    }
    (parts != [(0, size)]).then_some(SparseMap { parts, size })
}
