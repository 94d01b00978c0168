//! What the builder VM boots.

use std::ffi::{CString, c_char};

use transient_core::appliance::{self, Appliance, BootProtocol, Inputs};

use crate::boundary::{Out, fallible, free, read};
use crate::error::transient_error;
use crate::locations::{resolve, transient_locations};
use crate::status::transient_status;
use crate::text::{self, Strings, c_path, c_string};

/// A file of the initramfs. Made by the library alone; later releases may add fields at the end.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct transient_included_file {
    /// Its path in the guest.
    pub path: *const c_char,
    /// In bytes.
    pub size: u64,
    /// Where it was copied from; NULL for what the library makes itself.
    pub origin: *const c_char,
}

/// An appliance on disk: the kernel and the initramfs of the builder VM. It never changes.
#[derive(Debug)]
pub struct transient_appliance {
    folder: CString,
    kernel: CString,
    initramfs: CString,
    key: CString,
    guest: CString,
    kernel_release: CString,
    boot: CString,
    is_current: bool,
    absent: Strings,
    files: Vec<transient_included_file>,
    _strings: Vec<CString>,
}

// SAFETY: nothing in it is changed once it is made, and the views point into what it owns.
unsafe impl Send for transient_appliance {}
// SAFETY: as above.
unsafe impl Sync for transient_appliance {}

impl transient_appliance {
    fn new(appliance: &Appliance) -> Self {
        let description = &appliance.description;
        let mut strings = Vec::new();
        let mut keep = |path| {
            strings.push(c_path(path));
            crate::text::address(strings.last())
        };
        let files = description.files.iter().map(|file| transient_included_file {
            path: keep(&file.path),
            size: file.size,
            origin: file.origin.as_deref().map_or(std::ptr::null(), &mut keep),
        });
        let files = files.collect();
        let boot = match description.boot {
            BootProtocol::Pvh => "pvh",
            BootProtocol::Linux => "linux",
        };
        Self {
            folder: c_path(&appliance.folder),
            kernel: c_path(&appliance.kernel),
            initramfs: c_path(&appliance.initramfs),
            key: c_string(&description.key),
            guest: c_string(&description.guest),
            kernel_release: c_string(&description.kernel_release),
            boot: c_string(boot),
            is_current: appliance.is_current(),
            absent: Strings::new(&description.absent),
            files,
            _strings: strings,
        }
    }
}

/// Finds the appliance that builds use. `locations` NULL is what `transient_locations_from_env` gives. Where there
/// is none, one is assembled into the cache from the host's kernel. The caller owns `*appliance_out`:
/// `transient_appliance_free`. Any thread may call this.
///
/// Fails with `TRANSIENT_STATUS_APPLIANCE_NOT_FOUND` when there is none and none can be assembled, with
/// `TRANSIENT_STATUS_APPLIANCE_INVALID` when the one that must be used cannot be.
#[unsafe(no_mangle)]
pub extern "C" fn transient_appliance_find(
    locations: *const transient_locations,
    appliance_out: *mut *mut transient_appliance,
    error_out: *mut *mut transient_error,
) -> transient_status {
    fallible(error_out, || {
        let out = Out::new(appliance_out, "appliance_out")?;
        out.give(transient_appliance::new(&appliance::find(&resolve(locations)?)?));
        Ok(())
    })
}

/// Reads the description of the appliance in a folder. Whether it fits this library,
/// `transient_appliance_is_current` tells. The caller owns `*appliance_out`: `transient_appliance_free`. Any
/// thread may call this.
///
/// Fails with `TRANSIENT_STATUS_APPLIANCE_NOT_FOUND` or `TRANSIENT_STATUS_APPLIANCE_INVALID`.
#[unsafe(no_mangle)]
pub extern "C" fn transient_appliance_open(
    folder: *const c_char,
    appliance_out: *mut *mut transient_appliance,
    error_out: *mut *mut transient_error,
) -> transient_status {
    fallible(error_out, || {
        let out = Out::new(appliance_out, "appliance_out")?;
        out.give(transient_appliance::new(&Appliance::open(text::path(folder, "folder")?)?));
        Ok(())
    })
}

