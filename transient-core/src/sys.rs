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

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::thread;

    use super::*;

    fn sleeper() -> Command {
        let mut command = Command::new("sleep");
        command.arg("60");
        die_with_parent(&mut command);
        command
    }

    #[test]
    fn the_child_ends_with_the_thread_that_spawned_it() {
        let mut child = thread::spawn(|| sleeper().spawn().expect("runs")).join().expect("no panic");
        assert_eq!(child.wait().expect("reaped").signal(), Some(Signal::KILL.as_raw()));
    }

    #[test]
    fn the_child_lives_as_long_as_its_thread() {
        let mut child = sleeper().spawn().expect("runs");
        thread::sleep(std::time::Duration::from_millis(50));
        assert!(child.try_wait().expect("asked").is_none());
        child.kill().expect("killed");
        child.wait().expect("reaped");
    }
}
