//! How much of the host a builder VM gets.

use std::fs;

use super::VmOptions;

const MEMORY_WANTED: u64 = 2 << 30;
/// Less than this and mkfs or a package manager would fail for want of memory.
const MEMORY_LEAST: u64 = 512 << 20;
const CPUS_MOST: usize = 4;
/// What the host can spare changes all the time; with steps, most builds get the same machine.
const MEMORY_STEP: u64 = 256 << 20;
/// QEMU is told whole mebibytes.
const MEMORY_GRAIN: u64 = 1 << 20;

/// The memory of the VM, in bytes: what was asked for, else 2 GiB or half of what the host has left.
pub(super) fn memory(options: &VmOptions) -> u64 {
    let memory = options
        .memory
        .unwrap_or_else(|| default_memory(&fs::read_to_string("/proc/meminfo").unwrap_or_default()));
    memory / MEMORY_GRAIN * MEMORY_GRAIN
}

/// The VM's processors: what was asked for, else all up to four.
pub(super) fn cpus(options: &VmOptions) -> u32 {
    let host = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    options.cpus.unwrap_or_else(|| u32::try_from(host.min(CPUS_MOST)).unwrap_or(1))
}

fn default_memory(meminfo: &str) -> u64 {
    let available = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))
        .and_then(|rest| rest.trim().strip_suffix(" kB"))
        .and_then(|kib| kib.parse::<u64>().ok())
        .map_or(MEMORY_WANTED * 2, |kib| kib * 1024);
    (available / 2 / MEMORY_STEP * MEMORY_STEP).clamp(MEMORY_LEAST, MEMORY_WANTED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_two_gibibytes_or_what_the_host_can_spare() {
        assert_eq!(default_memory("MemTotal: 1 kB\nMemAvailable:   16777216 kB\n"), 2 << 30);
        assert_eq!(default_memory("MemAvailable:   2097152 kB\n"), 1 << 30);
        assert_eq!(default_memory("MemAvailable:   2200000 kB\n"), 1 << 30, "in steps");
        assert_eq!(default_memory("MemAvailable:   1024 kB\n"), 512 << 20);
        assert_eq!(default_memory("garbage"), 2 << 30);
    }
}
