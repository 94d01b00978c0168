//! The VMs that there are, and those that run, whoever runs them.

use std::ffi::{CString, c_char};
use std::time::UNIX_EPOCH;

use transient_core::{VmInfo, VmListing};

use crate::boundary::{Out, borrow, fallible, free, read};
use crate::error::transient_error;
use crate::status::transient_status;
use crate::store::{image_names, transient_store};
use crate::text::{Strings, address, c_string};

/// A VM of the VM store, or one that runs. Made by the library alone; later releases may add fields at the end.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct transient_vm_info {
    /// Its name.
    pub name: *const c_char,
    /// The image that its first disk is from.
    pub image: *const c_char,
    /// Whether it is reached by SSH, or will be when it runs.
    pub ssh: bool,
    /// Whether the VM store has it.
    pub stored: bool,
    /// Whether it runs. What follows is 0 or false when it does not.
    pub running: bool,
    /// Whether nothing of it is kept.
    pub stateless: bool,
    /// The port of this host's loopback that leads to its port 22; 0 when it is not reached by SSH.
    pub ssh_port: u16,
    /// The process that it ends with.
    pub pid: u32,
    /// The QEMU process.
    pub qemu_pid: u32,
    /// When it started, in seconds since 1970.
    pub started: f64,
}

/// What VMs there are. It never changes: several threads may read it at once.
#[derive(Debug)]
pub struct transient_vm_list {
    vms: Vec<transient_vm_info>,
    warnings: Strings,
    _strings: Vec<CString>,
}

// SAFETY: nothing in it is changed once it is made, and the views point into what it owns.
unsafe impl Send for transient_vm_list {}
// SAFETY: as above.
unsafe impl Sync for transient_vm_list {}

impl transient_vm_list {
    fn new(listing: &VmListing) -> Self {
        let mut strings = Vec::new();
        let vms = listing.vms.iter().map(|vm| view(vm, &mut strings)).collect();
        Self { vms, warnings: Strings::new(&listing.warnings), _strings: strings }
    }
}

fn view(vm: &VmInfo, strings: &mut Vec<CString>) -> transient_vm_info {
    let mut keep = |text: &str| {
        strings.push(c_string(text));
        address(strings.last())
    };
    let running = vm.running.as_ref();
    let started = running.and_then(|running| running.started.duration_since(UNIX_EPOCH).ok());
    transient_vm_info {
        name: keep(&vm.name),
        image: keep(&vm.image),
        ssh: vm.ssh,
        stored: vm.stored,
        running: running.is_some(),
        stateless: running.is_some_and(|running| running.stateless),
        ssh_port: running.and_then(|running| running.ssh_port).unwrap_or(0),
        pid: running.map_or(0, |running| running.pid),
        qemu_pid: running.map_or(0, |running| running.qemu_pid),
        started: started.map_or(0.0, |started| started.as_secs_f64()),
    }
}

/// Lists the VMs of this VM store: first those that run, whoever runs them, in the order of their start, then the others
/// by name. The caller owns `*list_out`: `transient_vm_list_free`. Any thread may call this.
///
/// Fails with `TRANSIENT_STATUS_IO` when the VM store or the folder of those that run cannot be read.
#[unsafe(no_mangle)]
pub extern "C" fn transient_store_vms(
    store: *const transient_store,
    list_out: *mut *mut transient_vm_list,
    error_out: *mut *mut transient_error,
) -> transient_status {
    fallible(error_out, || {
        let out = Out::new(list_out, "list_out")?;
        out.give(transient_vm_list::new(&borrow(store, "store")?.store.vms()?));
        Ok(())
    })
}

/// Returns how many there are.
#[unsafe(no_mangle)]
pub extern "C" fn transient_vm_list_len(list: *const transient_vm_list) -> usize {
    read(list, |list| list.vms.len())
}

/// Returns one; NULL behind the last. Lives as long as the list.
#[unsafe(no_mangle)]
pub extern "C" fn transient_vm_list_get(
    list: *const transient_vm_list,
    index: usize,
) -> *const transient_vm_info {
    read(list, |list| list.vms.get(index).map_or(std::ptr::null(), std::ptr::from_ref))
}

/// Returns how many VMs of the VM store cannot be read.
#[unsafe(no_mangle)]
pub extern "C" fn transient_vm_list_warnings_len(list: *const transient_vm_list) -> usize {
    read(list, |list| list.warnings.len())
}

/// Returns one sentence about a VM that cannot be read; NULL behind the last. Lives as long as the list.
#[unsafe(no_mangle)]
pub extern "C" fn transient_vm_list_warning(list: *const transient_vm_list, index: usize) -> *const c_char {
    read(list, |list| list.warnings.get(index))
}

/// Frees a list. NULL is ignored.
#[unsafe(no_mangle)]
pub extern "C" fn transient_vm_list_free(list: *mut transient_vm_list) {
    free(list);
}

/// Ends VMs that run, also those of other processes, and waits for their ends: the guest is asked to shut down, and QEMU
/// is ended if it does not in time; with `kill`, QEMU is killed at once. `names` has `names_len` strings. Any thread may
/// call this.
///
/// Fails with `TRANSIENT_STATUS_VM_NOT_RUNNING`, before any VM is ended, and with `TRANSIENT_STATUS_TIMEOUT` when the
/// owner of a VM does not answer.
#[unsafe(no_mangle)]
pub extern "C" fn transient_store_stop_vms(
    store: *const transient_store,
    names: *const *const c_char,
    names_len: usize,
    kill: bool,
    error_out: *mut *mut transient_error,
) -> transient_status {
    fallible(error_out, || {
        let store = borrow(store, "store")?;
        Ok(store.store.stop_vms(&image_names(names, names_len)?, kill)?)
    })
}

/// Removes VMs of the VM store with their disks, all or none. `names` has `names_len` strings. With `force`, those that
/// run are stopped first, and what is broken is removed as well. Any thread may call this.
///
/// Fails with `TRANSIENT_STATUS_VM_NOT_FOUND`, or with `TRANSIENT_STATUS_VM_IN_USE` without `force`.
#[unsafe(no_mangle)]
pub extern "C" fn transient_store_remove_vms(
    store: *const transient_store,
    names: *const *const c_char,
    names_len: usize,
    force: bool,
    error_out: *mut *mut transient_error,
) -> transient_status {
    fallible(error_out, || {
        let store = borrow(store, "store")?;
        Ok(store.store.remove_vms(&image_names(names, names_len)?, force)?)
    })
}
