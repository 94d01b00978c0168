//! What the builder VM boots.

use std::path::PathBuf;

use pyo3::prelude::*;
use transient_core::appliance::{self, BootProtocol, Inputs};

use crate::error::detached;
use crate::store::locations;

/// An appliance on disk.
#[pyclass(frozen, get_all, module = "transient.appliance")]
#[derive(Debug)]
pub(crate) struct Appliance {
    folder: PathBuf,
    kernel: PathBuf,
    initramfs: PathBuf,
    key: String,
    guest: String,
    kernel_release: String,
    boot: &'static str,
    is_current: bool,
    absent: Vec<String>,
    files: Vec<(PathBuf, u64, Option<PathBuf>)>,
}

#[pymethods]
impl Appliance {
    #[staticmethod]
    fn open(py: Python<'_>, folder: PathBuf) -> PyResult<Self> {
        detached(py, || appliance::Appliance::open(folder)).map(Self::from)
    }

    fn __repr__(&self) -> String {
        format!("<Appliance {:?}, kernel {}>", self.folder, self.kernel_release)
    }
}

impl From<appliance::Appliance> for Appliance {
    fn from(appliance: appliance::Appliance) -> Self {
        let is_current = appliance.is_current();
        let description = appliance.description;
        Self {
            folder: appliance.folder,
            kernel: appliance.kernel,
            initramfs: appliance.initramfs,
            key: description.key,
            guest: description.guest,
            kernel_release: description.kernel_release,
            boot: match description.boot {
                BootProtocol::Pvh => "pvh",
                BootProtocol::Linux => "linux",
            },
            is_current,
            absent: description.absent,
            files: description.files.into_iter().map(|file| (file.path, file.size, file.origin)).collect(),
        }
    }
}

/// Returns the appliance that builds use.
#[pyfunction]
pub(crate) fn find_appliance(py: Python<'_>) -> PyResult<Appliance> {
    let locations = locations(py, None, None)?;
    detached(py, || appliance::find(&locations)).map(Appliance::from)
}

/// Assembles an appliance into a folder.
#[pyfunction]
#[pyo3(signature = (output, *, kernel = None, modules = None))]
#[expect(clippy::needless_pass_by_value, reason = "pyo3 hands over what it has converted")]
pub(crate) fn build_appliance(
    py: Python<'_>,
    output: PathBuf,
    kernel: Option<PathBuf>,
    modules: Option<PathBuf>,
) -> PyResult<Appliance> {
    let mut inputs = Inputs::default();
    inputs.kernel = kernel;
    inputs.modules = modules;
    detached(py, || appliance::build(&inputs, &output)).map(Appliance::from)
}
