//! The kernel's modules, which the appliance lists in groups.

use std::fs::File;
use std::path::Path;

use rustix::io::Errno;
use transient_guest::protocol::{ApplianceManifest, FailureCause, MANIFEST_PATH};

use super::failure::{Doing, Failure};

/// Loads a group of modules, if the appliance has it; returns whether it has.
pub(crate) fn load(group: &str) -> Result<bool, Failure> {
    let text = match std::fs::read(MANIFEST_PATH) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(Failure::system(format!("cannot read {MANIFEST_PATH}"), error)),
    };
    let manifest: ApplianceManifest = serde_json::from_slice(&text)
        .map_err(|error| Failure::other(format!("{MANIFEST_PATH} is not understood: {error}")))?;
    let Some(modules) = manifest.modules.get(group) else {
        return Ok(false);
    };
    for module in modules {
        insert(module)?;
    }
    Ok(true)
}

/// Loads what the kernel asks for when a command first needs it, by one of the names of `request_module`
/// in the kernel's source: `mount` makes it ask for `fs-xfs`, `lvcreate` for the driver of a device number.
pub(crate) fn load_for_kernel(alias: &str) -> Result<bool, Failure> {
    match alias {
        "char-major-10-236" | "devname:mapper/control" => load("lvm"),
        "char-major-10-237" | "devname:loop-control" => load("loop"),
        _ if alias.starts_with("block-major-7-") => load("loop"),
        _ => alias.strip_prefix("fs-").map_or(Ok(false), load),
    }
}

fn insert(module: &Path) -> Result<(), Failure> {
    let doing = || format!("cannot load the kernel module {}", module.display());
    let file = File::open(module).doing(doing)?;
    match rustix::system::finit_module(&file, c"", 0) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error).doing(doing),
    }
}

/// Makes the kernel know a kind of filesystem.
pub(super) fn load_filesystem(kind: &str) -> Result<(), Failure> {
    if is_known(kind) {
        return Ok(());
    }
    load(kind)?;
    if is_known(kind) {
        return Ok(());
    }
    let message = format!("the appliance's kernel cannot mount {kind}: it has no such module");
    Err(Failure::new(FailureCause::NotInAppliance, message))
}

fn is_known(kind: &str) -> bool {
    std::fs::read_to_string("/proc/filesystems")
        .is_ok_and(|text| text.lines().any(|line| line.split_whitespace().next_back() == Some(kind)))
}
