//! The one place of unsafe code: what a child process must do between fork and exec.

#![expect(unsafe_code, reason = "a pre-exec hook has no safe form")]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};

/// Has the kernel kill the command's process when the thread that spawned it ends, however that comes.
///
/// The spawning *thread*: spawn from one that lives as long as the process should.
pub(crate) fn die_with_parent(command: &mut Command) {
    let parent = getpid();
    let hook = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have died before the line above took effect.
        if getppid() == Some(parent) { Ok(()) } else { Err(io::Error::from(rustix::io::Errno::SRCH)) }
    };
    // SAFETY: the hook makes three system calls and neither allocates nor takes a lock, so that it is sound
    // in the child of a multi-threaded process.
    unsafe {
        command.pre_exec(hook);
    }
}
