//! The one place where the library leaves what the compiler can check.
#![expect(unsafe_code, reason = "code between fork and exec has no safe interface")]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};

/// Has the kernel kill the child when the *thread* that spawns it ends, however that comes about.
///
/// The caller must keep that thread until the child has ended.
pub(crate) fn die_with_parent(command: &mut Command) {
    let parent = getpid();
    let in_child = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // A parent that died before the line above sends no signal any more.
        if getppid() != Some(parent) {
            return Err(io::Error::from(rustix::io::Errno::SRCH));
        }
        Ok(())
    };
    // SAFETY: between fork and exec only async-signal-safe functions may run. These are two bare system
    // calls; nothing allocates or takes a lock.
    unsafe { command.pre_exec(in_child) };
}
