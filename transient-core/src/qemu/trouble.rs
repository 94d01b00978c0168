//! What can end a machine, noticed at once instead of by a time-out.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;

use super::console::Tail;
use crate::error::CACHE_IS_FULL;
use crate::{Error, ErrorKind};

/// A reason why nothing more can be expected of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// QEMU ended: its status, whether that means success, and its own words.
    Exited { status: String, success: bool, words: String },
    /// The guest's kernel panicked: what the console showed.
    Panicked { console: String },
    /// The guest ended by itself: what the console showed.
    Ended { console: String },
    /// QEMU lives, but has not answered for so long.
    Silent { patience: Duration },
    /// QEMU paused the guest, for the host's disk is full.
    HostDiskFull,
    /// QEMU paused the guest, for the host's disk failed.
    DiskFailed { reason: String },
}

impl Trouble {
    fn into_error(self) -> Error {
        match self {
            Self::Exited { status, words, .. } => {
                Error::new(ErrorKind::QemuFailed, format!("QEMU ended before its time ({status})"))
                    .with_output(words)
            }
            Self::Panicked { console } => {
                Error::new(ErrorKind::GuestPanic, "the kernel of the builder VM panicked")
                    .with_output(console)
            }
            Self::Ended { console } => {
                Error::new(ErrorKind::ConnectionLost, "the builder VM ended by itself").with_output(console)
            }
            Self::Silent { patience } => Error::new(
                ErrorKind::Timeout,
                format!("QEMU runs, but has not answered for {} s", patience.as_secs()),
            )
            .hint("it was stopped, or the host is overloaded; --qmp-timeout gives it longer"),
            Self::HostDiskFull => {
                Error::new(ErrorKind::HostDiskFull, "the disk of the host is full").hint(CACHE_IS_FULL)
            }
            Self::DiskFailed { reason } => Error::new(
                ErrorKind::Io,
                format!("the disk of the builder VM cannot be read or written: {reason}"),
            ),
        }
    }

    /// How much this says about what happened.
    fn rank(&self) -> u8 {
        match self {
            Self::Panicked { .. } | Self::Silent { .. } | Self::HostDiskFull | Self::DiskFailed { .. } => 3,
            Self::Exited { success, words, .. } if !success || !words.is_empty() => 2,
            Self::Ended { console } if !console.is_empty() => 1,
            Self::Exited { .. } | Self::Ended { .. } => 0,
        }
    }
}

/// Where a machine's watchers leave what they noticed; clones are the same place.
#[derive(Debug, Clone)]
pub(crate) struct Watch {
    trouble: watch::Sender<Option<Trouble>>,
    memory_kills: Arc<Mutex<Vec<String>>>,
    console: Arc<Mutex<Tail>>,
}

impl Watch {
    pub(crate) fn new() -> Self {
        Self { trouble: watch::Sender::new(None), memory_kills: Arc::default(), console: Arc::default() }
    }

    /// Notes a trouble; the first stays, unless a later one explains more.
    pub(crate) fn report(&self, trouble: Trouble) {
        self.trouble.send_if_modified(|current| {
            let better = current.as_ref().is_none_or(|current| trouble.rank() > current.rank());
            if better {
                *current = Some(trouble);
            }
            better
        });
    }

    /// Notes that the guest's kernel killed a process for want of memory.
    pub(crate) fn report_memory_kill(&self, process: String) {
        if let Ok(mut kills) = self.memory_kills.lock() {
            kills.push(process);
        }
    }

    /// Returns the processes killed for want of memory since the last call.
    pub(crate) fn take_memory_kills(&self) -> Vec<String> {
        self.memory_kills.lock().map(|mut kills| std::mem::take(&mut *kills)).unwrap_or_default()
    }

    /// Notes a line of the guest's console.
    pub(crate) fn add_to_console(&self, line: String) {
        if let Ok(mut console) = self.console.lock() {
            console.push(line);
        }
    }

    /// Returns the last lines of the guest's console.
    pub(crate) fn console(&self) -> String {
        self.console.lock().map(|console| console.text()).unwrap_or_default()
    }

    /// Waits for a trouble and returns it as an error.
    pub(crate) async fn trouble(&self) -> Error {
        let mut receiver = self.trouble.subscribe();
        match receiver.wait_for(Option::is_some).await {
            Ok(trouble) => trouble.clone().map(Trouble::into_error),
            Err(_) => None,
        }
        .unwrap_or_else(|| Error::new(ErrorKind::Internal, "nobody watches the builder VM"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn a_trouble_that_explains_wins_over_one_that_does_not() {
        let watch = Watch::new();
        watch.report(Trouble::Exited { status: "exit status 0".into(), success: true, words: String::new() });
        watch.report(Trouble::Panicked { console: "Kernel panic".into() });
        watch.report(Trouble::Ended { console: String::new() });
        assert_eq!(watch.trouble().await.kind(), ErrorKind::GuestPanic);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_killed_qemu_is_no_guest_that_ended() {
        let watch = Watch::new();
        watch.report(Trouble::Ended { console: "last words".into() });
        let status = "signal: 9 (SIGKILL)".to_owned();
        watch.report(Trouble::Exited { status, success: false, words: String::new() });
        assert_eq!(watch.trouble().await.kind(), ErrorKind::QemuFailed);
    }
}
