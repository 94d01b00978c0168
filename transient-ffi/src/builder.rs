//! The VM in which images are built and files are copied.

use std::ffi::c_char;

use transient_core::{Accelerator, Network, VmOptions};

use crate::boundary::{Failure, Out, change, fallible, free};
use crate::duration;
use crate::error::transient_error;
use crate::status::transient_status;
use crate::text;

/// What runs the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum transient_accelerator {
    /// KVM where it works, else TCG.
    Auto = 0,
    /// The processor itself. Where it does not work, that is an error.
    Kvm = 1,
    /// QEMU's emulation.
    Tcg = 2,
}

/// The guest's network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum transient_network {
    /// QEMU's user network: out to where the host reaches, nothing in.
    User = 0,
    /// No network card.
    None = 1,
}

pub(crate) fn set_memory(vm: &mut VmOptions, bytes: u64) -> Result<(), Failure> {
    vm.memory = (bytes != 0).then_some(bytes);
    Ok(())
}

pub(crate) fn set_cpus(vm: &mut VmOptions, cpus: u32) -> Result<(), Failure> {
    if cpus > 255 {
        return Err(Failure::Argument(format!("a builder VM cannot have {cpus} CPUs, the most is 255")));
    }
    vm.cpus = (cpus != 0).then_some(cpus);
    Ok(())
}

pub(crate) fn set_accelerator(vm: &mut VmOptions, accelerator: u32) -> Result<(), Failure> {
    vm.accelerator = match accelerator {
        0 => Accelerator::Auto,
        1 => Accelerator::Kvm,
        2 => Accelerator::Tcg,
        other => return Err(Failure::Argument(format!("there is no accelerator {other}"))),
    };
    Ok(())
}

pub(crate) fn set_network(vm: &mut VmOptions, network: u32) -> Result<(), Failure> {
    vm.network = match network {
        0 => Network::User,
        1 => Network::None,
        other => return Err(Failure::Argument(format!("there is no network {other}"))),
    };
    Ok(())
}

pub(crate) fn set_qemu(vm: &mut VmOptions, program: *const c_char) -> Result<(), Failure> {
    vm.qemu = text::path(program, "program")?;
    Ok(())
}

/// The settings of the builder VM, for what is not a build: copies between this host and the disk of a VM. It may be
/// used by several calls at once; it must not be changed meanwhile.
#[derive(Debug)]
pub struct transient_builder_options(pub(crate) VmOptions);

/// Makes settings with all defaults. The caller owns `*options_out`: `transient_builder_options_free`. Any thread may
/// call this.
#[unsafe(no_mangle)]
pub extern "C" fn transient_builder_options_new(
    options_out: *mut *mut transient_builder_options,
    error_out: *mut *mut transient_error,
) -> transient_status {
    fallible(error_out, || {
        Out::new(options_out, "options_out")?.give(transient_builder_options(VmOptions::default()));
        Ok(())
    })
}

/// Frees settings. NULL is ignored.
#[unsafe(no_mangle)]
pub extern "C" fn transient_builder_options_free(options: *mut transient_builder_options) {
    free(options);
}

/// Sets its memory, in bytes; 0 is 2 GiB or what the host can spare, the default.
#[unsafe(no_mangle)]
pub extern "C" fn transient_builder_options_set_memory(
    options: *mut transient_builder_options,
    bytes: u64,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(options, "options", error_out, |options| set_memory(&mut options.0, bytes))
}

/// Sets its virtual CPUs, at most 255; 0 is all that the host has, up to 4, the default.
#[unsafe(no_mangle)]
pub extern "C" fn transient_builder_options_set_cpus(
    options: *mut transient_builder_options,
    cpus: u32,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(options, "options", error_out, |options| set_cpus(&mut options.0, cpus))
}

/// Sets what runs its instructions, a `transient_accelerator`. The default is `TRANSIENT_ACCELERATOR_AUTO`.
#[unsafe(no_mangle)]
pub extern "C" fn transient_builder_options_set_accelerator(
    options: *mut transient_builder_options,
    accelerator: u32,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(options, "options", error_out, |options| set_accelerator(&mut options.0, accelerator))
}

/// Sets its network, a `transient_network`. The default is `TRANSIENT_NETWORK_USER`.
#[unsafe(no_mangle)]
pub extern "C" fn transient_builder_options_set_network(
    options: *mut transient_builder_options,
    network: u32,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(options, "options", error_out, |options| set_network(&mut options.0, network))
}

/// Sets whether one that was saved when it had booted is restored, as `transient_build_options_set_warm_start` does.
#[unsafe(no_mangle)]
pub extern "C" fn transient_builder_options_set_warm_start(
    options: *mut transient_builder_options,
    warm_start: bool,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(options, "options", error_out, |options| {
        options.0.warm_start = warm_start;
        Ok(())
    })
}

/// Sets the QEMU program, a name or a path. The default is `qemu-system-x86_64`. `program` is copied.
#[unsafe(no_mangle)]
pub extern "C" fn transient_builder_options_set_qemu(
    options: *mut transient_builder_options,
    program: *const c_char,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(options, "options", error_out, |options| set_qemu(&mut options.0, program))
}

/// Sets how many seconds QEMU may take to answer; 0 is the default, 10.
#[unsafe(no_mangle)]
pub extern "C" fn transient_builder_options_set_qmp_timeout(
    options: *mut transient_builder_options,
    seconds: f64,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(options, "options", error_out, |options| {
        options.0.qmp_timeout = duration::optional(seconds)?;
        Ok(())
    })
}

/// Sets how many seconds the guest may take to answer; 0 is the default, 90, and three times that under TCG.
#[unsafe(no_mangle)]
pub extern "C" fn transient_builder_options_set_ssh_timeout(
    options: *mut transient_builder_options,
    seconds: f64,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(options, "options", error_out, |options| {
        options.0.ssh_timeout = duration::optional(seconds)?;
        Ok(())
    })
}
