//! The images of a user.

use std::path::PathBuf;
use std::time::Duration;

use pyo3::exceptions::PyUserWarning;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use transient_core::{
    BuildOptions, CopyOptions, ExportOptions, ImageName, ImageSpec, ImportOptions, Locations, PruneOptions,
    SshOptions, SshSession,
};

use crate::call::{CancelToken, call, wait_for};
use crate::downloads::GivenDownloads;
use crate::error::{detached, exception};
use crate::exchange::{self, Age};
use crate::image::{self, Size};
use crate::inspection;
use crate::layer;
use crate::name::image_name;
use crate::options::{self, compression, cpu_count, own_terminal, seconds, seconds_or_none};
use crate::plan;
use crate::run::{self, Given};
use crate::ssh::{self, Asked};
use crate::vm::{self, Vm};

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
    #[pyo3(signature = (
        backend = None, vmstore = None, *, cache = None, appliance = None, running = None, temporary = None,
        ssh_agent = None, ssh_keys = None, downloads = None,
    ))]
    #[expect(clippy::too_many_arguments, reason = "all of them have names in Python")]
    fn new(
        py: Python<'_>,
        backend: Option<PathBuf>,
        vmstore: Option<PathBuf>,
        cache: Option<PathBuf>,
        appliance: Option<PathBuf>,
        running: Option<PathBuf>,
        temporary: Option<PathBuf>,
        ssh_agent: Option<PathBuf>,
        ssh_keys: Option<PathBuf>,
        downloads: Option<GivenDownloads>,
    ) -> PyResult<Self> {
        let mut locations = locations(py, backend, vmstore)?;
        locations.cache = cache.unwrap_or(locations.cache);
        locations.appliance = appliance.or(locations.appliance);
        locations.running = running.unwrap_or(locations.running);
        locations.temporary = temporary.unwrap_or(locations.temporary);
        locations.ssh_agent = ssh_agent.or(locations.ssh_agent);
        locations.ssh_keys = ssh_keys.or(locations.ssh_keys);
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
        options.on_failure = options::on_failure(on_failure)?;
        options.keep_failed = keep_failed.map(|name| image_name(py, name)).transpose()?;
        options.cache_limit = cache_limit.map_or(options.cache_limit, |size| size.0);
        options.vm.memory = memory.map(|size| size.0);
        options.vm.cpus = cpus.map(cpu_count).transpose()?;
        options.vm.accelerator = options::accelerator(accelerator)?;
        options.vm.network = options::network(network)?;
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
        let names = image_names(names)?;
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

    #[pyo3(signature = (image = None, **options))]
    fn run(
        &self,
        py: Python<'_>,
        image: Option<String>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Vm> {
        let given = Given::read(py, "run", image, options)?;
        let store = self.0.clone();
        vm::begin(py, given, move |options, listener, cancel| {
            transient_core::run(&store, options, listener, cancel)
        })
    }

    #[pyo3(signature = (name, **options))]
    fn start(&self, py: Python<'_>, name: &str, options: Option<&Bound<'_, PyDict>>) -> PyResult<Vm> {
        let name = image_name(py, name)?;
        let given = Given::read(py, "start", None, options)?;
        let store = self.0.clone();
        vm::begin(py, given, move |options, listener, cancel| {
            transient_core::start(&store, &name, options, listener, cancel)
        })
    }

    #[pyo3(signature = (image = None, **options))]
    fn create(
        &self,
        py: Python<'_>,
        image: Option<String>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<String> {
        let Given { options, on_event, cancel } = Given::read(py, "create", image, options)?;
        let (store, token) = (self.0.clone(), cancel.clone());
        let work = move |listener: &mut dyn FnMut(_)| {
            transient_core::create(&store, &options.config, listener, &token)
        };
        call(py, on_event.as_ref(), &cancel, work)
    }

    fn vms<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let listing = detached(py, || self.0.vms())?;
        warn(py, &listing.warnings)?;
        listing.vms.iter().map(|info| vm::info(py, info)).collect()
    }

    #[pyo3(signature = (*names, kill = false))]
    fn stop(&self, py: Python<'_>, names: &Bound<'_, PyTuple>, kill: bool) -> PyResult<()> {
        let (store, names) = (self.0.clone(), image_names(names)?);
        wait_for(py, move || store.stop_vms(&names, kill))?.map_err(|error| exception(py, &error))
    }

    #[pyo3(signature = (*names, force = false))]
    fn remove_vms(&self, py: Python<'_>, names: &Bound<'_, PyTuple>, force: bool) -> PyResult<()> {
        let (store, names) = (self.0.clone(), image_names(names)?);
        wait_for(py, move || store.remove_vms(&names, force))?.map_err(|error| exception(py, &error))
    }

    #[pyo3(signature = (
        name, command = None, *, user = None, key = None, program = None, options = Vec::new(),
        ssh_timeout = None, wait = false, input = None, stdin = None, timeout = None, check = false, text = None,
        encoding = None, errors = None, on_event = None, cancel = None,
    ), text_signature = "($self, name, command=None, *, user=None, key=None, program=None, options=(), \
        ssh_timeout=None, wait=False, input=None, stdin=None, timeout=None, check=False, text=None, \
        encoding=None, errors=None, on_event=None, cancel=None)")]
    #[expect(clippy::too_many_arguments, reason = "all of them have names in Python")]
    fn ssh<'py>(
        &self,
        py: Python<'py>,
        name: &str,
        command: Option<Bound<'py, PyAny>>,
        user: Option<String>,
        key: Option<PathBuf>,
        program: Option<PathBuf>,
        options: Vec<String>,
        ssh_timeout: Option<f64>,
        wait: bool,
        input: Option<&Bound<'py, PyAny>>,
        stdin: Option<&Bound<'py, PyAny>>,
        timeout: Option<f64>,
        check: bool,
        text: Option<bool>,
        encoding: Option<String>,
        errors: Option<String>,
        on_event: Option<&Bound<'_, PyAny>>,
        cancel: Option<&CancelToken>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let name = image_name(py, name)?;
        let options = ssh_options(user, key, program, options, ssh_timeout)?;
        let text = ssh::Text::wanted(text, encoding, errors);
        let asked = Asked::new(py, command, input, stdin, timeout, text, check)?;
        let cancel = cancel.map(|token| token.0.clone()).unwrap_or_default();
        let (store, token) = (self.0.clone(), cancel.clone());
        ssh::completed(py, asked, on_event, &cancel, move |command, listener| {
            let session = SshSession::Command(command);
            transient_core::ssh(&store, &name, &options, session, wait, listener, &token)
        })
    }

    #[pyo3(signature = (
        name, command = None, *, user = None, key = None, program = None, options = Vec::new(),
        ssh_timeout = None, wait = false, cancel = None,
    ), text_signature = "($self, name, command=None, *, user=None, key=None, program=None, options=(), \
        ssh_timeout=None, wait=False, cancel=None)")]
    #[expect(clippy::too_many_arguments, reason = "all of them have names in Python")]
    fn ssh_terminal(
        &self,
        py: Python<'_>,
        name: &str,
        command: Option<&Bound<'_, PyAny>>,
        user: Option<String>,
        key: Option<PathBuf>,
        program: Option<PathBuf>,
        options: Vec<String>,
        ssh_timeout: Option<f64>,
        wait: bool,
        cancel: Option<&CancelToken>,
    ) -> PyResult<u32> {
        let name = image_name(py, name)?;
        let options = ssh_options(user, key, program, options, ssh_timeout)?;
        let session = SshSession::Terminal(own_terminal(py)?, ssh::words(command)?);
        let cancel = cancel.map(|token| token.0.clone()).unwrap_or_default();
        let (store, token) = (self.0.clone(), cancel.clone());
        call(py, None, &cancel, move |listener| {
            transient_core::ssh(&store, &name, &options, session, wait, listener, &token)
        })
    }

    #[pyo3(signature = (
        name, *, into = Vec::new(), out = Vec::new(), timeout = None, builder = None, on_event = None, cancel = None,
    ), text_signature = "($self, name, *, into=(), out=(), timeout=None, builder=None, on_event=None, cancel=None)")]
    #[expect(clippy::too_many_arguments, reason = "all of them have names in Python")]
    #[expect(clippy::needless_pass_by_value, reason = "pyo3 hands over what it has converted")]
    fn copy(
        &self,
        py: Python<'_>,
        name: &str,
        into: Vec<Bound<'_, PyAny>>,
        out: Vec<Bound<'_, PyAny>>,
        timeout: Option<f64>,
        builder: Option<&Bound<'_, PyAny>>,
        on_event: Option<&Bound<'_, PyAny>>,
        cancel: Option<&CancelToken>,
    ) -> PyResult<()> {
        let name = image_name(py, name)?;
        let mut options = CopyOptions::default();
        options.into = into.iter().map(run::copy_in).collect::<PyResult<_>>()?;
        options.out = out.iter().map(run::copy_out).collect::<PyResult<_>>()?;
        options.timeout = timeout.map(seconds).transpose()?;
        options.builder = builder.map(run::builder).transpose()?.unwrap_or_default();
        let cancel = cancel.map(|token| token.0.clone()).unwrap_or_default();
        let (store, token) = (self.0.clone(), cancel.clone());
        call(py, on_event, &cancel, move |listener| {
            transient_core::copy(&store, &name, &options, listener, &token)
        })
    }

    #[pyo3(signature = (vm, image, *, compress = "none", on_event = None, cancel = None))]
    fn commit<'py>(
        &self,
        py: Python<'py>,
        vm: &str,
        image: &str,
        compress: &str,
        on_event: Option<&Bound<'_, PyAny>>,
        cancel: Option<&CancelToken>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (vm, image) = (image_name(py, vm)?, image_name(py, image)?);
        let compress = compression(compress)?;
        let cancel = cancel.map(|token| token.0.clone()).unwrap_or_default();
        let (store, token) = (self.0.clone(), cancel.clone());
        let work = move |listener: &mut dyn FnMut(_)| {
            transient_core::commit(&store, &vm, &image, compress, listener, &token)
        };
        image::object(py, &call(py, on_event, &cancel, work)?)
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

fn image_names(names: &Bound<'_, PyTuple>) -> PyResult<Vec<ImageName>> {
    let texts: Vec<String> = names.extract()?;
    texts.iter().map(|name| image_name(names.py(), name)).collect()
}

fn ssh_options(
    user: Option<String>,
    key: Option<PathBuf>,
    program: Option<PathBuf>,
    more: Vec<String>,
    timeout: Option<f64>,
) -> PyResult<SshOptions> {
    let mut options = SshOptions::default();
    options.user = user.unwrap_or(options.user);
    options.key = key;
    options.program = program;
    options.options = more;
    options.timeout = timeout.map(seconds_or_none).transpose()?.unwrap_or(options.timeout);
    Ok(options)
}
