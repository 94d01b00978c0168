//! Kills and signals in the middle of a build, and what the host sees of one.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::Child;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::fixture::with_tiny;
use crate::harness::{Sandbox, host};

const SLOW: &str = "FROM tiny\nRUN echo ready; sleep 600\n";
const QUICK: &str = "FROM tiny\nRUN true\n";

/// A process, and the moment it began: its number alone may be given to another.
type Process = (u32, String);

/// Returns a process's parent and the moment it began.
fn status(process: u32) -> Option<(u32, String)> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, in parentheses, may hold anything.
    let fields: Vec<&str> = stat[stat.rfind(')')? + 2..].split(' ').collect();
    // A zombie runs no more.
    (fields[0] != "Z").then(|| (fields[1].parse().unwrap_or(0), fields[19].to_owned()))
}

/// Returns every process below this one.
fn descendants(ancestor: u32) -> BTreeSet<Process> {
    let numbers =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    let all: Vec<(u32, u32, String)> = numbers
        .filter_map(|number: u32| status(number).map(|(parent, start)| (number, parent, start)))
        .collect();
    let mut found = BTreeSet::new();
    let mut parents = vec![ancestor];
    while let Some(parent) = parents.pop() {
        for (number, _, start) in all.iter().filter(|(_, of, _)| *of == parent) {
            found.insert((*number, start.clone()));
            parents.push(*number);
        }
    }
    found
}

/// Fails unless all of these end within 2 seconds.
fn all_end(processes: &BTreeSet<Process>) {
    let deadline = Instant::now() + Duration::from_secs(2);
    let alive = |(number, start): &&Process| status(*number).is_some_and(|(_, now)| now == *start);
    while let Some((number, _)) = processes.iter().find(alive) {
        assert!(Instant::now() < deadline, "process {number} outlives the build");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Reads events until one is as wished, and returns it.
fn wait_for(child: &mut Child, wished: impl Fn(&Value) -> bool) -> Value {
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    loop {
        line.clear();
        assert_ne!(stdout.read_line(&mut line).unwrap(), 0, "the build ended too early");
        let event: Value = serde_json::from_str(&line).unwrap();
        if wished(&event) {
            // What follows must be read, or the build would be stopped by a full pipe or a closed one.
            std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
            return event;
        }
    }
}

fn is_ready(event: &Value) -> bool {
    event["event"] == "output" && event["data"].as_str().unwrap().contains("ready")
}

fn send(child: &Child, signal: &str) {
    host(["kill", signal, &child.id().to_string()]);
}

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
    for (signal, status) in [("-INT", 130), ("-TERM", 143), ("-HUP", 129)] {
        let mut child = sandbox.start_build("ended", SLOW);
        wait_for(&mut child, is_ready);
        let processes = descendants(child.id());
        assert!(!processes.is_empty(), "QEMU runs below the program");
        let begun = Instant::now();
        send(&child, signal);
        assert_eq!(child.wait().unwrap().code(), Some(status));
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        all_end(&processes);
        assert_eq!(sandbox.leftovers(), Vec::<std::path::PathBuf>::new());
    }
    is_unharmed(&sandbox, &list);
}

/// Ends a build at several moments of its life.
fn ended_at_any_moment(signal: &str) {
    let sandbox = with_tiny();
    let list = sandbox.run(["image", "ls"]).exits(0).stdout;
    for delay in [5, 50, 150, 400, 800, 1300, 2000, 2800] {
        let mut child = sandbox.start_build("ended", SLOW);
        std::thread::sleep(Duration::from_millis(delay));
        let processes = descendants(child.id());
        send(&child, signal);
        let status = child.wait().unwrap();
        match signal {
            "-KILL" => assert_eq!(status.signal(), Some(9)),
            // In its first milliseconds the program does not watch signals yet.
            _ => assert!(
                status.code() == Some(130) || status.signal() == Some(2),
                "{status:?} after {delay} ms"
            ),
        }
        all_end(&processes);
    }
    is_unharmed(&sandbox, &list);
}

#[test]
fn sigkill_at_any_moment() {
    ended_at_any_moment("-KILL");
}

#[test]
fn sigint_at_any_moment() {
    ended_at_any_moment("-INT");
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
    send(&child, "-INT");
    child.wait().unwrap();
}
