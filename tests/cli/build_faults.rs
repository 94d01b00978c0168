//! What can break beside the build's own steps, and how it is told: at once, never by a time-out.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::fixture::{rootfs, with_tiny};
use crate::harness::{Outcome, Sandbox};
use crate::processes::{Process, all_end, descendants, is_ready, send, wait_for};

/// Less than any time-out of the program, more than a build needs on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(60);

/// Returns the error that ended a build, which left nothing behind.
#[track_caller]
fn error_of(sandbox: &Sandbox, outcome: &Outcome, name: &str) -> Value {
    assert!(!sandbox.backend().join(name).exists());
    assert_eq!(sandbox.leftovers(), Vec::<std::path::PathBuf>::new());
    let last = outcome.json_lines().pop().unwrap();
    assert_eq!(last["event"], "error", "{outcome:?}");
    last["error"].clone()
}

/// Builds on the tiny system, and returns the error that this ends with.
#[track_caller]
fn fails(steps: &str, more: &[&str]) -> Value {
    let sandbox = with_tiny();
    let begun = Instant::now();
    let more = [&["--progress", "json"], more].concat();
    let outcome = sandbox.build("broken", &format!("FROM tiny\n{steps}\n"), &more).exits(1);
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    error_of(&sandbox, &outcome, "broken")
}

#[test]
fn a_panic_of_the_guest() {
    let error = fails("RUN echo c > /proc/sysrq-trigger; sleep 600", &[]);
    assert_eq!(error["kind"], "guest-panic", "{error}");
    assert!(error["output"].as_str().unwrap().contains("Kernel panic"), "the console is shown: {error}");
    assert_eq!(error["location"]["line"], 2, "{error}");
}

#[test]
fn a_reboot_of_the_guest() {
    let error = fails("RUN echo b > /proc/sysrq-trigger; sleep 600", &[]);
    assert_eq!(error["kind"], "connection-lost", "{error}");
    assert_eq!(error["location"]["line"], 2, "{error}");
}

#[test]
fn a_command_that_takes_all_memory() {
    // `tail` keeps what has no line's end.
    let error = fails("RUN tail /dev/zero", &["--memory", "256MiB"]);
    assert_eq!(error["kind"], "guest-out-of-memory", "{error}");
    assert!(error["message"].as_str().unwrap().contains("memory"), "{error}");
    assert!(error.to_string().contains("--memory"), "what to do about it is said: {error}");
}

fn qemu_of(processes: &BTreeSet<Process>) -> u32 {
    let is_qemu = |number: &u32| {
        fs::read_to_string(format!("/proc/{number}/comm")).is_ok_and(|name| name.starts_with("qemu-system"))
    };
    processes.iter().map(|(number, _)| *number).find(is_qemu).unwrap()
}

#[test]
fn a_qemu_that_is_killed() {
    let sandbox = with_tiny();
    let mut child = sandbox.start_build("broken", "FROM tiny\nRUN echo ready; sleep 600\n");
    let events = wait_for(&mut child, is_ready);
    let processes = descendants(child.id());
    let begun = Instant::now();
    send(qemu_of(&processes), Signal::KILL);
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let last = events.join().unwrap().pop().unwrap();
    assert_eq!(last["error"]["kind"], "qemu-failed", "{last}");
    assert!(last["error"]["message"].as_str().unwrap().contains("signal: 9"), "{last}");
    all_end(&processes);
    assert!(sandbox.leftovers().is_empty());
}

/// Builds with a shell script in the place of QEMU.
fn with_qemu(script: &str, more: &[&str]) -> Value {
    let sandbox = with_tiny();
    let qemu = sandbox.write("bin/qemu", format!("#!/bin/sh\n{script}\n"));
    fs::set_permissions(&qemu, fs::Permissions::from_mode(0o755)).unwrap();
    let more = [&["--progress", "json", "--accel", "tcg", "--qemu-bin-name", qemu.to_str().unwrap()], more];
    let outcome = sandbox.build("broken", "FROM tiny\nRUN true\n", &more.concat()).exits(1);
    error_of(&sandbox, &outcome, "broken")
}

