//! The images of a user.

use std::io::{stdin, stdout};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

use pyo3::exceptions::{PyUserWarning, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use transient_core::{
    Accelerator, BuildOptions, CompressionType, ExportOptions, ImageName, ImageSpec, ImportOptions,
    Locations, Network, OnFailure, PruneOptions, Terminal,
};

use crate::call::{CancelToken, call};
use crate::downloads::GivenDownloads;
use crate::error::{detached, exception};
use crate::exchange::{self, Age};
use crate::image::{self, Size};
use crate::inspection;
use crate::layer;
use crate::name::image_name;
use crate::plan;

/// The images of a user, and the VMs that use them.
#[pyclass(frozen, module = "transient")]
#[derive(Debug)]
pub(crate) struct Store(transient_core::Store);

/// Returns the locations of the environment; the appliance of this package is looked at first.
pub(crate) fn locations(
    py: Python<'_>,
    backend: Option<PathBuf>,
    vmstore: Option<PathBuf>,
) -> PyResult<Locations> {
    let mut locations = Locations::from_env_with(backend, vmstore).map_err(|error| exception(py, &error))?;
    locations.appliances.insert(0, packaged_appliance(py)?);
    Ok(locations)
}

/// Returns the folder of the appliance that the package carries.
pub(crate) fn packaged_appliance(py: Python<'_>) -> PyResult<PathBuf> {
    let module: PathBuf = py.import("transient")?.getattr("__file__")?.extract()?;
    Ok(module.with_file_name("appliance"))
}

#[pymethods]
impl Store {
    #[new]
    #[pyo3(signature = (backend = None, vmstore = None, *, cache = None, appliance = None, downloads = None))]
    fn new(
        py: Python<'_>,
        backend: Option<PathBuf>,
        vmstore: Option<PathBuf>,
        cache: Option<PathBuf>,
        appliance: Option<PathBuf>,
        downloads: Option<GivenDownloads>,
    ) -> PyResult<Self> {
        let mut locations = locations(py, backend, vmstore)?;
        locations.cache = cache.unwrap_or(locations.cache);
        locations.appliance = appliance.or(locations.appliance);
        locations.downloads = downloads.map_or(locations.downloads, Into::into);
        Ok(Self(transient_core::Store::new(locations)))
    }

    #[staticmethod]
    #[pyo3(signature = (folder, *, downloads = None))]
    fn below(py: Python<'_>, folder: PathBuf, downloads: Option<GivenDownloads>) -> PyResult<Self> {
        let mut locations = Locations::below(folder);
        locations.downloads = downloads.map_or(locations.downloads, Into::into);
        locations.appliances.push(packaged_appliance(py)?);
        Ok(Self(transient_core::Store::new(locations)))
    }

    #[getter]
    fn backend(&self) -> PathBuf {
        self.0.locations().backend.clone()
    }

    #[getter]
    fn vmstore(&self) -> PathBuf {
        self.0.locations().vmstore.clone()
    }

    #[getter]
    fn cache(&self) -> PathBuf {
        self.0.locations().cache.clone()
    }

    #[pyo3(signature = (
        directory, *, name, file = None, local = false, compress = "none", no_cache = false, no_cache_from = None,
        explain = false, on_failure = "stop", keep_failed = None, cache_limit = None, memory = None, cpus = None,
        accelerator = "auto",
        network = "user", warm_start = true, qemu = None, qmp_timeout = None, ssh_timeout = None, terminal = false, on_event = None,
        cancel = None,
    ))]
    #[expect(clippy::too_many_arguments, reason = "all of them have names in Python")]
    fn build<'py>(
        &self,
        py: Python<'py>,
        directory: PathBuf,
        name: &str,
        file: Option<PathBuf>,
        local: bool,
        compress: &str,
        no_cache: bool,
        no_cache_from: Option<usize>,
        explain: bool,
        on_failure: &str,
        keep_failed: Option<&str>,
        cache_limit: Option<Size>,
        memory: Option<Size>,
        cpus: Option<u32>,
        accelerator: &str,
        network: &str,
        warm_start: bool,
        qemu: Option<PathBuf>,
        qmp_timeout: Option<f64>,
        ssh_timeout: Option<f64>,
        terminal: bool,
        on_event: Option<&Bound<'_, PyAny>>,
        cancel: Option<&CancelToken>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let mut options = BuildOptions::new(directory, image_name(py, name)?);
        options.file = file;
        options.local = local;
        options.compress = compression(compress)?;
        options.no_cache_from = if no_cache { Some(1) } else { no_cache_from };
        options.explain = explain;
        options.on_failure = self::on_failure(on_failure)?;
        options.keep_failed = keep_failed.map(|name| image_name(py, name)).transpose()?;
        options.cache_limit = cache_limit.map_or(options.cache_limit, |size| size.0);
        options.vm.memory = memory.map(|size| size.0);
        options.vm.cpus = cpus.map(cpu_count).transpose()?;
        options.vm.accelerator = self::accelerator(accelerator)?;
        options.vm.network = self::network(network)?;
        options.vm.warm_start = warm_start;
        options.vm.qemu = qemu.unwrap_or(options.vm.qemu);
        options.vm.qmp_timeout = qmp_timeout.map(seconds).transpose()?;
        options.vm.ssh_timeout = ssh_timeout.map(seconds).transpose()?;
        options.terminal = if terminal { Some(own_terminal(py)?) } else { None };
        // A token of this call's own where none is given; else the given one, which an interrupt cancels too.
        let cancel = cancel.map(|token| token.0.clone()).unwrap_or_default();
        let (store, token) = (self.0.clone(), cancel.clone());
        let work =
            move |listener: &mut dyn FnMut(_)| transient_core::build(&store, &options, listener, &token);
        image::object(py, &call(py, on_event, &cancel, work)?)
    }

    #[pyo3(signature = (*specs, on_event = None, cancel = None))]
    fn pull<'py>(
        &self,
        py: Python<'py>,
        specs: &Bound<'_, PyTuple>,
        on_event: Option<&Bound<'_, PyAny>>,
        cancel: Option<&CancelToken>,
    ) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let specs: Vec<String> = specs.extract()?;
        let specs: Vec<ImageSpec> = specs
            .iter()
            .map(|spec| spec.parse().map_err(|error| exception(py, &error)))
            .collect::<PyResult<_>>()?;
        let cancel = cancel.map(|token| token.0.clone()).unwrap_or_default();
        let (store, token) = (self.0.clone(), cancel.clone());
        let work = move |listener: &mut dyn FnMut(_)| transient_core::pull(&store, &specs, listener, &token);
        call(py, on_event, &cancel, work)?.iter().map(|image| image::object(py, image)).collect()
    }

    fn images<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let listing = detached(py, || self.0.images())?;
        warn(py, &listing.warnings)?;
        listing.images.iter().map(|image| image::object(py, image)).collect()
    }

    fn image<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
        let name = image_name(py, name)?;
        detached(py, || self.0.image(&name))?.map(|image| image::object(py, &image)).transpose()
    }

    fn inspect<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        let name = image_name(py, name)?;
        let inspection = detached(py, || self.0.inspect(&name))?;
        warn(py, &inspection.warnings)?;
        inspection::object(py, &inspection)
    }

    #[pyo3(signature = (name, *, cancel = None))]
    fn check<'py>(
        &self,
        py: Python<'py>,
        name: &str,
        cancel: Option<&CancelToken>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let name = image_name(py, name)?;
        let cancel = cancel.map(|token| token.0.clone()).unwrap_or_default();
        let (store, token) = (self.0.clone(), cancel.clone());
        let work = move |_: &mut dyn FnMut(_)| store.check(&name, &token);
        inspection::check(py, &call(py, None, &cancel, work)?)
    }

    #[pyo3(signature = (directory, *, file = None))]
    #[expect(clippy::needless_pass_by_value, reason = "pyo3 hands over what it has converted")]
    fn check_imagefile<'py>(
        &self,
        py: Python<'py>,
        directory: PathBuf,
        file: Option<PathBuf>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let plan = detached(py, || transient_core::check(&self.0, &directory, file.as_deref()))?;
        plan::object(py, &plan)
    }

    fn layers<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let layers = py.detach(|| self.0.layers());
        layers.iter().map(|cached| layer::object(py, cached)).collect()
    }

    #[expect(clippy::needless_pass_by_value, reason = "pyo3 hands over what it has converted")]
    fn prune_layers(&self, py: Python<'_>, limit: Size) -> u64 {
        py.detach(|| self.0.prune_layers(limit.0))
    }

    #[pyo3(signature = (*keys))]
    fn remove_layers(&self, py: Python<'_>, keys: &Bound<'_, PyTuple>) -> PyResult<()> {
        let keys: Vec<String> = keys.extract()?;
        detached(py, || self.0.remove_layers(&keys))
    }

    fn vms_using(&self, py: Python<'_>, name: &str) -> PyResult<Vec<String>> {
        let name = image_name(py, name)?;
        detached(py, || self.0.vms_using(&name))
    }

    #[pyo3(signature = (*names, force = false))]
    fn remove(&self, py: Python<'_>, names: &Bound<'_, PyTuple>, force: bool) -> PyResult<()> {
        let names: Vec<String> = names.extract()?;
        let names: Vec<ImageName> = names.iter().map(|name| image_name(py, name)).collect::<PyResult<_>>()?;
        let warnings = detached(py, || self.0.remove(&names, force))?;
        warn(py, &warnings)
    }

    #[pyo3(signature = (source, name, *, replace = false, on_event = None, cancel = None))]
    fn tag<'py>(
        &self,
        py: Python<'py>,
        source: &str,
        name: &str,
        replace: bool,
        on_event: Option<&Bound<'_, PyAny>>,
        cancel: Option<&CancelToken>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (source, name) = (image_name(py, source)?, image_name(py, name)?);
        let cancel = cancel.map(|token| token.0.clone()).unwrap_or_default();
        let (store, token) = (self.0.clone(), cancel.clone());
        let work = move |listener: &mut dyn FnMut(_)| {
            transient_core::tag(&store, &source, &name, replace, listener, &token)
        };
        image::object(py, &call(py, on_event, &cancel, work)?)
    }

    #[pyo3(signature = (*, all = false, older_than = None, dry_run = false))]
    fn prune<'py>(
        &self,
        py: Python<'py>,
        all: bool,
        older_than: Option<Age>,
        dry_run: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let mut options = PruneOptions::default();
        (options.all, options.dry_run) = (all, dry_run);
        options.older_than = older_than.map(Duration::try_from).transpose()?;
        let pruned = detached(py, || self.0.prune(&options))?;
        warn(py, &pruned.warnings)?;
        exchange::pruned(py, &pruned)
    }

    #[pyo3(signature = (
        path, name = None, *, sha256 = None, replace = false, on_event = None, cancel = None,
    ))]
    #[expect(clippy::too_many_arguments, reason = "all of them have names in Python")]
    fn import_image<'py>(
        &self,
        py: Python<'py>,
        path: PathBuf,
        name: Option<&str>,
        sha256: Option<&str>,
        replace: bool,
        on_event: Option<&Bound<'_, PyAny>>,
        cancel: Option<&CancelToken>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let name = match name {
            Some(name) => image_name(py, name)?,
            None => ImageName::of_file(&path).map_err(|error| exception(py, &error))?,
        };
        let mut options = ImportOptions::new(path, name);
        options.checksum = sha256.map(|digest| exchange::checksum(py, digest)).transpose()?;
        options.replace = replace;
        let cancel = cancel.map(|token| token.0.clone()).unwrap_or_default();
        let (store, token) = (self.0.clone(), cancel.clone());
        let work =
            move |listener: &mut dyn FnMut(_)| transient_core::import(&store, &options, listener, &token);
        image::object(py, &call(py, on_event, &cancel, work)?)
    }

    #[pyo3(signature = (
        name, path, *, format = None, compress = false, replace = false, on_event = None, cancel = None,
    ))]
    #[expect(clippy::too_many_arguments, reason = "all of them have names in Python")]
    fn export_image(
        &self,
        py: Python<'_>,
        name: &str,
        path: PathBuf,
        format: Option<&str>,
        compress: bool,
        replace: bool,
        on_event: Option<&Bound<'_, PyAny>>,
        cancel: Option<&CancelToken>,
    ) -> PyResult<()> {
        let mut options = ExportOptions::new(image_name(py, name)?, path);
        options.format = format.map(exchange::export_format).transpose()?;
        options.compress = compress;
        options.replace = replace;
        let cancel = cancel.map(|token| token.0.clone()).unwrap_or_default();
        let (store, token) = (self.0.clone(), cancel.clone());
        let work =
            move |listener: &mut dyn FnMut(_)| transient_core::export(&store, &options, listener, &token);
        call(py, on_event, &cancel, work)
    }

    fn __repr__(&self) -> String {
        format!("Store(backend={:?}, vmstore={:?})", self.0.locations().backend, self.0.locations().vmstore)
    }
}

