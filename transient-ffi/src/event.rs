//! Events, as C sees them.

use std::ffi::{CString, OsStr, c_char, c_void};

use transient_core::{Event, Stream};

use crate::explanation::{self, transient_difference, transient_explanation};
use crate::image::transient_image;
use crate::text::{address, c_string};

/// Which member of `transient_event_data` holds the event. Later releases may add some: ignore what is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum transient_event_kind {
    /// `step_started`
    StepStarted = 1,
    /// `step_finished`
    StepFinished = 2,
    /// `builder_started`
    BuilderStarted = 3,
    /// `output`
    Output = 4,
    /// `progress`
    Progress = 5,
    /// `warning`
    Warning = 6,
    /// `note`
    Note = 7,
    /// `build_finished`
    BuildFinished = 8,
    /// `pull_finished`
    PullFinished = 9,
    /// `export_finished`
    ExportFinished = 10,
    /// `explanation`
    Explanation = 11,
    /// `step_failed`
    StepFailed = 12,
    /// `vm_starting`
    VmStarting = 13,
    /// `serial_output`
    SerialOutput = 14,
}

/// The two output streams of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum transient_stream {
    /// Standard output.
    Stdout = 1,
    /// Standard error.
    Stderr = 2,
}

/// A step of a build begins.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct transient_step_started {
    /// Counted from 1.
    pub step: usize,
    /// How many steps the build has.
    pub steps: usize,
    /// The instruction, in its usual form.
    pub instruction: *const c_char,
    /// The line of the Imagefile where it begins, counted from 1.
    pub line: usize,
}

/// A step of a build is done.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct transient_step_finished {
    /// Counted from 1.
    pub step: usize,
    /// How many seconds it took.
    pub elapsed: f64,
    /// Whether it was not carried out, because its result was in the cache.
    pub cached: bool,
}

/// The builder VM runs and takes commands.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct transient_builder_started {
    /// What runs its instructions: `kvm` or `tcg`.
    pub accelerator: *const c_char,
    /// Seconds since the start of QEMU.
    pub elapsed: f64,
    /// Whether it did not boot: it was restored from one that was saved.
    pub warm: bool,
}

/// Everything is in place, and a VM starts.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct transient_vm_starting {
    /// Its name.
    pub name: *const c_char,
    /// The image that it starts from.
    pub image: *const c_char,
}

/// A VM's serial console showed something, before SSH was connected. Only when it is asked for:
/// `transient_vm_config_set_ssh_with_serial`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct transient_serial_output {
    /// The bytes, as they came; no NUL ends them.
    pub data: *const u8,
    /// How many.
    pub len: usize,
}

/// A command of the image, or in a VM, wrote something.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct transient_output {
    /// Where to, a `transient_stream`.
    pub stream: u32,
    /// The bytes, as they came; no NUL ends them.
    pub data: *const u8,
    /// How many.
    pub len: usize,
}

/// Bytes were moved.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct transient_progress {
    /// What is being done, for example `Copying rootfs.tar.xz`.
    pub task: *const c_char,
    /// Bytes done so far.
    pub done: u64,
    /// Bytes in all; 0 when that is not known.
    pub total: u64,
    /// Whether this is the task's last progress.
    pub finished: bool,
}

/// Something that a person should know, but that is no failure.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct transient_warning {
    /// What, in one sentence.
    pub message: *const c_char,
    /// What can be done about it; may be NULL.
    pub hint: *const c_char,
}

/// A detail of interest, for example an fstab entry that was skipped.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct transient_note {
    /// What, in one sentence.
    pub message: *const c_char,
}

/// A step failed, and a shell opens in the state before it. The build ends with the error after that.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct transient_step_failed {
    /// Counted from 1.
    pub step: usize,
    /// The whole error as a person needs to see it, over several lines.
    pub error: *const c_char,
}

/// The image is whole, and others can see it.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct transient_build_finished {
    /// The image.
    pub image: *const transient_image,
    /// Seconds since the start of the build.
    pub elapsed: f64,
}

