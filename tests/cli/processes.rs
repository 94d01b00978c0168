//! The processes of a build that runs, and its events.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Child;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A process, and the moment it began: its number alone may be given to another.
pub(crate) type Process = (u32, String);

/// Returns a process's parent and the moment it began.
fn status(process: u32) -> Option<(u32, String)> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, in parentheses, may hold anything.
    let fields: Vec<&str> = stat[stat.rfind(')')? + 2..].split(' ').collect();
    // A zombie runs no more.
    (fields[0] != "Z").then(|| (fields[1].parse().unwrap_or(0), fields[19].to_owned()))
}

/// Returns every process below this one.
pub(crate) fn descendants(ancestor: u32) -> BTreeSet<Process> {
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
pub(crate) fn all_end(processes: &BTreeSet<Process>) {
    let deadline = Instant::now() + Duration::from_secs(2);
    let alive = |(number, start): &&Process| status(*number).is_some_and(|(_, now)| now == *start);
    while let Some((number, _)) = processes.iter().find(alive) {
        assert!(Instant::now() < deadline, "process {number} outlives the build");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Reads events until one is as wished; what follows is read in the background, or else a full pipe would
/// stop the build.
pub(crate) fn wait_for(child: &mut Child, wished: impl Fn(&Value) -> bool) -> JoinHandle<Vec<Value>> {
    let mut events = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(|line| serde_json::from_str(&line.unwrap()).unwrap());
    assert!(events.any(|event| wished(&event)), "the build ended too early");
    thread::spawn(move || events.collect())
}

pub(crate) fn is_ready(event: &Value) -> bool {
    event["event"] == "output" && event["data"].as_str().unwrap().contains("ready")
}

pub(crate) fn send(process: u32, signal: Signal) {
    let process = Pid::from_raw(process.try_into().unwrap()).unwrap();
    kill_process(process, signal).unwrap();
}