fn warn(py: Python<'_>, warnings: &[String]) -> PyResult<()> {
    let category = py.get_type::<PyUserWarning>();
    let warnings_module = py.import("warnings")?;
    for warning in warnings {
        warnings_module.call_method1("warn", (warning, &category))?;
    }
    Ok(())
}

fn cpu_count(cpus: u32) -> PyResult<u32> {
    match cpus {
        1..=255 => Ok(cpus),
        _ => Err(PyValueError::new_err(format!("cpus must be from 1 to 255, not {cpus}"))),
    }
}

fn compression(name: &str) -> PyResult<Option<CompressionType>> {
    match name {
        "none" => Ok(None),
        "zlib" => Ok(Some(CompressionType::Zlib)),
        "zstd" => Ok(Some(CompressionType::Zstd)),
        _ => Err(PyValueError::new_err(format!("compress must be 'none', 'zlib' or 'zstd', not {name:?}"))),
    }
}

fn accelerator(name: &str) -> PyResult<Accelerator> {
    match name {
        "auto" => Ok(Accelerator::Auto),
        "kvm" => Ok(Accelerator::Kvm),
        "tcg" => Ok(Accelerator::Tcg),
        _ => Err(PyValueError::new_err(format!("accelerator must be 'auto', 'kvm' or 'tcg', not {name:?}"))),
    }
}

