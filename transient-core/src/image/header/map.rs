//! Following the map of a sparse image, from the blocks of the disk to places in the file.
//!
//! QEMU reads what lies beyond the end of a file as zeros: an image that was cut short would go unnoticed. So
//! every block must begin inside of the file, the rule of `qemu-img check`, too.

use std::io;
use std::ops::Range;

use super::bytes::Input;
use super::refusal::{Refusal, Stop};
use crate::CancelToken;

/// How much of a table is read at a time.
const PIECE: u64 = 1 << 20;
/// QEMU takes no larger first table of qcow2. It bounds the memory that is used here.
const LARGEST_FIRST: u64 = 32 << 20;

const OUTSIDE: &str = "one of its tables lies outside of the file";
const OVERLAP: &str = "two of its tables overlap";

/// A table that names the places of blocks, or of further tables that do.
pub(super) struct Map {
    pub(super) offset: u64,
    pub(super) entries: u64,
    pub(super) entry: Entry,
    pub(super) tables: Option<Tables>,
}

/// Returns the place that an entry names, if any.
pub(super) type Decode = Box<dyn Fn(&[u8]) -> Option<u64>>;

/// How places are written in a table.
pub(super) struct Entry {
    pub(super) size: u64,
    /// What an entry must be a multiple of.
    pub(super) alignment: u64,
    pub(super) decode: Decode,
}

/// The tables that the first one names.
pub(super) struct Tables {
    /// The size of each, in bytes.
    pub(super) size: u64,
    pub(super) entry: Entry,
    /// Where none of them may be.
    pub(super) taken: Vec<Range<u64>>,
}

impl Map {
    /// Looks at all entries. Takes time in proportion to what a conversion would read of the tables.
    pub(super) fn check(&self, input: &dyn Input, cancel: &CancelToken) -> Result<(), Stop> {
        let walk = Walk { input, length: input.length()?, cancel };
        let Some(tables) = &self.tables else {
            return walk.blocks(self.offset, self.entries.saturating_mul(self.entry.size), &self.entry);
        };
        for offset in walk.tables(self, tables)? {
            walk.blocks(offset, tables.size, &tables.entry)?;
        }
        Ok(())
    }
}

struct Walk<'a> {
    input: &'a dyn Input,
    length: u64,
    cancel: &'a CancelToken,
}

impl Walk<'_> {
    /// Returns where the tables are that the first one names, in ascending order.
    fn tables(&self, map: &Map, tables: &Tables) -> Result<Vec<u64>, Stop> {
        let size = map.entries.saturating_mul(map.entry.size);
        if size > LARGEST_FIRST {
            return Err(Refusal::damaged("the first of its tables is absurdly large").into());
        }
        let mut offsets = Vec::new();
        self.each(map.offset, size, &map.entry, &mut |offset| {
            let end = offset.saturating_add(tables.size);
            if end > self.length {
                return Err(Refusal::damaged(OUTSIDE));
            }
            if tables.taken.iter().any(|range| offset < range.end && range.start < end) {
                return Err(Refusal::damaged(OVERLAP));
            }
            offsets.push(offset);
            Ok(())
        })?;
        offsets.sort_unstable();
        // One table in many places would make a small file take any amount of time.
        if offsets.windows(2).any(|pair| pair[1] - pair[0] < tables.size) {
            return Err(Refusal::damaged(OVERLAP).into());
        }
        Ok(offsets)
    }

    /// Checks that the blocks which a table names are there.
    fn blocks(&self, offset: u64, size: u64, entry: &Entry) -> Result<(), Stop> {
        self.each(offset, size, entry, &mut |place| {
            if place < self.length {
                Ok(())
            } else {
                Err(Refusal::damaged("a part of its data lies beyond the end of the file"))
            }
        })
    }

    /// Calls a function for each place that a table names.
    fn each(
        &self,
        offset: u64,
        size: u64,
        entry: &Entry,
        visit: &mut dyn FnMut(u64) -> Result<(), Refusal>,
    ) -> Result<(), Stop> {
        if offset.saturating_add(size) > self.length {
            return Err(Refusal::damaged(OUTSIDE).into());
        }
        let mut done = 0;
        while done < size {
            self.cancel.check().map_err(io::Error::other)?;
            let piece = self.input.read_at(offset + done, PIECE.min(size - done) as usize)?;
            for place in piece.chunks_exact(entry.size as usize).filter_map(&entry.decode) {
                if place % entry.alignment != 0 {
                    return Err(Refusal::damaged("a place that its tables name is not aligned").into());
                }
                visit(place)?;
            }
            done += PIECE;
        }
        Ok(())
    }
}
