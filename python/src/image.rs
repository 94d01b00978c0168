//! Images, and sizes as people write them.

use std::ffi::OsStr;
use std::path::PathBuf;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

use crate::error::exception;

/// An image of a store.
#[pyclass(frozen, eq, hash, get_all, module = "transient")]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Image {
    name: String,
    path: PathBuf,
    virtual_size: u64,
    real_size: u64,
}

#[pymethods]
impl Image {
    fn __fspath__(&self) -> &OsStr {
        self.path.as_os_str()
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let path = self.path.as_os_str().into_pyobject(py)?.repr()?;
        let name = self.name.as_str().into_pyobject(py)?.repr()?;
        let size = transient_core::image::format_bytes(self.virtual_size);
        Ok(format!("<Image {name} at {path}, {size}>"))
    }
}

impl From<transient_core::Image> for Image {
    fn from(image: transient_core::Image) -> Self {
        let transient_core::Image { name, path, virtual_size, real_size, .. } = image;
        Self { name, path, virtual_size, real_size }
    }
}

/// Returns a size for people, in binary units with two decimals.
#[pyfunction]
pub(crate) fn format_bytes(bytes: u64) -> String {
    transient_core::image::format_bytes(bytes)
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
