//! Images, as the objects of `transient.image`, and sizes as people write them.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use transient_core::Image;

use crate::error::exception;

/// Returns the Python object of an image.
pub(crate) fn object<'py>(py: Python<'py>, image: &Image) -> PyResult<Bound<'py, PyAny>> {
    let class = py.import("transient.image")?.getattr("Image")?;
    class.call1((&image.name, &image.path, image.virtual_size, image.real_size))
}

/// Returns a size for people, in binary units with two decimals.
#[pyfunction]
pub(crate) fn format_bytes(size: u64) -> String {
    transient_core::image::format_bytes(size)
}

/// Reads a size: bytes, or a whole number with a unit.
#[pyfunction]
pub(crate) fn parse_bytes(py: Python<'_>, text: &str) -> PyResult<u64> {
    transient_core::image::parse_bytes(text).map_err(|error| exception(py, &error))
}

/// A size as options take it: an `int` of bytes, or a text.
#[derive(Debug)]
pub(crate) struct Size(pub(crate) u64);

impl<'py> FromPyObject<'_, 'py> for Size {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(bytes) = object.extract::<u64>() {
            return Ok(Self(bytes));
        }
        let text: String =
            object.extract().map_err(|_| PyTypeError::new_err("a size is a number of bytes, or a text"))?;
        parse_bytes(object.py(), &text).map(Self)
    }
}
