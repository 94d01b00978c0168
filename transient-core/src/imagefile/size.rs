//! Sizes as they are written in an Imagefile.

use serde::Serialize;

/// A number and its unit. What the unit means depends on the instruction, see [`super::Disk::bytes`] and
/// [`super::Partition::bytes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Size {
    /// How many.
    pub count: u64,
    /// Of what.
    pub unit: SizeUnit,
}

/// The unit of a [`Size`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub enum SizeUnit {
    #[serde(rename = "MB")]
    Mb,
    #[serde(rename = "GB")]
    Gb,
    #[serde(rename = "TB")]
    Tb,
    #[serde(rename = "MiB")]
    Mib,
    #[serde(rename = "GiB")]
    Gib,
    #[serde(rename = "TiB")]
    Tib,
}

impl SizeUnit {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Mb, Self::Gb, Self::Tb, Self::Mib, Self::Gib, Self::Tib];

    /// Returns the usual spelling.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mb => "MB",
            Self::Gb => "GB",
            Self::Tb => "TB",
            Self::Mib => "MiB",
            Self::Gib => "GiB",
            Self::Tib => "TiB",
        }
    }

    /// Returns the bytes of one, where `GB` is taken for `GiB`.
    pub fn binary(self) -> u64 {
        match self {
            Self::Mb | Self::Mib => 1 << 20,
            Self::Gb | Self::Gib => 1 << 30,
            Self::Tb | Self::Tib => 1 << 40,
        }
    }

    /// Returns the bytes of one, where `GB` is decimal.
    pub fn exact(self) -> u64 {
        match self {
            Self::Mb => 1_000_000,
            Self::Gb => 1_000_000_000,
            Self::Tb => 1_000_000_000_000,
            Self::Mib | Self::Gib | Self::Tib => self.binary(),
        }
    }
}
