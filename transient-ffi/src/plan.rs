//! What a build will do.

use std::ffi::{CString, c_char};

use transient_core::{PartitionKind, Plan};

use crate::boundary::{Out, borrow, fallible, free, read};
use crate::error::transient_error;
use crate::imagefile::transient_imagefile;
use crate::status::transient_status;
use crate::text::{c_path, c_string};

/// A partition of a new disk, placed. Made by the library alone; later releases may add fields at the end.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct transient_placed_partition {
    /// Its number in the table.
    pub number: u32,
    /// Its first byte on the disk.
    pub start: u64,
    /// In bytes; 0 is all that is left.
    pub size: u64,
    /// MBR: active; GPT: the attribute "legacy BIOS bootable".
    pub boot: bool,
    /// What its type says that it holds: `linux`, `swap`, `efi-system` or `bios-boot`.
    pub kind: *const c_char,
}

/// Where a partition is mounted. Made by the library alone; later releases may add fields at the end.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct transient_mount {
    /// The partition's number.
    pub partition: u32,
    /// An absolute path in the image.
    pub path: *const c_char,
    /// The filesystem, for example `ext4`.
    pub filesystem: *const c_char,
}

/// What a build will do: a step for each instruction, and the layout of a new disk. It never changes.
#[derive(Debug)]
pub struct transient_plan {
    steps: usize,
    disk_size: u64,
    partitions: Vec<transient_placed_partition>,
    mounts: Vec<transient_mount>,
    _strings: Vec<CString>,
}

// SAFETY: nothing in it is changed once it is made, and the views point into what it owns.
unsafe impl Send for transient_plan {}
// SAFETY: as above.
unsafe impl Sync for transient_plan {}

impl transient_plan {
    pub(crate) fn new(plan: &Plan) -> Self {
        let mut strings = Vec::new();
        let mut keep = |text: CString| {
            strings.push(text);
            crate::text::address(strings.last())
        };
        let disk = plan.disk.as_ref();
        let partitions = disk.map_or(&[][..], |disk| &disk.partitions);
        let partitions = partitions.iter().map(|partition| transient_placed_partition {
            number: partition.number,
            start: partition.start,
            size: partition.size.unwrap_or(0),
            boot: partition.boot,
            kind: keep(c_string(kind_name(partition.kind))),
        });
        let partitions = partitions.collect();
        let mounts = disk.map_or(&[][..], |disk| &disk.mounts).iter().map(|mount| transient_mount {
            partition: mount.partition,
            path: keep(c_path(&mount.path)),
            filesystem: keep(c_string(mount.filesystem.name())),
        });
        let mounts = mounts.collect();
        let (steps, disk_size) = (plan.steps.len(), disk.map_or(0, |disk| disk.size));
        Self { steps, disk_size, partitions, mounts, _strings: strings }
    }
}

fn kind_name(kind: PartitionKind) -> &'static str {
    match kind {
        PartitionKind::Linux => "linux",
        PartitionKind::Swap => "swap",
        PartitionKind::EfiSystem => "efi-system",
        PartitionKind::BiosBoot => "bios-boot",
    }
}

/// Makes the plan of an Imagefile, of which it keeps nothing. The caller owns `*plan_out`: `transient_plan_free`.
/// Any thread may call this.
#[unsafe(no_mangle)]
pub extern "C" fn transient_plan_new(
    imagefile: *const transient_imagefile,
    plan_out: *mut *mut transient_plan,
    error_out: *mut *mut transient_error,
) -> transient_status {
    fallible(error_out, || {
        let out = Out::new(plan_out, "plan_out")?;
        let imagefile = borrow(imagefile, "imagefile")?;
        out.give(transient_plan::new(&Plan::new(&imagefile.imagefile)));
        Ok(())
    })
}

/// Returns how many steps the build has: one for each instruction, in their order.
#[unsafe(no_mangle)]
pub extern "C" fn transient_plan_steps_len(plan: *const transient_plan) -> usize {
    read(plan, |plan| plan.steps)
}

/// Returns the size of the new disk in bytes; 0 when the build starts from an image.
#[unsafe(no_mangle)]
pub extern "C" fn transient_plan_disk_size(plan: *const transient_plan) -> u64 {
    read(plan, |plan| plan.disk_size)
}

/// Returns how many partitions the new disk has.
#[unsafe(no_mangle)]
pub extern "C" fn transient_plan_partitions_len(plan: *const transient_plan) -> usize {
    read(plan, |plan| plan.partitions.len())
}

/// Returns a partition, in the order of the Imagefile; NULL behind the last. Lives as long as the plan.
#[unsafe(no_mangle)]
pub extern "C" fn transient_plan_partition(
    plan: *const transient_plan,
    index: usize,
) -> *const transient_placed_partition {
    read(plan, |plan| plan.partitions.get(index).map_or(std::ptr::null(), std::ptr::from_ref))
}

/// Returns how many partitions are mounted.
#[unsafe(no_mangle)]
pub extern "C" fn transient_plan_mounts_len(plan: *const transient_plan) -> usize {
    read(plan, |plan| plan.mounts.len())
}

/// Returns a mount, `/` before what lies in it; NULL behind the last. Lives as long as the plan.
#[unsafe(no_mangle)]
pub extern "C" fn transient_plan_mount(plan: *const transient_plan, index: usize) -> *const transient_mount {
    read(plan, |plan| plan.mounts.get(index).map_or(std::ptr::null(), std::ptr::from_ref))
}

/// Frees a plan. NULL is ignored.
#[unsafe(no_mangle)]
pub extern "C" fn transient_plan_free(plan: *mut transient_plan) {
    free(plan);
}
