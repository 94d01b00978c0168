//! What is known of an image.

use std::ffi::{CString, c_char};

use transient_core::{HistoryStep, Inspection, MadeBy, Parent, Provenance};

use crate::boundary::{Out, borrow, fallible, free, read};
use crate::error::transient_error;
use crate::image::transient_image;
use crate::status::transient_status;
use crate::store::{image_name, transient_store};
use crate::text::{Strings, address, c_string};

/// What an image was made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum transient_provenance_kind {
    /// Of a later release.
    Other = 0,
    /// An Imagefile.
    Build = 1,
    /// A source.
    Pull = 2,
}

/// How an image was made. Made by the library alone; later releases may add fields at the end.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct transient_provenance {
    /// What it was made from, a `transient_provenance_kind`.
    pub kind: u32,
    /// Tells this making from any other, in hexadecimal digits. The same image under another name has the same.
    pub id: *const c_char,
    /// When the image was whole, as in RFC 3339, in UTC.
    pub created: *const c_char,
    /// The release of transient that made it.
    pub version: *const c_char,
    /// Build: the name of the image that it started from; NULL is an empty disk.
    pub parent: *const c_char,
    /// Build: the `id` that the parent had; NULL if there was none.
    pub parent_id: *const c_char,
    /// Build: the length of the parent's file, in bytes.
    pub parent_length: u64,
    /// Build: when the parent's file was last written, in nanoseconds since 1970.
    pub parent_modified: i64,
    /// Build: what ran the builder VM's instructions, `kvm` or `tcg`; else NULL.
    pub accelerator: *const c_char,
    /// Build: the key of the appliance that was the builder VM; else NULL.
    pub appliance: *const c_char,
    /// Pull: the spec, without what may be secret in a URL; else NULL.
    pub spec: *const c_char,
    /// Pull: the format that the source had, for example `vmdk`; else NULL.
    pub format: *const c_char,
    /// Pull: how the source was compressed, for example `xz`; NULL if it was not.
    pub compression: *const c_char,
    /// Pull: what the source was compared with, for example `sha256=` and 64 hexadecimal digits; NULL if it was not.
    pub checksum: *const c_char,
}

/// One step of those that made an image. Made by the library alone; later releases may add fields at the end.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct transient_history_step {
    /// The image that it was done for.
    pub image: *const c_char,
    /// The instruction of the Imagefile, or `PULL` and the spec, without what may be secret in a URL.
    pub instruction: *const c_char,
    /// When it was done, as in RFC 3339, in UTC.
    pub finished: *const c_char,
    /// How long it took, in seconds.
    pub elapsed: f64,
}

/// What an image's file says of itself. Made by the library alone; later releases may add fields at the end.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct transient_image_details {
    /// The format of the file: `qcow2`.
    pub format: *const c_char,
    /// When the file was last written, as in RFC 3339, in UTC.
    pub created: *const c_char,
    /// The release of QEMU that this version of qcow2 came with: `0.10` or `1.1`.
    pub compat: *const c_char,
    /// How the clusters that are compressed are: `zlib` or `zstd`.
    pub compression: *const c_char,
    /// The size of a cluster, in bytes.
    pub cluster_size: u64,
    /// The name of the image that it was built from; NULL if that is not known, or it was none.
    pub parent: *const c_char,
}

/// What is known of an image. It never changes: several threads may read it at once.
#[derive(Debug)]
pub struct transient_inspection {
    image: transient_image,
    details: transient_image_details,
    provenance: Option<transient_provenance>,
    steps: Vec<transient_history_step>,
    vms: Strings,
    warnings: Strings,
    _strings: Vec<CString>,
}

// SAFETY: nothing in it is changed once it is made, and the views point into what it owns.
unsafe impl Send for transient_inspection {}
// SAFETY: as above.
unsafe impl Sync for transient_inspection {}

/// Keeps strings, and returns where they are.
#[derive(Default)]
struct Keeper(Vec<CString>);

impl Keeper {
    fn keep(&mut self, text: &str) -> *const c_char {
        self.0.push(c_string(text));
        address(self.0.last())
    }

    fn keep_optional(&mut self, text: Option<&str>) -> *const c_char {
        text.map_or(std::ptr::null(), |text| self.keep(text))
    }

    fn step(&mut self, step: &HistoryStep) -> transient_history_step {
        transient_history_step {
            image: self.keep(&step.image),
            instruction: self.keep(&step.instruction),
            finished: self.keep(&step.finished),
            elapsed: step.elapsed,
        }
    }

    fn provenance(&mut self, provenance: &Provenance) -> transient_provenance {
        let none = std::ptr::null();
        let mut made = transient_provenance {
            kind: transient_provenance_kind::Other as u32,
            id: self.keep(&provenance.id),
            created: self.keep(&provenance.created),
            version: self.keep(&provenance.version),
            parent: none,
            parent_id: none,
            parent_length: 0,
            parent_modified: 0,
            accelerator: none,
            appliance: none,
            spec: none,
            format: none,
            compression: none,
            checksum: none,
        };
        match &provenance.made_by {
            MadeBy::Build { parent, accelerator, appliance } => {
                made.kind = transient_provenance_kind::Build as u32;
                made.accelerator = self.keep(accelerator);
                made.appliance = self.keep(appliance);
                if let Some(Parent { name, id, length, modified, .. }) = parent {
                    (made.parent, made.parent_id) = (self.keep(name), self.keep_optional(id.as_deref()));
                    (made.parent_length, made.parent_modified) = (*length, *modified);
                }
            }
            MadeBy::Pull { spec, format, compression, checksum } => {
                made.kind = transient_provenance_kind::Pull as u32;
                (made.spec, made.format) = (self.keep(spec), self.keep(format));
                made.compression = self.keep_optional(compression.as_deref());
                made.checksum = self.keep_optional(checksum.as_deref());
            }
            _ => {}
        }
        made
    }
}

