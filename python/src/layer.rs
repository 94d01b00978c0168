//! The layers that builds keep for the next ones.

use pyo3::prelude::*;
use transient_core::CachedLayer;

/// Returns the Python object of a layer.
pub(crate) fn object<'py>(py: Python<'py>, layer: &CachedLayer) -> PyResult<Bound<'py, PyAny>> {
    let class = py.import("transient.image")?.getattr("CachedLayer")?;
    class.call1((&layer.key, &layer.parent, &layer.instruction, layer.size, &layer.used))
}