#[test]
fn a_qemu_that_is_stopped() {
    let sandbox = with_tiny();
    sandbox.write("build/Imagefile", "FROM tiny\nRUN echo ready; sleep 600\n");
    let mut build = sandbox.command(
        sandbox.build_arguments("broken", &["--progress", "json", "--qmp-timeout", "2", "--accel", "tcg"]),
    );
    let mut child = build.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let events = wait_for(&mut child, is_ready);
    let processes = descendants(child.id());
    send(qemu_of(&processes), Signal::STOP);
    let begun = Instant::now();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    let last = events.join().unwrap().pop().unwrap();
    assert_eq!(last["error"]["kind"], "timeout", "{last}");
    assert_eq!(last["error"]["message"], "QEMU runs, but has not answered for 6 s", "{last}");
    all_end(&processes);
    assert!(sandbox.leftovers().is_empty());
}

#[test]
fn a_build_that_is_stopped_and_continued_goes_on() {
    let sandbox = with_tiny();
    sandbox.write("build/Imagefile", "FROM tiny\nRUN echo ready; sleep 3\n");
    let mut build = sandbox.command(
        sandbox.build_arguments("paused", &["--progress", "json", "--qmp-timeout", "2", "--accel", "tcg"]),
    );
    let mut child = build.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let _events = wait_for(&mut child, is_ready);
    let qemu = qemu_of(&descendants(child.id()));
    // As Ctrl-Z in a terminal does it, for longer than QEMU may be silent.
    send(child.id(), Signal::STOP);
    send(qemu, Signal::STOP);
    std::thread::sleep(Duration::from_secs(8));
    send(child.id(), Signal::CONT);
    std::thread::sleep(Duration::from_millis(500));
    send(qemu, Signal::CONT);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_qemu_that_is_missing() {
    let sandbox = with_tiny();
    let more = ["--progress", "json", "--accel", "tcg", "--qemu-bin-name", "/nowhere/qemu"];
    let outcome = sandbox.build("broken", "FROM tiny\nRUN true\n", &more).exits(1);
    let error = error_of(&sandbox, &outcome, "broken");
    assert_eq!(error["kind"], "missing-program", "{error}");
    assert_eq!(error["message"], "Required program '/nowhere/qemu' is not installed", "{error}");
    assert!(error["hints"][0].as_str().unwrap().contains("install the package"), "{error}");
}

#[test]
fn a_qemu_that_ends_at_once() {
    let error = with_qemu("echo 'qemu: no such machine' >&2; exit 3", &[]);
    assert_eq!(error["kind"], "qemu-failed", "{error}");
    assert!(error["message"].as_str().unwrap().contains("exit status: 3"), "{error}");
    assert!(error["output"].as_str().unwrap().contains("no such machine"), "its own words: {error}");
}

#[test]
fn a_qemu_that_does_nothing() {
    let error = with_qemu("exec sleep 600", &["--qmp-timeout", "1"]);
    assert_eq!(error["kind"], "timeout", "{error}");
    assert!(error.to_string().contains("--qmp-timeout"), "{error}");
}

#[test]
fn a_kvm_that_does_not_work() {
    let sandbox = Sandbox::new();
    rootfs(&sandbox);
    // Whatever this host's KVM does, this QEMU's does not work.
    let qemu = sandbox.write(
        "bin/qemu",
        "#!/bin/sh\nfor word; do [ \"$word\" = kvm ] && { echo 'kvm: broken' >&2; exit 1; }; done\n\
         echo tcg >> \"$HOME/started\"\nexec qemu-system-x86_64 \"$@\"\n",
    );
    fs::set_permissions(&qemu, fs::Permissions::from_mode(0o755)).unwrap();
    let more =
        ["--progress", "json", "--no-warm-start", "--qemu-bin-name", qemu.to_str().unwrap(), "--accel"];
    let outcome = sandbox.build("broken", crate::fixture::TINY, &[&more[..], &["kvm"]].concat()).exits(1);
    let error = error_of(&sandbox, &outcome, "broken");
    assert_eq!(error["kind"], "kvm-unusable", "{error}");
    let _ = sandbox.build("works", crate::fixture::TINY, &[&more[..], &["auto"]].concat()).exits(0);
    assert_eq!(fs::read_to_string(sandbox.path("home/started")).unwrap(), "tcg\n");
}
