//! Numbers at offsets, and reading at offsets.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// A thing to read a header from.
pub(super) trait Input {
    /// Returns up to `length` bytes from `offset` on; fewer only at the end.
    fn read_at(&self, offset: u64, length: usize) -> io::Result<Vec<u8>>;

    /// Returns the length of all of it.
    fn length(&self) -> io::Result<u64>;
}

impl Input for File {
    fn read_at(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        // The kernel takes no larger offset.
        if i64::try_from(offset).is_err() {
            return Ok(Vec::new());
        }
        let mut buffer = vec![0; length];
        let mut filled = 0;
        while filled < length {
            match FileExt::read_at(self, &mut buffer[filled..], offset.saturating_add(filled as u64)) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        buffer.truncate(filled);
        Ok(buffer)
    }

    fn length(&self) -> io::Result<u64> {
        // A block device has a length too, but not in its metadata.
        use std::io::Seek as _;
        let metadata = self.metadata()?;
        if metadata.is_file() { Ok(metadata.len()) } else { self.try_clone()?.seek(io::SeekFrom::End(0)) }
    }
}

impl Input for &[u8] {
    fn read_at(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.len());
        let end = start.saturating_add(length).min(self.len());
        Ok(self[start..end].to_vec())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }
}

/// Numbers in a header; `None` where it ends too early.
pub(super) trait Field {
    fn field<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;

    fn be16(&self, offset: usize) -> Option<u16> {
        self.field(offset).map(u16::from_be_bytes)
    }

    fn be32(&self, offset: usize) -> Option<u32> {
        self.field(offset).map(u32::from_be_bytes)
    }

    fn be64(&self, offset: usize) -> Option<u64> {
        self.field(offset).map(u64::from_be_bytes)
    }

    fn le16(&self, offset: usize) -> Option<u16> {
        self.field(offset).map(u16::from_le_bytes)
    }

    fn le32(&self, offset: usize) -> Option<u32> {
        self.field(offset).map(u32::from_le_bytes)
    }

    fn le64(&self, offset: usize) -> Option<u64> {
        self.field(offset).map(u64::from_le_bytes)
    }
}

impl Field for [u8] {
    fn field<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.get(offset..)?.first_chunk().copied()
    }
}
