//! Long calls, during which Python goes on.

use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use transient_core::{Error, Event};

use crate::error::exception;
use crate::event;

/// How long a Ctrl-C may go unseen.
pub(crate) const SIGNALS_EVERY: Duration = Duration::from_millis(50);
/// How many events may wait for a slow listener before the work waits too.
const EVENTS_WAITING: usize = 1024;

/// Ends the calls that it was given to.
#[pyclass(frozen, module = "transient")]
#[derive(Debug, Clone, Default)]
pub(crate) struct CancelToken(pub(crate) transient_core::CancelToken);

#[pymethods]
impl CancelToken {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    fn cancel(&self) {
        self.0.cancel();
    }

    #[getter]
    fn cancelled(&self) -> bool {
        self.0.is_cancelled()
    }

    fn __repr__(&self) -> &'static str {
        if self.cancelled() { "<CancelToken, cancelled>" } else { "<CancelToken>" }
    }
}

/// Works on a thread of its own, while this one tells Python of events and looks for signals.
///
/// What `on_event` or a signal's handler raises ends the work and comes out of it, when all is cleaned up.
pub(crate) fn call<T: Send + 'static>(
    py: Python<'_>,
    on_event: Option<&Bound<'_, PyAny>>,
    cancel: &transient_core::CancelToken,
    work: impl FnOnce(&mut dyn FnMut(Event)) -> Result<T, Error> + Send + 'static,
) -> PyResult<T> {
    let (sender, mut events) = sync_channel(EVENTS_WAITING);
    let worker = std::thread::Builder::new()
        .name("transient".to_owned())
        // Nobody listens any more when the call is over anyway.
        .spawn(move || work(&mut |event| drop(sender.send(event))))
        .map_err(|error| PyRuntimeError::new_err(format!("cannot start a thread: {error}")))?;
    let mut raised = None;
    loop {
        let told = match receive(py, &mut events) {
            Ok(event) => tell(py, on_event.filter(|_| raised.is_none()), event),
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => break,
        };
        if let Err(error) = told.and_then(|()| py.check_signals())
            && raised.is_none()
        {
            cancel.cancel();
            raised = Some(error);
        }
    }
    let result = py.detach(|| worker.join());
    match (raised, result) {
        (Some(raised), done) => {
            // What nobody gets may take its time to go.
            py.detach(move || drop(done));
            Err(raised)
        }
        (None, Ok(Ok(done))) => Ok(done),
        (None, Ok(Err(error))) => Err(exception(py, &error)),
        (None, Err(_)) => Err(PyRuntimeError::new_err("the work stopped by a fault of the library")),
    }
}

/// Waits for work that cannot be cancelled. What a signal's handler raises comes out at once, and the work goes on.
pub(crate) fn wait_for<T: Send + 'static>(
    py: Python<'_>,
    work: impl FnOnce() -> T + Send + 'static,
) -> PyResult<T> {
    let (sender, mut done) = sync_channel(1);
    std::thread::Builder::new()
        .name("transient".to_owned())
        .spawn(move || drop(sender.send(work())))
        .map_err(|error| PyRuntimeError::new_err(format!("cannot start a thread: {error}")))?;
    loop {
        match receive(py, &mut done) {
            Ok(done) => return Ok(done),
            Err(RecvTimeoutError::Timeout) => py.check_signals()?,
            Err(RecvTimeoutError::Disconnected) => {
                return Err(PyRuntimeError::new_err("the work stopped by a fault of the library"));
            }
        }
    }
}

/// Waits for the next thing, but no longer than signals may.
fn receive<T: Send>(py: Python<'_>, things: &mut Receiver<T>) -> Result<T, RecvTimeoutError> {
    py.detach(move || things.recv_timeout(SIGNALS_EVERY))
}

fn tell(py: Python<'_>, on_event: Option<&Bound<'_, PyAny>>, event: Event) -> PyResult<()> {
    if let Some(on_event) = on_event
        && let Some(event) = event::object(py, event)?
    {
        on_event.call1((event,))?;
    }
    Ok(())
}
