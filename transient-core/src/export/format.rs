//! The formats of exports, and how the names of files tell them.

use std::ffi::OsStr;
use std::path::Path;

use super::pack::Packing;
use crate::process::qemu_img::Target;
use crate::{CompressionType, Error, ErrorKind};

/// The format of an exported file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ExportFormat {
    /// QEMU's own.
    Qcow2,
    /// The disk byte by byte, with holes where it is empty.
    Raw,
    /// VMware's, in one file.
    Vmdk,
    /// Hyper-V's, growing.
    Vhdx,
    /// VirtualBox's, growing.
    Vdi,
}

impl ExportFormat {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Qcow2, Self::Raw, Self::Vmdk, Self::Vhdx, Self::Vdi];

    /// Returns the name, which is also how the names of such files end.
    pub fn name(self) -> &'static str {
        match self {
            Self::Qcow2 => "qcow2",
            Self::Raw => "raw",
            Self::Vmdk => "vmdk",
            Self::Vhdx => "vhdx",
            Self::Vdi => "vdi",
        }
    }

    /// Returns the format that a file's name tells, whether or not `.gz`, `.xz` or `.zst` follows: that which it ends
    /// in, raw for `.img`, else qcow2.
    pub fn of_file(path: &Path) -> Self {
        let path = match Packing::of_file(path) {
            Some(_) => path.with_extension(""),
            None => path.to_owned(),
        };
        let ends_in = |extension: &str| {
            path.extension().is_some_and(|end| end.eq_ignore_ascii_case(OsStr::new(extension)))
        };
        let known = Self::ALL.into_iter().find(|format| ends_in(format.name()));
        known.unwrap_or(if ends_in("img") { Self::Raw } else { Self::Qcow2 })
    }

    /// Returns what `qemu-img` is told.
    pub(super) fn target(self, compressed: bool) -> Result<Target, Error> {
        let options = match (self, compressed) {
            (Self::Qcow2, _) => return Ok(Target::qcow2(compressed.then_some(CompressionType::Zstd))),
            (Self::Vmdk, true) => Some("subformat=streamOptimized"),
            (Self::Vmdk, false) => Some("subformat=monolithicSparse"),
            (Self::Vhdx, false) => Some("subformat=dynamic"),
            (_, false) => None,
            (_, true) => {
                let message = format!("the format {} has no compression of its own", self.name());
                return Err(Error::new(ErrorKind::InvalidArgument, message)
                    .hint("a file whose name ends in .gz, .xz or .zst is compressed as a whole"));
            }
        };
        Ok(Target { driver: self.name(), options, compressed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_formats() {
        for (path, format) in [
            ("a.qcow2", ExportFormat::Qcow2),
            ("a.VMDK", ExportFormat::Vmdk),
            ("a.raw.vdi", ExportFormat::Vdi),
            ("a.img", ExportFormat::Raw),
            ("a.raw.xz", ExportFormat::Raw),
            ("a.vhdx.gz.zst", ExportFormat::Qcow2),
            ("raw", ExportFormat::Qcow2),
            ("a.gz", ExportFormat::Qcow2),
        ] {
            assert_eq!(ExportFormat::of_file(Path::new(path)), format, "{path}");
        }
    }

    #[test]
    fn only_some_formats_compress() {
        let compressing = ExportFormat::ALL.into_iter().filter(|format| format.target(true).is_ok());
        assert_eq!(compressing.collect::<Vec<_>>(), [ExportFormat::Qcow2, ExportFormat::Vmdk]);
    }
}