/// An image is in the backend, as was asked for.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct transient_pull_finished {
    /// The image.
    pub image: *const transient_image,
    /// Whether it was brought in; else it was there already.
    pub fetched: bool,
    /// How many seconds it took.
    pub elapsed: f64,
}

/// The file of an export is whole, and at its place.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct transient_export_finished {
    /// The file.
    pub path: *const c_char,
    /// What it occupies on the host's disk, in bytes.
    pub real_size: u64,
    /// How many seconds it took.
    pub elapsed: f64,
}

/// What happened; the event's kind says which member it is.
#[derive(Clone, Copy)]
#[repr(C)]
#[expect(missing_debug_implementations, reason = "only the kind tells which member is valid")]
pub union transient_event_data {
    /// A step of a build begins.
    pub step_started: transient_step_started,
    /// A step of a build is done.
    pub step_finished: transient_step_finished,
    /// The builder VM runs and takes commands.
    pub builder_started: transient_builder_started,
    /// A command wrote something.
    pub output: transient_output,
    /// Bytes were moved.
    pub progress: transient_progress,
    /// Something that a person should know.
    pub warning: transient_warning,
    /// A detail of interest.
    pub note: transient_note,
    /// The image is whole.
    pub build_finished: transient_build_finished,
    /// An image is in the backend.
    pub pull_finished: transient_pull_finished,
    /// The file of an export is whole.
    pub export_finished: transient_export_finished,
    /// Why steps are carried out.
    pub explanation: transient_explanation,
    /// A step failed, and a shell opens.
    pub step_failed: transient_step_failed,
    /// A VM starts.
    pub vm_starting: transient_vm_starting,
    /// A VM's serial console showed something.
    pub serial_output: transient_serial_output,
}

/// One thing that happened. It, and all that it points to, is valid during the callback only. Made by the library
/// alone; later releases may add members, and fields at their ends.
#[derive(Clone, Copy)]
#[repr(C)]
#[expect(missing_debug_implementations, reason = "as of the union")]
pub struct transient_event {
    /// A `transient_event_kind`.
    pub kind: u32,
    /// What happened.
    pub data: transient_event_data,
}

/// Is told of events.
pub type transient_event_callback =
    Option<unsafe extern "C" fn(user_data: *mut c_void, event: *const transient_event)>;

/// Ends the user data of a callback.
pub type transient_finalizer = Option<unsafe extern "C" fn(user_data: *mut c_void)>;

/// The caller's callback, which is finalized when it is dropped.
#[derive(Debug)]
pub(crate) struct Listener {
    callback: transient_event_callback,
    user_data: *mut c_void,
    finalizer: transient_finalizer,
}

impl Listener {
    pub(crate) fn new(
        callback: transient_event_callback,
        user_data: *mut c_void,
        finalizer: transient_finalizer,
    ) -> Self {
        Self { callback, user_data, finalizer }
    }

    pub(crate) fn tell(&self, event: &Event) {
        let Some(callback) = self.callback else { return };
        // What the event points to lives until the callback has returned.
        let mut strings = Vec::new();
        let (mut image, mut differences) = (None, Vec::new());
        let Some((kind, data)) = translate(event, &mut strings, &mut image, &mut differences) else { return };
        let event = transient_event { kind: kind as u32, data };
        // SAFETY: by contract it may be called with the caller's own data.
        unsafe { callback(self.user_data, &raw const event) };
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(finalizer) = self.finalizer {
            // SAFETY: by contract it may be called once with the caller's own data.
            unsafe { finalizer(self.user_data) };
        }
    }
}