/// Assembles an appliance into a folder, replacing one that is there when all is whole. Needs neither root nor a
/// shell. `kernel` NULL is the newest of the host that can be read; `modules`, a folder like
/// `/lib/modules/RELEASE`, NULL is the host's for this kernel. The caller owns `*appliance_out`:
/// `transient_appliance_free`. Any thread may call this.
///
/// Fails with `TRANSIENT_STATUS_APPLIANCE_INVALID` when an input is missing or cannot be used, with
/// `TRANSIENT_STATUS_MISSING_PROGRAM` when the host lacks a tool that the guest must have, with
/// `TRANSIENT_STATUS_APPLIANCE_NOT_FOUND` when no kernel is named and the host has none.
#[unsafe(no_mangle)]
pub extern "C" fn transient_appliance_build(
    kernel: *const c_char,
    modules: *const c_char,
    folder: *const c_char,
    appliance_out: *mut *mut transient_appliance,
    error_out: *mut *mut transient_error,
) -> transient_status {
    fallible(error_out, || {
        let out = Out::new(appliance_out, "appliance_out")?;
        let mut inputs = Inputs::default();
        inputs.kernel = text::optional_path(kernel, "kernel")?;
        inputs.modules = text::optional_path(modules, "modules")?;
        out.give(transient_appliance::new(&appliance::build(&inputs, &text::path(folder, "folder")?)?));
        Ok(())
    })
}

/// Returns the folder. Lives as long as the appliance.
#[unsafe(no_mangle)]
pub extern "C" fn transient_appliance_folder(appliance: *const transient_appliance) -> *const c_char {
    read(appliance, |appliance| appliance.folder.as_ptr())
}

/// Returns the kernel file. Lives as long as the appliance.
#[unsafe(no_mangle)]
pub extern "C" fn transient_appliance_kernel(appliance: *const transient_appliance) -> *const c_char {
    read(appliance, |appliance| appliance.kernel.as_ptr())
}

/// Returns the initramfs file. Lives as long as the appliance.
#[unsafe(no_mangle)]
pub extern "C" fn transient_appliance_initramfs(appliance: *const transient_appliance) -> *const c_char {
    read(appliance, |appliance| appliance.initramfs.as_ptr())
}

/// Returns the hash of everything that went into it. Lives as long as the appliance.
#[unsafe(no_mangle)]
pub extern "C" fn transient_appliance_key(appliance: *const transient_appliance) -> *const c_char {
    read(appliance, |appliance| appliance.key.as_ptr())
}

/// Returns the hash of the guest program. Lives as long as the appliance.
#[unsafe(no_mangle)]
pub extern "C" fn transient_appliance_guest(appliance: *const transient_appliance) -> *const c_char {
    read(appliance, |appliance| appliance.guest.as_ptr())
}

/// Returns the kernel's release, as `uname -r` prints it. Lives as long as the appliance.
#[unsafe(no_mangle)]
pub extern "C" fn transient_appliance_kernel_release(appliance: *const transient_appliance) -> *const c_char {
    read(appliance, |appliance| appliance.kernel_release.as_ptr())
}

/// Returns how QEMU starts the kernel: `pvh` for an ELF file with a PVH entry point, `linux` for a bzImage. Lives
/// as long as the appliance.
#[unsafe(no_mangle)]
pub extern "C" fn transient_appliance_boot(appliance: *const transient_appliance) -> *const c_char {
    read(appliance, |appliance| appliance.boot.as_ptr())
}

/// Returns whether the guest program in it is the one that this library speaks with.
#[unsafe(no_mangle)]
pub extern "C" fn transient_appliance_is_current(appliance: *const transient_appliance) -> bool {
    read(appliance, |appliance| appliance.is_current)
}

/// Returns how many tools it lacks.
#[unsafe(no_mangle)]
pub extern "C" fn transient_appliance_absent_len(appliance: *const transient_appliance) -> usize {
    read(appliance, |appliance| appliance.absent.len())
}

/// Returns a tool that the host did not have, so that its filesystem cannot be made; NULL behind the last. Lives
/// as long as the appliance.
#[unsafe(no_mangle)]
pub extern "C" fn transient_appliance_absent(
    appliance: *const transient_appliance,
    index: usize,
) -> *const c_char {
    read(appliance, |appliance| appliance.absent.get(index))
}

/// Returns how many files the initramfs has.
#[unsafe(no_mangle)]
pub extern "C" fn transient_appliance_files_len(appliance: *const transient_appliance) -> usize {
    read(appliance, |appliance| appliance.files.len())
}

/// Returns a file of the initramfs; NULL behind the last. Lives as long as the appliance.
#[unsafe(no_mangle)]
pub extern "C" fn transient_appliance_file(
    appliance: *const transient_appliance,
    index: usize,
) -> *const transient_included_file {
    read(appliance, |appliance| appliance.files.get(index).map_or(std::ptr::null(), std::ptr::from_ref))
}

/// Frees an appliance. NULL is ignored. What is on disk stays.
#[unsafe(no_mangle)]
pub extern "C" fn transient_appliance_free(appliance: *mut transient_appliance) {
    free(appliance);
}
