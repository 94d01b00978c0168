//! The fields of the header.

use super::super::bytes::Field as _;
use super::super::refusal::Refusal;
use super::{COMPRESSION_TYPE, EXTENDED_L2};

/// The length of a version 2 header, where version 3 has more fields.
const V2_LENGTH: u32 = 72;
const V3_LENGTH: u32 = 104;
/// QEMU takes no longer name of a backing file.
const LONGEST_BACKING_NAME: u32 = 1023;
/// Clusters of 512 bytes to 2 MiB.
const CLUSTER_BITS: std::ops::RangeInclusive<u32> = 9..=21;
/// 32 subclusters of 512 bytes.
const LEAST_EXTENDED_BITS: u32 = 14;
/// Counts of 64 bits.
const LARGEST_REFCOUNT_ORDER: u32 = 6;
const ZSTD: u8 = 1;

pub(super) struct Fixed {
    pub(super) version: u32,
    pub(super) backing_offset: u64,
    pub(super) backing_length: u32,
    pub(super) cluster_bits: u32,
    pub(super) size: u64,
    pub(super) crypt_method: u32,
    pub(super) l1_entries: u32,
    pub(super) l1_offset: u64,
    pub(super) refcounts_offset: u64,
    pub(super) refcounts_clusters: u32,
    pub(super) snapshots: u32,
    pub(super) snapshots_offset: u64,
    pub(super) incompatible: u64,
    pub(super) autoclear: u64,
    refcount_order: u32,
    pub(super) header_length: u32,
    compression_type: u8,
}

impl Fixed {
    /// Returns `None` where the header is cut off.
    pub(super) fn parse(start: &[u8]) -> Option<Self> {
        let mut fixed = Self {
            version: start.be32(4)?,
            backing_offset: start.be64(8)?,
            backing_length: start.be32(16)?,
            cluster_bits: start.be32(20)?,
            size: start.be64(24)?,
            crypt_method: start.be32(32)?,
            l1_entries: start.be32(36)?,
            l1_offset: start.be64(40)?,
            refcounts_offset: start.be64(48)?,
            refcounts_clusters: start.be32(56)?,
            snapshots: start.be32(60)?,
            snapshots_offset: start.be64(64)?,
            incompatible: 0,
            autoclear: 0,
            refcount_order: 4,
            header_length: V2_LENGTH,
            compression_type: 0,
        };
        if fixed.version >= 3 {
            fixed.incompatible = start.be64(72)?;
            fixed.autoclear = start.be64(88)?;
            fixed.refcount_order = start.be32(96)?;
            fixed.header_length = start.be32(100)?;
        }
        if fixed.header_length > V3_LENGTH {
            [fixed.compression_type] = start.field(V3_LENGTH as usize)?;
        }
        Some(fixed)
    }

    pub(super) fn cluster(&self) -> u64 {
        1 << self.cluster_bits
    }

    pub(super) fn has(&self, feature: u64) -> bool {
        self.incompatible & feature != 0
    }

    /// Whether the fields can be right, as far as one must know to read on.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        if !(2..=3).contains(&self.version) {
            let reason = format!("its version of qcow2 is {}, which is unknown", self.version);
            return Err(Refusal::unsupported(reason));
        }
        if !CLUSTER_BITS.contains(&self.cluster_bits) {
            return Err(Refusal::damaged("its cluster size is out of range"));
        }
        let length = u64::from(self.header_length);
        if self.version == 3
            && (length < u64::from(V3_LENGTH) || length > self.cluster() || !length.is_multiple_of(8))
        {
            return Err(Refusal::damaged("the length of its header is out of range"));
        }
        let backing_end = self.backing_offset.saturating_add(u64::from(self.backing_length));
        if self.backing_offset != 0
            && (self.backing_length > LONGEST_BACKING_NAME
                || backing_end > self.cluster()
                || self.backing_offset < length)
        {
            return Err(Refusal::damaged("it names a backing file out of range"));
        }
        Ok(())
    }

    /// Whether the fields and the features agree.
    pub(super) fn check_features(&self) -> Result<(), Refusal> {
        if self.refcount_order > LARGEST_REFCOUNT_ORDER {
            return Err(Refusal::damaged("the width of its reference counts is out of range"));
        }
        if self.has(EXTENDED_L2) && self.cluster_bits < LEAST_EXTENDED_BITS {
            return Err(Refusal::damaged("its clusters are too small for subclusters"));
        }
        match (self.has(COMPRESSION_TYPE), self.compression_type) {
            (false, 0) | (true, ZSTD) => Ok(()),
            (true, 2..) => Err(Refusal::unsupported("it is compressed in an unknown way")),
            _ => Err(Refusal::damaged("how it is compressed contradicts its features")),
        }
    }
}
