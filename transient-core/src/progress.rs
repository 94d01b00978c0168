//! Progress of one task, as events.

use crate::Event;
use crate::event::Reporter;

/// Counts the bytes of one task. Small steps are not worth an event each.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    reporter: Reporter,
    task: String,
    total: Option<u64>,
    done: u64,
    told: u64,
}

/// How many bytes make an event.
const STEP: u64 = 1 << 20;

impl Progress {
    pub(crate) fn new(reporter: &Reporter, task: String, total: Option<u64>) -> Self {
        Self { reporter: reporter.clone(), task, total, done: 0, told: 0 }
    }

    pub(crate) fn add(&mut self, length: u64) {
        self.done += length;
        if self.done - self.told >= STEP {
            self.told = self.done;
            self.reporter.progress(&self.task, self.done, self.total);
        }
    }

    pub(crate) async fn finish(self, done: u64) {
        let event = Event::Progress { task: self.task, done, total: self.total, finished: true };
        self.reporter.send(event).await;
    }
}
