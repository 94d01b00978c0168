//! Names of images, and specs that say where images come from.

use std::ffi::OsString;

use pyo3::prelude::*;
use transient_core::{ImageName, ImageSpec};

use crate::error::exception;

/// Returns the name of an image, checked.
pub(crate) fn image_name(py: Python<'_>, name: &str) -> PyResult<ImageName> {
    ImageName::new(name).map_err(|error| exception(py, &error))
}

/// Returns the name of the image's file in the backend.
#[pyfunction]
pub(crate) fn encode_image_name(py: Python<'_>, name: &str) -> PyResult<String> {
    Ok(image_name(py, name)?.encoded().to_owned())
}

/// Returns the name of the image that is kept in a file of this name.
#[pyfunction]
#[expect(clippy::needless_pass_by_value, reason = "pyo3 hands over what it has converted")]
pub(crate) fn decode_image_name(file_name: OsString) -> Option<String> {
    ImageName::from_encoded(&file_name).map(|name| name.as_str().to_owned())
}

/// Reads an image spec.
#[pyfunction]
pub(crate) fn parse_image_spec<'py>(py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyAny>> {
    let spec: ImageSpec = text.parse().map_err(|error| exception(py, &error))?;
    let Origin { protocol, source, checksum } = origin(&spec);
    let arguments = (spec.name.as_str(), protocol, source, checksum);
    py.import("transient.names")?.getattr("ImageSpec")?.call1(arguments)
}

/// Where a spec says that the image comes from.
pub(crate) struct Origin<'a> {
    pub(crate) protocol: Option<&'static str>,
    pub(crate) source: Option<&'a str>,
    pub(crate) checksum: Option<String>,
}

/// Returns what a spec says about where the image comes from.
pub(crate) fn origin(spec: &ImageSpec) -> Origin<'_> {
    let source = spec.source.as_ref().map(|(protocol, source)| (protocol.name(), source.as_str()));
    let (protocol, source) = source.unzip();
    Origin { protocol, source, checksum: spec.checksum.as_ref().map(ToString::to_string) }
}
