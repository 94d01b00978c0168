//! Reading the headers of disk images natively, without QEMU.
//!
//! An image that came from outside is not trusted: QEMU would open every file that a header names. So a header
//! is read here first, [`Header::refusal`] says whether the image may be used, and its format is then given
//! to QEMU explicitly, never probed.
//!
//! The content alone says what the format is. A guest may well write the header of another format to the begin
//! of a disk that is stored raw; then that header counts, and is held to the same rules: all that the guest can
//! reach thereby is its own bytes. A file that bears the signatures of two formats is refused.

mod block;
mod bytes;
mod compression;
mod format;
mod map;
mod qcow2;
mod refusal;
mod vhdx;
mod vmdk;
mod vpc;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::path::Path;

pub use compression::Compression;
pub use format::Format;
pub use qcow2::{CompressionType, Qcow2};

use crate::CancelToken;
use bytes::Input;
use format::Signature;
use map::Map;
use refusal::{Refusal, Stop};

/// The size of the largest disk that is taken, 64 TiB.
///
/// VHDX has the same limit, and no format of this module but qcow2 a higher one. It bounds how long the tables
/// of an image can be.
pub const LARGEST_DISK: u64 = 64 << 40;

/// Enough for all that is in the header of a usual qcow2 image.
const FIRST_READ: usize = 4096;
const SECTOR: u64 = 512;
/// A header that ends before all of it is there.
const CUT_OFF: &str = "its header is cut off";

/// What a disk image says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Header {
    /// The format, told by the content.
    pub format: Format,
    /// The size in bytes of the disk that a VM sees; 0 where the header is too broken to tell.
    pub virtual_size: u64,
    /// More, of a qcow2 image whose header could be read.
    pub qcow2: Option<Qcow2>,
    refusal: Option<Refusal>,
}

/// A header, and the map that it leads to if there is one.
struct Parsed {
    header: Header,
    map: Option<Map>,
}

impl Header {
    /// Reads the header of an open file; its position does not matter and stays.
    ///
    /// # Errors
    ///
    /// Those of reading. A header that makes no sense is no error here, but has a [`Self::refusal`].
    pub fn read(file: &File) -> io::Result<Self> {
        Self::parsed(file).map(|parsed| parsed.header)
    }

    /// As [`Self::read`], and follows the tables of the image to see that all that they name is in the file. This
    /// takes longer the larger the image is.
    ///
    /// # Errors
    ///
    /// Those of reading; a cancel.
    pub fn inspect(file: &File, cancel: &CancelToken) -> io::Result<Self> {
        Self::inspected(file, cancel)
    }

    /// Opens a file and reads the header.
    ///
    /// # Errors
    ///
    /// Those of opening and reading.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::read(&File::open(path)?)
    }

    /// Inspects an image that is in memory as a whole.
    pub fn parse(image: &[u8]) -> Self {
        // Reading from memory does not fail.
        Self::inspected(&image, &CancelToken::new())
            .unwrap_or_else(|error| Self::refused(Format::Raw, Refusal::damaged(error.to_string())))
    }

    /// Returns why the image must not be handed to QEMU, a fragment such as "it names a backing file (`x`)";
    /// `None` when it may be.
    pub fn refusal(&self) -> Option<&str> {
        self.refusal.as_ref().map(|refusal| refusal.reason.as_str())
    }

    /// Returns what can be done about the [`Self::refusal`].
    pub fn hint(&self) -> Option<&str> {
        self.refusal.as_ref().map(|refusal| refusal.hint)
    }

    fn inspected(input: &dyn Input, cancel: &CancelToken) -> io::Result<Self> {
        let Parsed { mut header, map } = Self::parsed(input)?;
        if let (None, Some(map)) = (&header.refusal, map) {
            match map.check(input, cancel) {
                Ok(()) => {}
                Err(Stop::Refused(refusal)) => header.refusal = Some(refusal),
                Err(Stop::Failed(error)) => return Err(error),
            }
        }
        Ok(header)
    }

    fn parsed(input: &dyn Input) -> io::Result<Parsed> {
        let start = input.read_at(0, FIRST_READ)?;
        let end = match input.length()?.checked_sub(SECTOR) {
            Some(at) => input.read_at(at, SECTOR as usize)?,
            None => Vec::new(),
        };
        let mut parsed = match format::signatures(&start, &end).as_slice() {
            [] => Self::accepted(Format::Raw, raw_size(input)?).into(),
            [Signature::Of(format)] => Self::of_format(*format, input, &start)?,
            [Signature::Foreign(name)] => {
                let reason = format!("it is of the format {name}, which is not supported");
                Self::refused(Format::Raw, Refusal::unsupported(reason)).into()
            }
            several => {
                let names: Vec<_> = several.iter().map(|signature| signature.name()).collect();
                let reason = format!("it can be read as more than one format: {}", names.join(", "));
                Self::refused(Format::Raw, Refusal::ambiguous(reason)).into()
            }
        };
        let too_large = parsed.header.virtual_size > LARGEST_DISK;
        parsed.header = parsed.header.refuse_if(too_large, Refusal::too_large());
        Ok(parsed)
    }

    fn of_format(format: Format, input: &dyn Input, start: &[u8]) -> io::Result<Parsed> {
        Ok(match format {
            Format::Raw => Self::accepted(Format::Raw, raw_size(input)?).into(),
            Format::Qcow2 => qcow2::read(input, start)?,
            Format::Qcow => block::qcow(start),
            Format::Qed => block::qed(start),
            Format::Vmdk => vmdk::read(input, start)?,
            Format::Vhdx => vhdx::read(input)?.into(),
            Format::Vdi => block::vdi(start),
            Format::Vpc => vpc::read(input, start)?.into(),
            Format::Parallels => block::parallels(start),
            Format::Luks => Self::refused(Format::Luks, Refusal::encrypted("it is encrypted")).into(),
        })
    }

    fn accepted(format: Format, virtual_size: u64) -> Self {
        Self { format, virtual_size, qcow2: None, refusal: None }
    }

    fn refused(format: Format, refusal: Refusal) -> Self {
        Self { format, virtual_size: 0, qcow2: None, refusal: Some(refusal) }
    }

    fn cut_off(format: Format) -> Self {
        Self::refused(format, Refusal::damaged(CUT_OFF))
    }

    /// The first reason counts.
    #[must_use]
    fn refuse_if(mut self, condition: bool, refusal: Refusal) -> Self {
        if condition && self.refusal.is_none() {
            self.refusal = Some(refusal);
        }
        self
    }

    /// Adds the map, which only makes sense where the header does.
    fn with_map(self, map: impl FnOnce() -> Map) -> Parsed {
        let map = self.refusal.is_none().then(map);
        Parsed { header: self, map }
    }
}

impl From<Header> for Parsed {
    fn from(header: Header) -> Self {
        Self { header, map: None }
    }
}

/// QEMU fills the last sector up.
fn raw_size(input: &dyn Input) -> io::Result<u64> {
    Ok(input.length()?.checked_next_multiple_of(SECTOR).unwrap_or(u64::MAX))
}
