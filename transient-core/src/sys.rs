//! The one place where the library leaves what the compiler can check.
#![expect(unsafe_code, reason = "code between fork and exec has no safe interface")]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::signal::{SigSet, Signal as Interrupt};
use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};

/// Has writing to what nobody reads any more fail on this thread, and those that it starts, and not end the process of
/// whoever uses the library: a connection to a VM may break at any time.
pub(crate) fn block_broken_pipes() {
    // It only fails for a signal that there is not.
    let _ = SigSet::from_iter([Interrupt::SIGPIPE]).thread_block();
}

/// Has the kernel kill the child when the *thread* that spawns it ends, however that comes about.
///
/// The caller must keep that thread until the child has ended.
pub(crate) fn die_with_parent(command: &mut Command) {
    signal_with_parent(command, Signal::KILL);
}

/// As [`die_with_parent`], by a signal that the child may take as a reason to end in order.
pub(crate) fn signal_with_parent(command: &mut Command, signal: Signal) {
    let parent = getpid();
    let in_child = move || {
        set_parent_process_death_signal(Some(signal))?;
        // It is inherited.
        SigSet::from_iter([Interrupt::SIGPIPE]).thread_unblock()?;
        // A parent that died before the line above sends no signal any more.
        if getppid() != Some(parent) {
            return Err(io::Error::from(rustix::io::Errno::SRCH));
        }
        Ok(())
    };
    // SAFETY: between fork and exec only async-signal-safe functions may run. These are bare system calls;
    // nothing allocates or takes a lock.
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
    fn broken_pipes_are_blocked_here_and_not_in_the_child() {
        let blocked = || SigSet::thread_get_mask().expect("known").contains(Interrupt::SIGPIPE);
        let status = thread::spawn(move || {
            block_broken_pipes();
            assert!(blocked() && thread::spawn(blocked).join().expect("no panic"));
            let mut command = Command::new("cat");
            command.arg("/proc/self/status");
            die_with_parent(&mut command);
            String::from_utf8(command.output().expect("runs").stdout).expect("text")
        });
        let status = status.join().expect("no panic");
        assert!(status.contains("SigBlk:\t0000000000000000\n"), "{status}");
        assert!(!blocked());
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