impl transient_inspection {
    fn new(inspection: &Inspection) -> Self {
        let mut keeper = Keeper::default();
        let details = transient_image_details {
            format: keeper.keep(inspection.format),
            created: keeper.keep(&inspection.created),
            compat: keeper.keep(inspection.compat),
            compression: keeper.keep(inspection.compression),
            cluster_size: inspection.cluster_size,
            parent: keeper.keep_optional(inspection.parent.as_deref()),
        };
        Self {
            image: transient_image::new(&inspection.image),
            details,
            provenance: inspection.provenance.as_ref().map(|provenance| keeper.provenance(provenance)),
            steps: inspection.history().into_iter().map(|step| keeper.step(step)).collect(),
            vms: Strings::new(&inspection.vms),
            warnings: Strings::new(&inspection.warnings),
            _strings: keeper.0,
        }
    }
}

/// Reads all that is known of one image, also how it was made. The caller owns `*inspection_out`:
/// `transient_inspection_free`. Any thread may call this.
///
/// Fails with `TRANSIENT_STATUS_IMAGE_NOT_FOUND`, and with `TRANSIENT_STATUS_INVALID_IMAGE` when the file is no
/// standalone qcow2 image.
#[unsafe(no_mangle)]
pub extern "C" fn transient_store_inspect(
    store: *const transient_store,
    name: *const c_char,
    inspection_out: *mut *mut transient_inspection,
    error_out: *mut *mut transient_error,
) -> transient_status {
    fallible(error_out, || {
        let out = Out::new(inspection_out, "inspection_out")?;
        let inspection = borrow(store, "store")?.store.inspect(&image_name(name)?)?;
        out.give(transient_inspection::new(&inspection));
        Ok(())
    })
}

/// Returns the image. The inspection owns it.
#[unsafe(no_mangle)]
pub extern "C" fn transient_inspection_image(
    inspection: *const transient_inspection,
) -> *const transient_image {
    read(inspection, |inspection| std::ptr::from_ref(&inspection.image))
}

/// Returns what the image's file says of itself. It, and all that it points to, lives as long as the inspection.
#[unsafe(no_mangle)]
pub extern "C" fn transient_inspection_details(
    inspection: *const transient_inspection,
) -> *const transient_image_details {
    read(inspection, |inspection| std::ptr::from_ref(&inspection.details))
}

/// Returns how the image was made; NULL when that is not known, as of what release 0.25 made. It, and all that it
/// points to, lives as long as the inspection.
#[unsafe(no_mangle)]
pub extern "C" fn transient_inspection_provenance(
    inspection: *const transient_inspection,
) -> *const transient_provenance {
    read(inspection, |inspection| inspection.provenance.as_ref().map_or(std::ptr::null(), std::ptr::from_ref))
}

/// Returns how many steps are known that made the image and its parents.
#[unsafe(no_mangle)]
pub extern "C" fn transient_inspection_steps_len(inspection: *const transient_inspection) -> usize {
    read(inspection, |inspection| inspection.steps.len())
}

/// Returns a step, the newest one at 0; NULL behind the oldest. It, and all that it points to, lives as long as the
/// inspection.
#[unsafe(no_mangle)]
pub extern "C" fn transient_inspection_step(
    inspection: *const transient_inspection,
    index: usize,
) -> *const transient_history_step {
    read(inspection, |inspection| inspection.steps.get(index).map_or(std::ptr::null(), std::ptr::from_ref))
}

/// Returns how many VMs have a disk on the image.
#[unsafe(no_mangle)]
pub extern "C" fn transient_inspection_vms_len(inspection: *const transient_inspection) -> usize {
    read(inspection, |inspection| inspection.vms.len())
}

/// Returns the name of a VM that has a disk on the image; NULL behind the last. Lives as long as the inspection.
#[unsafe(no_mangle)]
pub extern "C" fn transient_inspection_vm(
    inspection: *const transient_inspection,
    index: usize,
) -> *const c_char {
    read(inspection, |inspection| inspection.vms.get(index))
}

/// Returns how many sentences there are about a record of the image's making that cannot be used.
#[unsafe(no_mangle)]
pub extern "C" fn transient_inspection_warnings_len(inspection: *const transient_inspection) -> usize {
    read(inspection, |inspection| inspection.warnings.len())
}

/// Returns a sentence about a record of the image's making that cannot be used; NULL behind the last. Lives as long
/// as the inspection.
#[unsafe(no_mangle)]
pub extern "C" fn transient_inspection_warning(
    inspection: *const transient_inspection,
    index: usize,
) -> *const c_char {
    read(inspection, |inspection| inspection.warnings.get(index))
}

/// Frees an inspection. NULL is ignored. The image stays.
#[unsafe(no_mangle)]
pub extern "C" fn transient_inspection_free(inspection: *mut transient_inspection) {
    free(inspection);
}
