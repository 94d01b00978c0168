//! Writing files with holes where there are only zeros.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The size of the smallest hole, that of a qcow2 cluster.
const HOLE: usize = 64 << 10;

/// A file that is written from front to back.
pub(super) struct SparseFile {
    file: File,
    length: u64,
}

impl SparseFile {
    /// Makes a new file.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        Ok(Self { file: File::create_new(path)?, length: 0 })
    }

    pub(super) fn append(&mut self, data: &[u8]) -> io::Result<()> {
        for part in data.chunks(HOLE) {
            if !is_zero(part) {
                self.file.write_all_at(part, self.length)?;
            }
            self.length += part.len() as u64;
        }
        Ok(())
    }

    /// Leaves a hole up to an offset, which must not be behind what was written.
    pub(super) fn skip_to(&mut self, offset: u64) {
        self.length = self.length.max(offset);
    }

    pub(super) fn finish(self) -> io::Result<()> {
        // There may be a hole at the end.
        self.file.set_len(self.length)
    }
}

fn is_zero(data: &[u8]) -> bool {
    // A comparison of slices is one fast call, also without optimisation.
    const ZEROS: [u8; 4096] = [0; 4096];
    data.chunks(ZEROS.len()).all(|part| part == &ZEROS[..part.len()])
}