/// Returns the event for C; `None` is one that this header does not have.
fn translate(
    event: &Event,
    strings: &mut Vec<CString>,
    image: &mut Option<transient_image>,
    differences: &mut Vec<transient_difference>,
) -> Option<(transient_event_kind, transient_event_data)> {
    let mut keep = |text: &dyn AsRef<OsStr>| {
        strings.push(c_string(text.as_ref()));
        address(strings.last())
    };
    Some(match event {
        Event::StepStarted { step, steps, instruction, line } => {
            let (step, steps, line) = (*step, *steps, *line);
            let step_started = transient_step_started { step, steps, instruction: keep(&instruction), line };
            (transient_event_kind::StepStarted, transient_event_data { step_started })
        }
        Event::StepFinished { step, elapsed, cached } => {
            let (step, elapsed, cached) = (*step, elapsed.as_secs_f64(), *cached);
            let step_finished = transient_step_finished { step, elapsed, cached };
            (transient_event_kind::StepFinished, transient_event_data { step_finished })
        }
        Event::BuilderStarted { accelerator, elapsed, warm } => {
            let (accelerator, elapsed, warm) = (keep(&accelerator), elapsed.as_secs_f64(), *warm);
            let builder_started = transient_builder_started { accelerator, elapsed, warm };
            (transient_event_kind::BuilderStarted, transient_event_data { builder_started })
        }
        Event::Output { stream, data } => {
            let stream = match stream {
                Stream::Stdout => transient_stream::Stdout,
                Stream::Stderr => transient_stream::Stderr,
            };
            let output = transient_output { stream: stream as u32, data: data.as_ptr(), len: data.len() };
            (transient_event_kind::Output, transient_event_data { output })
        }
        Event::VmStarting { name, image } => {
            let vm_starting = transient_vm_starting { name: keep(&name), image: keep(&image) };
            (transient_event_kind::VmStarting, transient_event_data { vm_starting })
        }
        Event::SerialOutput { data } => {
            let serial_output = transient_serial_output { data: data.as_ptr(), len: data.len() };
            (transient_event_kind::SerialOutput, transient_event_data { serial_output })
        }
        Event::Progress { task, done, total, finished } => {
            let (done, total, finished) = (*done, total.unwrap_or(0), *finished);
            let progress = transient_progress { task: keep(&task), done, total, finished };
            (transient_event_kind::Progress, transient_event_data { progress })
        }
        Event::Warning { message, hint } => {
            let hint = hint.as_ref().map_or(std::ptr::null(), |hint| keep(&hint));
            let warning = transient_warning { message: keep(&message), hint };
            (transient_event_kind::Warning, transient_event_data { warning })
        }
        Event::Note { message } => {
            let note = transient_note { message: keep(&message) };
            (transient_event_kind::Note, transient_event_data { note })
        }
        Event::Explanation { step, reason, differences: told, more } => {
            let reason = keep(&reason);
            *differences = explanation::translate(told, strings);
            let explanation = transient_explanation {
                step: step.unwrap_or(0),
                reason,
                differences: differences.as_ptr(),
                differences_len: differences.len(),
                more: *more,
            };
            (transient_event_kind::Explanation, transient_event_data { explanation })
        }
        Event::StepFailed { step, error } => {
            let step_failed = transient_step_failed { step: *step, error: keep(&error) };
            (transient_event_kind::StepFailed, transient_event_data { step_failed })
        }
        Event::BuildFinished { image: built, elapsed } => {
            let image = std::ptr::from_ref(&*image.insert(transient_image::new(built)));
            let build_finished = transient_build_finished { image, elapsed: elapsed.as_secs_f64() };
            (transient_event_kind::BuildFinished, transient_event_data { build_finished })
        }
        Event::PullFinished { image: pulled, fetched, elapsed } => {
            let image = std::ptr::from_ref(&*image.insert(transient_image::new(pulled)));
            let elapsed = elapsed.as_secs_f64();
            let pull_finished = transient_pull_finished { image, fetched: *fetched, elapsed };
            (transient_event_kind::PullFinished, transient_event_data { pull_finished })
        }
        Event::ExportFinished { path, real_size, elapsed } => {
            let (path, real_size, elapsed) = (keep(&path), *real_size, elapsed.as_secs_f64());
            let export_finished = transient_export_finished { path, real_size, elapsed };
            (transient_event_kind::ExportFinished, transient_event_data { export_finished })
        }
        _ => return None,
    })
}
