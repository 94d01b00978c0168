//! Events become the objects of `transient.events`.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use transient_core::{Difference, DifferenceKind, Event, Stream};

use crate::image;

/// Returns the Python object of an event; `None` is one that has none.
pub(crate) fn object<'py>(py: Python<'py>, event: Event) -> PyResult<Option<Bound<'py, PyAny>>> {
    let events = py.import("transient.events")?;
    let class = |name: &str| events.getattr(name);
    Ok(Some(match event {
        Event::StepStarted { step, steps, instruction, line } => {
            class("StepStarted")?.call1((step, steps, instruction, line))?
        }
        Event::StepFinished { step, elapsed, cached } => {
            class("StepFinished")?.call1((step, elapsed.as_secs_f64(), cached))?
        }
        Event::BuilderStarted { accelerator, elapsed, warm } => {
            class("BuilderStarted")?.call1((accelerator, elapsed.as_secs_f64(), warm))?
        }
        Event::VmStarting { name, image } => class("VmStarting")?.call1((name, image))?,
        Event::SerialOutput { data } => class("SerialOutput")?.call1((PyBytes::new(py, &data),))?,
        Event::Output { stream, data } => {
            class("Output")?.call1((self::stream(stream), PyBytes::new(py, &data)))?
        }
        Event::Progress { task, done, total, finished } => {
            class("Progress")?.call1((task, done, total, finished))?
        }
        Event::Warning { message, hint } => class("Warning")?.call1((message, hint))?,
        Event::Note { message } => class("Note")?.call1((message,))?,
        Event::Explanation { step, reason, differences, more } => {
            let kinds = class("Difference")?;
            let differences = differences
                .into_iter()
                .map(|Difference { kind, path, before, now, message, .. }| {
                    kinds.call1((self::kind(kind), path, before, now, message))
                })
                .collect::<PyResult<Vec<_>>>()?;
            class("Explanation")?.call1((step, reason, PyTuple::new(py, differences)?, more))?
        }
        Event::StepFailed { step, error } => class("StepFailed")?.call1((step, error))?,
        Event::BuildFinished { image, elapsed } => {
            class("BuildFinished")?.call1((image::object(py, &image)?, elapsed.as_secs_f64()))?
        }
        Event::PullFinished { image, fetched, elapsed } => {
            let image = image::object(py, &image)?;
            class("PullFinished")?.call1((image, fetched, elapsed.as_secs_f64()))?
        }
        Event::ExportFinished { path, real_size, elapsed } => {
            class("ExportFinished")?.call1((path, real_size, elapsed.as_secs_f64()))?
        }
        _ => return Ok(None),
    }))
}

/// Returns the name of a stream.
pub(crate) fn stream(stream: Stream) -> &'static str {
    match stream {
        Stream::Stdout => "stdout",
        Stream::Stderr => "stderr",
    }
}

/// The names are those of the JSON events.
fn kind(kind: DifferenceKind) -> &'static str {
    match kind {
        DifferenceKind::Instruction => "instruction",
        DifferenceKind::BaseImage => "base-image",
        DifferenceKind::Appliance => "appliance",
        DifferenceKind::Network => "network",
        DifferenceKind::Existence => "existence",
        DifferenceKind::FileType => "file-type",
        DifferenceKind::Mode => "mode",
        DifferenceKind::Content => "content",
        DifferenceKind::LinkTarget => "link-target",
        _ => "other",
    }
}
