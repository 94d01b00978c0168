//! The Python module of transient, `transient._transient`: a thin layer over `transient-core`.
//!
//! What callers see is documented in `transient/_transient.pyi`; the pure parts (exceptions, events, instructions)
//! are Python.

#![deny(unsafe_code)]

mod appliance;
mod build;
mod error;
mod event;
mod image;
mod imagefile;
mod store;

use pyo3::prelude::*;

#[pymodule]
mod _transient {
    #[pymodule_export]
    use super::appliance::{Appliance, build_appliance, find_appliance};
    #[pymodule_export]
    use super::build::CancelToken;
    #[pymodule_export]
    use super::image::{Image, format_bytes, parse_bytes};
    #[pymodule_export]
    use super::imagefile::Imagefile;
    #[pymodule_export]
    use super::store::Store;
    use super::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        // Where a program has set up another receiver of records, that stays.
        let _ = pyo3_log::try_init();
        Ok(())
    }
}
