//! Logical volumes.

use std::path::{Path, PathBuf};

use super::failure::{Doing, Failure};
use super::{modules, program};

/// Makes the volumes of every volume group usable; returns their devices.
pub(super) fn activate() -> Result<Vec<PathBuf>, Failure> {
    if !modules::load("lvm")? && !is_known() {
        return Err(Failure::new(
            transient_guest::protocol::FailureCause::NotInAppliance,
            "the appliance's kernel has no device mapper, which logical volumes need",
        ));
    }
    let doing = || "cannot activate the logical volumes".to_owned();
    program::run_checked("lvm", ["vgchange", "-ay", "--noudevsync", "--ignoremonitoring"], b"", doing)?;
    program::run_checked("lvm", ["vgmknodes"], b"", doing)?;
    devices().doing(doing)
}

/// Gives up every logical volume, if any is in use.
pub(super) fn deactivate() -> Result<(), Failure> {
    if !devices().is_ok_and(|devices| !devices.is_empty()) || !program::is_there("lvm") {
        return Ok(());
    }
    let doing = || "cannot deactivate the logical volumes".to_owned();
    program::run_checked("lvm", ["vgchange", "-an", "--noudevsync", "--ignoremonitoring"], b"", doing)
        .map(drop)
}

fn is_known() -> bool {
    Path::new("/sys/class/misc/device-mapper").exists()
}

/// Returns what stands in `/dev/mapper`, but for the control node.
fn devices() -> std::io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir("/dev/mapper") {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut devices: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(|path| !path.ends_with("control")).collect();
    devices.sort();
    Ok(devices)
}
