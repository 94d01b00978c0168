//! The Python module of transient, `transient._transient`: a thin layer over `transient-core`.
//!
//! What callers see is documented in `transient/_transient.pyi`; the pure parts (exceptions, events, instructions)
//! are Python.

#![deny(unsafe_code)]

mod appliance;
mod call;
mod command;
mod downloads;
mod error;
mod event;
mod exchange;
mod image;
mod imagefile;
mod inspection;
mod layer;
mod leaving;
mod logging;
mod name;
mod options;
mod plan;
mod run;
mod ssh;
mod store;
mod vm;

use pyo3::prelude::*;

#[pymodule]
mod _transient {
    #[pymodule_export]
    use super::appliance::{Appliance, build_appliance, find_appliance};
    #[pymodule_export]
    use super::call::CancelToken;
    #[pymodule_export]
    use super::command::run_command;
    #[pymodule_export]
    use super::image::{format_bytes, parse_bytes};
    #[pymodule_export]
    use super::imagefile::Imagefile;
    #[pymodule_export]
    use super::name::{decode_image_name, encode_image_name, parse_image_spec};
    #[pymodule_export]
    use super::ssh::SshStream;
    #[pymodule_export]
    use super::store::Store;
    #[pymodule_export]
    use super::vm::Vm;
    use super::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        leaving::at_exit(module)?;
        logging::install(module.py())
    }
}
