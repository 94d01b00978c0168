//! Where the tables are: each in the file, at the begin of a cluster, and none upon another.

use std::ops::Range;

use super::super::bytes::Field as _;
use super::super::map::{Decode, Entry, Map, Tables};
use super::super::refusal::Refusal;
use super::EXTENDED_L2;
use super::extensions::Extensions;
use super::fixed::Fixed;

/// The limits that QEMU has.
const LARGEST_L1: u64 = 32 << 20;
const LARGEST_REFCOUNTS: u64 = 8 << 20;
const MOST_SNAPSHOTS: u64 = 65536;

/// The fixed part of an entry of the table of snapshots.
const SNAPSHOT: u64 = 40;
/// The autoclear feature that says that the bitmaps are valid.
const BITMAPS: u64 = 1;
/// The bits of an entry of an L1 or L2 table that are the place in the file.
const PLACE: u64 = 0x00ff_ffff_ffff_fe00;
const COMPRESSED: u64 = 1 << 62;
const ZERO: u64 = 1;

/// A table that the header names.
struct Region {
    name: &'static str,
    place: Range<u64>,
    largest: u64,
}

impl Region {
    fn new(name: &'static str, offset: u64, size: u64, largest: u64) -> Self {
        Self { name, place: offset..offset.saturating_add(size), largest }
    }

    fn check(&self, cluster: u64, length: u64) -> Result<(), Refusal> {
        let Self { name, place, largest } = self;
        let what = if place.end - place.start > *largest {
            "is absurdly large"
        } else if !place.start.is_multiple_of(cluster) {
            "is not at the begin of a cluster"
        } else if place.start > i64::MAX as u64 || !place.is_empty() && place.end > length {
            "lies outside of the file"
        } else {
            return Ok(());
        };
        Err(Refusal::damaged(format!("its {name} {what}")))
    }
}

/// Checks the tables that the header names, in a file of that length.
pub(super) fn check(fixed: &Fixed, extensions: &Extensions, length: u64) -> Result<(), Refusal> {
    if fixed.refcounts_clusters == 0 {
        return Err(Refusal::damaged("it has no refcount table"));
    }
    if u64::from(fixed.l1_entries) < needed(fixed) {
        return Err(Refusal::damaged("its L1 table is too small for its disk"));
    }
    let tables = tables(fixed, extensions);
    tables.iter().try_for_each(|table| table.check(fixed.cluster(), length))?;
    let mut regions = occupied(fixed, tables);
    regions.sort_by_key(|region| region.place.start);
    match regions.windows(2).find(|pair| pair[0].place.end > pair[1].place.start) {
        Some(pair) => Err(Refusal::damaged(format!("its {} and its {} overlap", pair[0].name, pair[1].name))),
        None => Ok(()),
    }
}

fn tables(fixed: &Fixed, extensions: &Extensions) -> Vec<Region> {
    let snapshots = u64::from(fixed.snapshots) * SNAPSHOT;
    let refcounts = u64::from(fixed.refcounts_clusters) * fixed.cluster();
    let bitmaps = extensions.bitmaps.filter(|_| fixed.autoclear & BITMAPS != 0).unwrap_or_default();
    vec![
        Region::new("refcount table", fixed.refcounts_offset, refcounts, LARGEST_REFCOUNTS),
        Region::new("L1 table", fixed.l1_offset, u64::from(fixed.l1_entries) * 8, LARGEST_L1),
        Region::new("table of snapshots", fixed.snapshots_offset, snapshots, MOST_SNAPSHOTS * SNAPSHOT),
        Region::new("directory of bitmaps", bitmaps.0, bitmaps.1, u64::MAX),
    ]
}

/// Adds the header, and leaves out tables without entries.
fn occupied(fixed: &Fixed, mut regions: Vec<Region>) -> Vec<Region> {
    regions.retain(|region| !region.place.is_empty());
    regions.push(Region::new("header", 0, fixed.cluster(), u64::MAX));
    regions
}

fn entry_size(fixed: &Fixed) -> u64 {
    if fixed.has(EXTENDED_L2) { 16 } else { 8 }
}

/// How many entries of the L1 table stand for the disk. Those that follow are for the memory of saved VMs.
fn needed(fixed: &Fixed) -> u64 {
    fixed.size.div_ceil(fixed.cluster() / entry_size(fixed) * fixed.cluster())
}

/// Returns the map of the disk, which begins with the L1 table.
pub(super) fn map(fixed: &Fixed, extensions: &Extensions) -> Map {
    let taken = occupied(fixed, tables(fixed, extensions));
    Map {
        offset: fixed.l1_offset,
        entries: needed(fixed),
        entry: Entry {
            size: 8,
            alignment: fixed.cluster(),
            decode: Box::new(|entry| entry.be64(0).map(|entry| entry & PLACE).filter(|at| *at != 0)),
        },
        tables: Some(Tables {
            size: fixed.cluster(),
            entry: Entry { size: entry_size(fixed), alignment: 1, decode: place_of_cluster(fixed) },
            taken: taken.into_iter().map(|region| region.place).collect(),
        }),
    }
}

/// Returns what finds the place of a cluster in an entry of an L2 table, if anything is read from there.
fn place_of_cluster(fixed: &Fixed) -> Decode {
    let place_of_compressed = (1 << (62 - (fixed.cluster_bits - 8))) - 1;
    let has_subclusters = fixed.has(EXTENDED_L2);
    Box::new(move |bytes| {
        let entry = bytes.be64(0)?;
        if entry & COMPRESSED != 0 {
            return Some(entry & place_of_compressed);
        }
        let is_read = if has_subclusters { bytes.be64(8)? as u32 != 0 } else { entry & ZERO == 0 };
        Some(entry & PLACE).filter(|at| is_read && *at != 0)
    })
}
