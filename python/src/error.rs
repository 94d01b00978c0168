//! Errors become the exceptions of `transient.errors`.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use transient_core::Error;

/// Returns the exception of an error.
pub(crate) fn exception(py: Python<'_>, error: &Error) -> PyErr {
    make(py, error).unwrap_or_else(|failure| failure)
}

fn make(py: Python<'_>, error: &Error) -> PyResult<PyErr> {
    let fields = serde_json::to_string(error).map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
    let make = py.import("transient.errors")?.getattr("_from_core")?;
    Ok(PyErr::from_value(make.call1((error.report(), error.report_colored(), fields))?))
}

/// Runs what may take long without holding up Python's other threads; errors become exceptions.
pub(crate) fn detached<T: Send>(
    py: Python<'_>,
    body: impl FnOnce() -> Result<T, Error> + Send,
) -> PyResult<T> {
    py.detach(body).map_err(|error| exception(py, &error))
}
