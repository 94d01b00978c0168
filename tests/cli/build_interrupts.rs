//! Kills and signals in the middle of a build, and what the host sees of one.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::fixture::with_tiny;
use crate::harness::{Sandbox, host};
use crate::processes::{all_end, descendants, is_ready, send, wait_for};

const SLOW: &str = "FROM tiny\nRUN echo ready; sleep 600\n";
const QUICK: &str = "FROM tiny\nRUN true\n";

/// After a build that was ended: the store is as it was, and the next build leaves nothing behind.
fn is_unharmed(sandbox: &Sandbox, list_before: &str) {
    assert_eq!(sandbox.run(["image", "ls"]).exits(0).stdout, list_before);
    let _ = sandbox.build("ended", QUICK, &[]).exits(0);
    assert_eq!(sandbox.leftovers(), Vec::<std::path::PathBuf>::new());
    assert!(fs::read_dir(sandbox.path("tmp")).unwrap().next().is_none(), "something is left in TMPDIR");
    let _ = sandbox.run(["image", "rm", "ended"]).exits(0);
}

#[test]
fn sigint_sigterm_and_sighup_end_a_run() {
    let sandbox = with_tiny();
    let list = sandbox.run(["image", "ls"]).exits(0).stdout;
    for (signal, status) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let mut child = sandbox.start_build("ended", SLOW);
        wait_for(&mut child, is_ready);
        let processes = descendants(child.id());
        assert!(!processes.is_empty(), "QEMU runs below the program");
        let begun = Instant::now();
        send(child.id(), signal);
        assert_eq!(child.wait().unwrap().code(), Some(status));
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        all_end(&processes);
        assert_eq!(sandbox.leftovers(), Vec::<std::path::PathBuf>::new());
    }
    is_unharmed(&sandbox, &list);
}

/// Ends builds at ten moments: in milliseconds from the start, and from the end of the last step on.
fn ended_at_any_moment(signal: Signal) {
    let sandbox = with_tiny();
    let list = sandbox.run(["image", "ls"]).exits(0).stdout;
    for delay in [5, 50, 150, 400, 1000, 2000] {
        let child = sandbox.start_build("ended", SLOW);
        let status = ended_after(child, delay, signal);
        assert!(!status.success(), "{status:?} after {delay} ms");
        is_unharmed(&sandbox, &list);
    }
    for delay in [0, 10, 30, 60] {
        // Each is another command, which the cache does not know.
        let mut child = sandbox.start_build("ended", &format!("FROM tiny\nRUN true {delay}\n"));
        wait_for(&mut child, |event| event["event"] == "step-finished" && event["step"] == 2);
        let status = ended_after(child, delay, signal);
        let image = sandbox.backend().join("ended");
        assert!(image.exists() || !status.success(), "{status:?} after {delay} ms");
        if image.exists() {
            // It was there before the signal came, and is whole.
            host([OsStr::new("qemu-img"), OsStr::new("check"), image.as_os_str()]);
            let _ = sandbox.run(["image", "rm", "ended"]).exits(0);
        }
        is_unharmed(&sandbox, &list);
    }
}

fn ended_after(mut child: Child, delay: u64, signal: Signal) -> ExitStatus {
    std::thread::sleep(Duration::from_millis(delay));
    let processes = descendants(child.id());
    send(child.id(), signal);
    let status = child.wait().unwrap();
    let interrupted =
        status.signal() == Some(signal.as_raw()) || status.code() == Some(128 + signal.as_raw());
    assert!(interrupted || status.success(), "{status:?} after {delay} ms");
    all_end(&processes);
    status
}

#[test]
fn sigkill_at_any_moment() {
    ended_at_any_moment(Signal::KILL);
}

#[test]
fn sigint_at_any_moment() {
    ended_at_any_moment(Signal::INT);
}

#[test]
fn a_reader_that_is_gone_ends_the_build() {
    let sandbox = with_tiny();
    let mut child = sandbox.start_build("ended", "FROM tiny\nRUN while true; do echo y; sleep 0.1; done\n");
    let stdout = child.stdout.take().unwrap();
    std::thread::sleep(Duration::from_millis(500));
    drop(stdout);
    let deadline = Instant::now() + Duration::from_secs(60);
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "the build goes on for nobody");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(child.wait().unwrap().code(), Some(141));
    assert!(!sandbox.backend().join("ended").exists());
}

/// Returns the sockets of a process that are TCP listeners or UDP sockets.
fn open_ports(process: u32) -> Vec<String> {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{process}/fd")) else { return Vec::new() };
    let sockets: BTreeSet<String> = descriptors
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok()?.to_str().map(str::to_owned))
        .filter_map(|target| Some(target.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let mut ports = Vec::new();
    for protocol in ["tcp", "tcp6", "udp", "udp6"] {
        let Ok(table) = fs::read_to_string(format!("/proc/{process}/net/{protocol}")) else { continue };
        for line in table.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            const LISTENS: &str = "0A";
            if sockets.contains(fields[9]) && (protocol.starts_with("udp") || fields[3] == LISTENS) {
                ports.push(format!("{protocol} {line}"));
            }
        }
    }
    ports
}

#[test]
fn no_port_is_opened() {
    let sandbox = with_tiny();
    let mut child = sandbox.start_build("ended", SLOW);
    wait_for(&mut child, is_ready);
    let processes = descendants(child.id());
    assert!(!processes.is_empty());
    for number in processes.iter().map(|(number, _)| *number).chain([child.id()]) {
        assert_eq!(open_ports(number), Vec::<String>::new());
    }
    send(child.id(), Signal::INT);
    child.wait().unwrap();
}
