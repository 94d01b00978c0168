//! What `tag`, `prune`, `import_image` and `export_image` take and give.

use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use transient_core::image::Checksum;
use transient_core::{ExportFormat, Pruned};

use crate::error::exception;
use crate::image;

/// An age: a number of seconds, or a `timedelta`.
#[derive(Debug, FromPyObject)]
pub(crate) enum Age {
    Seconds(f64),
    Span(Duration),
}

impl TryFrom<Age> for Duration {
    type Error = PyErr;

    fn try_from(age: Age) -> PyResult<Self> {
        match age {
            Age::Span(span) => Ok(span),
            Age::Seconds(seconds) => Self::try_from_secs_f64(seconds)
                .map_err(|error| PyValueError::new_err(format!("{seconds} seconds are no age: {error}"))),
        }
    }
}

/// Returns the Python object of what was pruned.
pub(crate) fn pruned<'py>(py: Python<'py>, pruned: &Pruned) -> PyResult<Bound<'py, PyAny>> {
    let images: PyResult<Vec<_>> = pruned.images.iter().map(|image| image::object(py, image)).collect();
    let class = py.import("transient.image")?.getattr("Pruned")?;
    class.call1((images?, &pruned.leftovers, pruned.freed))
}

pub(crate) fn checksum(py: Python<'_>, sha256: &str) -> PyResult<Checksum> {
    Checksum::sha256(sha256).map_err(|error| exception(py, &error))
}

pub(crate) fn export_format(name: &str) -> PyResult<ExportFormat> {
    let found = ExportFormat::ALL.into_iter().find(|format| format.name() == name);
    found.ok_or_else(|| {
        let known: Vec<String> =
            ExportFormat::ALL.iter().map(|format| format!("'{}'", format.name())).collect();
        PyValueError::new_err(format!("format must be one of {}, not {name:?}", known.join(", ")))
    })
}
