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
    fn into_error(self, vm: &Watched) -> Error {
        let name = vm.name;
        match self {
            Self::Exited { success: true, words, .. } if words.is_empty() => {
                Error::new(ErrorKind::ConnectionLost, format!("the {name} ended by itself"))
            }
            Self::Exited { status, words, .. } => {
                Error::new(ErrorKind::QemuFailed, format!("QEMU ended before its time ({status})"))
                    .with_output(words)
            }
            Self::Panicked { console } => {
                Error::new(ErrorKind::GuestPanic, format!("the kernel of the {name} panicked"))
                    .with_output(console)
            }
            Self::Ended { console } => {
                Error::new(ErrorKind::ConnectionLost, format!("the {name} ended by itself"))
                    .with_output(console)
            }
            Self::Silent { patience } => Error::new(
                ErrorKind::Timeout,
                format!("QEMU runs, but has not answered for {} s", patience.as_secs()),
            )
            .hint("it was stopped, or the host is overloaded; --qmp-timeout gives it longer"),
            Self::HostDiskFull => {
                Error::new(ErrorKind::HostDiskFull, "the disk of the host is full").hint(vm.when_full)
            }
            Self::DiskFailed { reason } => Error::new(
                ErrorKind::Io,
                format!("the disk of the {name} cannot be read or written: {reason}"),
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

/// What is watched, as people are told of it.
#[derive(Debug, Clone, Copy)]
struct Watched {
    name: &'static str,
    /// What can be done when the disk is full that its disk is on.
    when_full: &'static str,
}

/// Where a machine's watchers leave what they noticed; clones are the same place.
#[derive(Debug, Clone)]
pub(crate) struct Watch {
    vm: Watched,
    trouble: watch::Sender<Option<Trouble>>,
    memory_kills: Arc<Mutex<Vec<String>>>,
    console: Arc<Mutex<Tail>>,
}

impl Watch {
    /// For a builder VM, whose disk is in the cache.
    pub(crate) fn of_builder() -> Self {
        Self::of(Watched { name: "builder VM", when_full: CACHE_IS_FULL })
    }

    /// For a VM of a user.
    pub(crate) fn of_vm() -> Self {
        let when_full = "the guest is paused; free some space where the VM store is, or where TMPDIR is for a VM \
            that keeps nothing";
        Self::of(Watched { name: "VM", when_full })
    }

    fn of(vm: Watched) -> Self {
        let (memory_kills, console) = (Arc::default(), Arc::default());
        Self { vm, trouble: watch::Sender::new(None), memory_kills, console }
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

    /// Whether there is a trouble.
    pub(crate) fn is_in_trouble(&self) -> bool {
        self.trouble.borrow().is_some()
    }

    /// Waits for a trouble and returns it as an error.
    pub(crate) async fn trouble(&self) -> Error {
        let mut receiver = self.trouble.subscribe();
        match receiver.wait_for(Option::is_some).await {
            Ok(trouble) => trouble.clone().map(|trouble| trouble.into_error(&self.vm)),
            Err(_) => None,
        }
        .unwrap_or_else(|| Error::new(ErrorKind::Internal, "nobody watches the VM"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn a_trouble_that_explains_wins_over_one_that_does_not() {
        let watch = Watch::of_builder();
        watch.report(Trouble::Exited { status: "exit status 0".into(), success: true, words: String::new() });
        watch.report(Trouble::Panicked { console: "Kernel panic".into() });
        watch.report(Trouble::Ended { console: String::new() });
        assert_eq!(watch.trouble().await.kind(), ErrorKind::GuestPanic);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_killed_qemu_is_no_guest_that_ended() {
        let watch = Watch::of_builder();
        watch.report(Trouble::Ended { console: "last words".into() });
        let status = "signal: 9 (SIGKILL)".to_owned();
        watch.report(Trouble::Exited { status, success: false, words: String::new() });
        assert_eq!(watch.trouble().await.kind(), ErrorKind::QemuFailed);
    }
}