fn on_failure(name: &str) -> PyResult<OnFailure> {
    match name {
        "stop" => Ok(OnFailure::Stop),
        "shell" => Ok(OnFailure::Shell),
        _ => Err(PyValueError::new_err(format!("on_failure must be 'stop' or 'shell', not {name:?}"))),
    }
}

fn network(name: &str) -> PyResult<Network> {
    match name {
        "user" => Ok(Network::User),
        "none" => Ok(Network::None),
        _ => Err(PyValueError::new_err(format!("network must be 'user' or 'none', not {name:?}"))),
    }
}

fn seconds(seconds: f64) -> PyResult<Duration> {
    let duration = Duration::try_from_secs_f64(seconds).ok().filter(|duration| !duration.is_zero());
    duration.ok_or_else(|| {
        PyValueError::new_err(format!("a timeout is a number of seconds above 0, not {seconds}"))
    })
}

/// The terminal of this process, for a shell.
fn own_terminal(py: Python<'_>) -> PyResult<Terminal> {
    let term = py.import("os")?.getattr("environ")?.call_method1("get", ("TERM", "vt100"))?.extract()?;
    Ok(Terminal {
        input: stdin().as_fd().try_clone_to_owned()?,
        output: stdout().as_fd().try_clone_to_owned()?,
        term,
    })
}
