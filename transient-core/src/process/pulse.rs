//! Whether a process does anything.

use std::fs;
use std::time::{Duration, Instant};

/// How often it is looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// What a process has done so far, looked at again and again.
///
/// Time counts only in steps of [`INTERVAL`]: this process may have been stopped as well, and continue.
#[derive(Debug)]
pub(super) struct Pulse {
    process: u32,
    looked: Instant,
    done: Option<String>,
    idle: Duration,
}

impl Pulse {
    pub(super) fn new(process: u32) -> Self {
        Self { process, looked: Instant::now(), done: None, idle: Duration::ZERO }
    }

    /// Whether the process has done nothing for so long.
    pub(super) fn is_gone_for(&mut self, patience: Duration) -> bool {
        if self.looked.elapsed() >= INTERVAL {
            self.looked = Instant::now();
            let done = work_of(self.process);
            // Where that cannot be told, it is waited for.
            self.idle =
                if done.is_some() && done == self.done { self.idle + INTERVAL } else { Duration::ZERO };
            self.done = done;
        }
        self.idle >= patience
    }
}

/// Returns figures that change while a process works: what it has computed, read and written.
fn work_of(process: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let io = fs::read_to_string(format!("/proc/{process}/io")).ok()?;
    // The name, in parentheses, may hold anything; `utime` and `stime` follow 11 fields later.
    let times: Vec<&str> = stat.get(stat.rfind(')')? + 2..)?.split(' ').skip(11).take(4).collect();
    Some(format!("{times:?} {io}"))
}
