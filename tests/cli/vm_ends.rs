//! However the owner of a VM ends, nothing of it is left.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{Sandbox, host};
use crate::processes::{all_end, descendants, send};
use crate::tiny_vm::with_tiny_vm;
use crate::vm_run::nothing_is_left;
use crate::vm_store::{create, start_waiting};

/// The disk of the VM `web` is whole: nothing of it is lost, nothing contradicts itself.
fn disk_is_whole(sandbox: &Sandbox) {
    for entry in fs::read_dir(sandbox.vmstore().join("web")).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap() != "config" {
            host(["qemu-img", "check", "-q", path.to_str().unwrap()]);
        }
    }
}

/// The owner is ended at moments from the first to the last of a VM's life.
fn ended_at_ten_moments(signal: Signal, arguments: &[&str]) {
    let sandbox = with_tiny_vm();
    create(&sandbox, "web");
    for delay in [5, 20, 60, 150, 400, 900, 1800, 3000, 4500, 6500] {
        let mut command = sandbox.command(arguments);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(delay));
        let processes = descendants(child.id());
        send(child.id(), signal);
        let status = child.wait().unwrap();
        assert!(!status.success(), "{status:?} after {delay} ms");
        all_end(&processes);
        nothing_is_left(&sandbox);
        disk_is_whole(&sandbox);
    }
    let _ = sandbox.run(["start", "web", "--cmd", "true"]).exits(0);
    assert_eq!(fs::read_dir(sandbox.vmstore()).unwrap().count(), 1);
    let _ = sandbox.run(["rm", "web"]).exits(0);
}

const WRITES: &str = "while true; do dd if=/dev/urandom of=data bs=64k count=16 2> /dev/null; sync; done";

#[test]
fn a_vm_of_the_store_ends_with_a_killed_owner() {
    ended_at_ten_moments(Signal::KILL, &["start", "web", "--cmd", WRITES]);
}

#[test]
fn a_vm_that_keeps_nothing_ends_with_a_killed_owner() {
    ended_at_ten_moments(Signal::KILL, &["run", "tiny/vm", "--cmd", WRITES, "--", "-m", "256M"]);
}

#[test]
fn signals_shut_the_guest_down() {
    let sandbox = with_tiny_vm();
    create(&sandbox, "web");
    for (signal, status) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let child = start_waiting(&sandbox, "web");
        let processes = descendants(child.id());
        let begun = Instant::now();
        send(child.id(), signal);
        let ended = sandbox.outcome(child.wait_with_output().unwrap()).exits(status);
        assert_eq!(ended.stderr, "error: interrupted\n");
        assert!(begun.elapsed() < Duration::from_secs(15), "it shuts down by itself: {:?}", begun.elapsed());
        all_end(&processes);
        nothing_is_left(&sandbox);
        disk_is_whole(&sandbox);
    }
}

#[test]
fn a_guest_that_does_not_shut_down_is_ended() {
    let sandbox = with_tiny_vm();
    create(&sandbox, "web");
    // Nobody in the guest listens to the power button any more.
    let deaf = "killall acpid; exit 3";
    let begun = Instant::now();
    let _ = sandbox
        .run(["start", "web", "--ssh-user", "root", "--shutdown-timeout", "1", "--cmd", deaf])
        .exits(3);
    assert!(begun.elapsed() < Duration::from_secs(60));
    let _ = sandbox.run(["start", "web", "--shutdown-timeout", "0", "--cmd", "true"]).exits(0);
    nothing_is_left(&sandbox);
    disk_is_whole(&sandbox);
}

#[test]
fn a_second_signal_does_not_wait() {
    let sandbox = with_tiny_vm();
    create(&sandbox, "web");
    let mut child = start_waiting(&sandbox, "web");
    // As above, but over another connection.
    let _ = sandbox.run(["ssh", "web", "--ssh-user", "root", "--cmd", "killall acpid"]).exits(0);
    let processes = descendants(child.id());
    send(child.id(), Signal::INT);
    std::thread::sleep(Duration::from_millis(500));
    assert!(child.try_wait().unwrap().is_none(), "it waits for the guest");
    send(child.id(), Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    all_end(&processes);
    nothing_is_left(&sandbox);
}
