//! What the library asks of the host.

use std::fs;

/// The kernel's name for the time since the host was started.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Returns what tells this boot of the host from every other one.
pub(crate) fn boot_id() -> String {
    fs::read_to_string(BOOT_ID).unwrap_or_default().trim().to_owned()
}
