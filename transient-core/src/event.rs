//! What a long call tells while it works.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::build::Difference;
use crate::image::Image;

/// One thing that happened. Every face passes on the same events.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Event {
    /// A step of a build begins.
    StepStarted {
        /// Counted from 1.
        step: usize,
        /// How many steps the build has.
        steps: usize,
        /// The instruction, in its usual form.
        instruction: String,
        /// The line of the Imagefile where it begins, counted from 1.
        line: usize,
    },
    /// A step of a build is done.
    StepFinished {
        /// Counted from 1.
        step: usize,
        /// How long it took, in seconds.
        #[serde(serialize_with = "seconds")]
        elapsed: Duration,
        /// Whether it was not carried out, because its result was in the cache.
        cached: bool,
    },
    /// Why steps are carried out and not taken from the cache: what the first of them is made of, compared with the
    /// last build of the same image. Only when it is asked for.
    Explanation {
        /// The first step that is carried out, counted from 1; `None` when all are in the cache.
        step: Option<usize>,
        /// Why, in one sentence.
        reason: String,
        /// What differs, or the first of it. Digests, never contents.
        differences: Vec<Difference>,
        /// How many differences there are besides.
        more: usize,
    },
    /// A step failed, and a shell opens in the state before it. The build ends with the error after that.
    StepFailed {
        /// Counted from 1.
        step: usize,
        /// The whole error as a person needs to see it, over several lines.
        error: String,
    },
    /// The builder VM runs and takes commands.
    BuilderStarted {
        /// What runs its instructions: `kvm` or `tcg`.
        accelerator: &'static str,
        /// From the start of QEMU, in seconds.
        #[serde(serialize_with = "seconds")]
        elapsed: Duration,
        /// Whether it did not boot: it was restored from one that was saved.
        warm: bool,
    },
    /// Everything is in place, and a VM starts.
    VmStarting {
        /// Its name.
        name: String,
        /// The image that it starts from.
        image: String,
    },
    /// A VM's serial console showed something, before SSH was connected.
    SerialOutput {
        /// The bytes, as they came. In JSON: text, with what is not UTF-8 replaced.
        #[serde(serialize_with = "text")]
        data: Vec<u8>,
    },
    /// A command of the image wrote something.
    Output {
        /// Where to.
        stream: Stream,
        /// The bytes, as they came. In JSON: text, with what is not UTF-8 replaced.
        #[serde(serialize_with = "text")]
        data: Vec<u8>,
    },
    /// Bytes were moved.
    Progress {
        /// What is being done, for example `Copying rootfs.tar.xz`.
        task: String,
        /// Bytes done so far.
        done: u64,
        /// Bytes in all, where that is known.
        total: Option<u64>,
        /// Whether this is the task's last progress.
        finished: bool,
    },
    /// Something that a person should know, but that is no failure.
    Warning {
        /// What, in one sentence.
        message: String,
        /// What can be done about it.
        hint: Option<String>,
    },
    /// A detail of interest, for example an fstab entry that was skipped.
    Note {
        /// What, in one sentence.
        message: String,
    },
    /// An image is in the backend, as was asked for.
    PullFinished {
        /// The image.
        image: Image,
        /// Whether it was brought in; else it was there already.
        fetched: bool,
        /// How long it took, in seconds.
        #[serde(serialize_with = "seconds")]
        elapsed: Duration,
    },
    /// The file of an export is whole, and at its place.
    ExportFinished {
        /// The file.
        path: PathBuf,
        /// What it occupies on the host's disk, in bytes.
        real_size: u64,
        /// How long it took, in seconds.
        #[serde(serialize_with = "seconds")]
        elapsed: Duration,
    },
    /// The image is whole, and others can see it.
    BuildFinished {
        /// The image.
        image: Image,
        /// From the start of the build, in seconds.
        #[serde(serialize_with = "seconds")]
        elapsed: Duration,
    },
}

/// The two output streams of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

fn seconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

fn text<S: serde::Serializer>(data: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&String::from_utf8_lossy(data))
}

/// The inner end of an event channel: what the library's own code reports to.
#[derive(Debug, Clone)]
pub(crate) struct Reporter(async_channel::Sender<Event>);

/// How many events may wait for a slow listener before the work waits too.
const EVENTS_WAITING: usize = 1024;

impl Reporter {
    /// Returns a reporter and the end where its events come out.
    pub(crate) fn channel() -> (Self, async_channel::Receiver<Event>) {
        let (sender, receiver) = async_channel::bounded(EVENTS_WAITING);
        (Self(sender), receiver)
    }

    /// Reports, waiting for a slow listener. A listener that is gone is no failure.
    pub(crate) async fn send(&self, event: Event) {
        // The receiver only goes away when the call is ending anyway.
        let _ = self.0.send(event).await;
    }

    /// Reports from code that is not async; waits for a slow listener.
    pub(crate) fn send_blocking(&self, event: Event) {
        let _ = self.0.send_blocking(event);
    }

    /// Reports progress, which may be dropped when the listener is slow (the last one never is).
    pub(crate) fn progress(&self, task: &str, done: u64, total: Option<u64>) {
        let _ = self.0.try_send(Event::Progress { task: task.to_owned(), done, total, finished: false });
    }

    /// Reports a warning.
    pub(crate) async fn warning(&self, message: impl Into<String>, hint: Option<String>) {
        self.send(Event::Warning { message: message.into(), hint }).await;
    }
}
