//! The command line, for `transient.__main__`.

use std::ffi::OsString;

use pyo3::prelude::*;

use crate::store::packaged_appliance;

/// Runs the command line and returns its exit status. Only for the main function of a process.
#[pyfunction]
pub(crate) fn run_command(py: Python<'_>, arguments: Vec<OsString>) -> PyResult<u8> {
    let appliance = packaged_appliance(py)?;
    Ok(py.detach(|| transient_cli::run(arguments, vec![appliance])))
}
