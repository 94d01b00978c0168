//! Reading the headers of disk images natively, without QEMU.
//!
//! An image that came from outside is not trusted: QEMU would open every file that a header names. So a header
//! is read here first, [`Header::refusal`] says whether the image may be used, and its format is then given
//! to QEMU explicitly, never probed.

mod block;
mod bytes;
mod qcow2;
mod vhd;
mod vmdk;

use std::fs::File;
use std::io;
use std::path::Path;

pub use qcow2::Qcow2;

use bytes::{Field as _, Input};

/// Enough for all that is in the header of a usual qcow2 image.
const FIRST_READ: usize = 4096;
/// No disk is larger; a header that says so is broken or hostile.
const LARGEST_DISK: u64 = 64 << 40;

/// The format of a disk image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
#[expect(missing_docs, reason = "the names say it")]
pub enum Format {
    Raw,
    Qcow2,
    /// The predecessor of qcow2.
    Qcow,
    Qed,
    Vmdk,
    Vhdx,
    Vdi,
    /// The predecessor of VHDX, also called VHD.
    Vpc,
    Luks,
}

impl Format {
    /// Returns the name of QEMU's driver.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Qcow => "qcow",
            Self::Qed => "qed",
            Self::Vmdk => "vmdk",
            Self::Vhdx => "vhdx",
            Self::Vdi => "vdi",
            Self::Vpc => "vpc",
            Self::Luks => "luks",
        }
    }
}

/// How a file is compressed as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the names say it")]
pub enum Compression {
    Gzip,
    Bzip2,
    Xz,
    Zstd,
}

impl Compression {
    /// Tells by the first bytes of a file (six are enough) how it is compressed.
    ///
    /// ```
    /// use transient_core::image::header::Compression;
    ///
    /// assert_eq!(Compression::detect(b"\x1f\x8b\x08\x00"), Some(Compression::Gzip));
    /// assert_eq!(Compression::detect(b"QFI\xfb"), None);
    /// ```
    pub fn detect(start: &[u8]) -> Option<Self> {
        let is_bzip2 =
            start.starts_with(b"BZh") && start.get(3).is_some_and(|level| (b'1'..=b'9').contains(level));
        if start.starts_with(&[0x1f, 0x8b]) {
            Some(Self::Gzip)
        } else if is_bzip2 {
            Some(Self::Bzip2)
        } else if start.starts_with(b"\xfd7zXZ\0") {
            Some(Self::Xz)
        } else if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            Some(Self::Zstd)
        } else {
            None
        }
    }
}

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
    refusal: Option<String>,
}

impl Header {
    /// Reads the header of an open file; its position does not matter and stays.
    ///
    /// # Errors
    ///
    /// Those of reading. A header that makes no sense is no error here, but has a [`Self::refusal`].
    pub fn read(file: &File) -> io::Result<Self> {
        Self::from_input(file)
    }

    /// Opens a file and reads the header.
    ///
    /// # Errors
    ///
    /// Those of opening and reading.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::read(&File::open(path)?)
    }

    /// Reads the header of an image that is in memory as a whole.
    pub fn parse(image: &[u8]) -> Self {
        // Reading from memory does not fail.
        Self::from_input(&image).unwrap_or_else(|error| Self::refused(Format::Raw, error.to_string()))
    }

    /// Returns why the image must not be handed to QEMU, a fragment such as "it names a backing file (`x`)";
    /// `None` when it may be.
    pub fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }

    fn from_input(input: &dyn Input) -> io::Result<Self> {
        let start = input.read_at(0, FIRST_READ)?;
        let mut header = Self::dispatch(input, &start)?;
        if header.refusal.is_none() && header.virtual_size > LARGEST_DISK {
            header.refusal = Some("it claims to be larger than 64 TiB".to_owned());
        }
        Ok(header)
    }

    fn dispatch(input: &dyn Input, start: &[u8]) -> io::Result<Self> {
        if start.starts_with(b"QFI\xfb") {
            return match start.be32(4) {
                Some(1) => Ok(block::qcow(start)),
                _ => qcow2::read(input, start),
            };
        }
        if start.starts_with(b"QED\0") {
            return Ok(block::qed(start));
        }
        if start.starts_with(b"LUKS\xba\xbe") {
            return Ok(Self::refused(Format::Luks, "it is encrypted"));
        }
        if start.le32(0x40) == Some(0xbeda_107f) {
            return Ok(block::vdi(start));
        }
        if vmdk::matches(start) {
            return vmdk::read(input, start);
        }
        if start.starts_with(b"vhdxfile") {
            return vhd::read_vhdx(input);
        }
        if let Some(header) = vhd::read_vpc(input, start)? {
            return Ok(header);
        }
        Ok(Self::accepted(Format::Raw, input.length()?))
    }

    fn accepted(format: Format, virtual_size: u64) -> Self {
        Self { format, virtual_size, qcow2: None, refusal: None }
    }

    fn refused(format: Format, reason: impl Into<String>) -> Self {
        Self { format, virtual_size: 0, qcow2: None, refusal: Some(reason.into()) }
    }

    #[must_use]
    fn refuse_if(mut self, condition: bool, reason: impl Into<String>) -> Self {
        if condition && self.refusal.is_none() {
            self.refusal = Some(reason.into());
        }
        self
    }
}

/// A header that ends before all of it is there.
const CUT_OFF: &str = "its header is cut off";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAGICS: [&[u8]; 9] = [
        b"QFI\xfb\0\0\0\x03",
        b"QFI\xfb\0\0\0\x01",
        b"QED\0",
        b"LUKS\xba\xbe",
        b"KDMV",
        b"# Disk DescriptorFile",
        b"vhdxfile",
        b"conectix",
        b"",
    ];

    #[test]
    fn other_files_are_raw() {
        let header = Header::parse(&[0; 1000]);
        assert_eq!((header.format, header.virtual_size, header.refusal()), (Format::Raw, 1000, None));
        assert_eq!(Header::parse(b"").format, Format::Raw);
    }

    #[test]
    fn compression_is_told_by_content() {
        assert_eq!(Compression::detect(b"BZh9"), Some(Compression::Bzip2));
        assert_eq!(Compression::detect(b"BZh0"), None);
        assert_eq!(Compression::detect(b"\xfd7zXZ\0"), Some(Compression::Xz));
        assert_eq!(Compression::detect(&[0x28, 0xb5, 0x2f, 0xfd]), Some(Compression::Zstd));
        assert_eq!(Compression::detect(b""), None);
    }

    proptest! {
        #[test]
        fn no_bytes_do_harm(magic in 0..MAGICS.len(), rest in proptest::collection::vec(any::<u8>(), 0..2048)) {
            let bytes = [MAGICS[magic], &rest].concat();
            let _ = Header::parse(&bytes);
        }
    }
}
