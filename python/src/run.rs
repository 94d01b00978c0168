//! How VMs are made and run: the keyword arguments of `run`, `start` and `create`.

use std::path::PathBuf;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use transient_core::{ConfigFile, FileCopy, RunOptions, SharedFolder, VmConfig, VmOptions};

use crate::call::CancelToken;
use crate::error::{detached, exception};
use crate::image::Size;
use crate::name::image_name;
use crate::options::{accelerator, cpu_count, network, seconds, seconds_or_none};

/// What only those take that start a VM.
const OF_A_START: [&str; 5] =
    ["copy_in_before", "copy_out_after", "copy_timeout", "builder", "inherit_stdio"];

/// What keyword arguments say.
pub(crate) struct Given<'py> {
    pub(crate) options: RunOptions,
    pub(crate) on_event: Option<Bound<'py, PyAny>>,
    pub(crate) cancel: transient_core::CancelToken,
}

impl<'py> Given<'py> {
    /// Reads the keyword arguments of a method. They win over those of a configuration file.
    pub(crate) fn read(
        py: Python<'py>,
        method: &str,
        image: Option<String>,
        arguments: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Self> {
        let mut config = VmConfig::default();
        config.image = image.unwrap_or_default();
        let mut given = Self {
            options: RunOptions::new(config),
            on_event: None,
            cancel: transient_core::CancelToken::new(),
        };
        let mut file = None;
        for (key, value) in arguments.into_iter().flatten() {
            let key: String = key.extract()?;
            if !takes(method, &key) {
                return Err(unexpected(method, &key));
            }
            match key.as_str() {
                "config" => {
                    file = value.extract::<Option<PathBuf>>().map_err(|error| named(py, &key, error))?;
                }
                _ => given.set(method, &key, &value).map_err(|error| named(py, &key, error))?,
            }
        }
        if let Some(path) = file {
            let file = detached(py, || ConfigFile::read(&path))?;
            given.options = over(file, given.options);
        }
        if method != "start" && given.options.config.image.is_empty() {
            return Err(PyTypeError::new_err(format!(
                "{method}() needs the name of an image, or a config that has it"
            )));
        }
        Ok(given)
    }

    fn set(&mut self, method: &str, key: &str, value: &Bound<'py, PyAny>) -> PyResult<()> {
        let options = &mut self.options;
        match key {
            "on_event" => self.on_event = value.extract()?,
            "cancel" => {
                let token: Option<PyRef<'_, CancelToken>> = value.extract().map_err(PyErr::from)?;
                self.cancel = token.map(|token| token.0.clone()).unwrap_or_default();
            }
            // The defaults of all others.
            _ if value.is_none() => {}
            "copy_in_before" => options.copy_in_before = copies(value, copy_in)?,
            "copy_out_after" => options.copy_out_after = copies(value, copy_out)?,
            "copy_timeout" => options.copy_timeout = Some(seconds(value.extract()?)?),
            "builder" => options.builder = builder(value)?,
            "inherit_stdio" => options.inherit_stdio = value.extract()?,
            _ if set_up(&mut options.config, key, value)? => {}
            _ => return Err(unexpected(method, key)),
        }
        Ok(())
    }
}

fn takes(method: &str, key: &str) -> bool {
    match method {
        "create" => !OF_A_START.contains(&key),
        "start" => key != "name",
        _ => true,
    }
}

fn unexpected(method: &str, key: &str) -> PyErr {
    PyTypeError::new_err(format!("{method}() got an unexpected keyword argument '{key}'"))
}

/// Says which argument has the wrong type.
fn named(py: Python<'_>, key: &str, error: PyErr) -> PyErr {
    let text = error.value(py).to_string();
    if error.is_instance_of::<PyTypeError>(py) && !text.contains("unexpected keyword") {
        return PyTypeError::new_err(format!("argument '{key}': {text}"));
    }
    error
}

/// Has options win over a file.
fn over(file: ConfigFile, options: RunOptions) -> RunOptions {
    let mut config = file.vm;
    config.merge(options.config);
    let mut all = RunOptions::new(config);
    all.copy_in_before = [file.copy_in_before, options.copy_in_before].concat();
    all.copy_out_after = [file.copy_out_after, options.copy_out_after].concat();
    all.copy_timeout = options.copy_timeout.or(file.copy_timeout);
    all.builder = options.builder;
    all.inherit_stdio = options.inherit_stdio;
    all
}

/// Sets one of the settings of a VM. Returns whether there is such a one.
fn set_up(config: &mut VmConfig, key: &str, value: &Bound<'_, PyAny>) -> PyResult<bool> {
    match key {
        "name" => config.name = Some(image_name(value.py(), &value.extract::<String>()?)?),
        "extra_images" => config.extra_images = texts(value)?,
        "ssh" => config.ssh = value.extract()?,
        "ssh_command" => config.ssh_command = Some(value.extract()?),
        "ssh_with_serial" => config.ssh_with_serial = value.extract()?,
        "ssh_user" => config.ssh_user = Some(value.extract()?),
        "ssh_key" => config.ssh_key = Some(value.extract()?),
        "ssh_program" => config.ssh_program = Some(value.extract()?),
        "ssh_options" => config.ssh_options = texts(value)?,
        "ssh_port" => config.ssh_port = Some(value.extract()?),
        "ssh_net_driver" => config.ssh_net_driver = Some(value.extract()?),
        "ssh_timeout" => config.ssh_timeout = Some(seconds(value.extract()?)?),
        "shared_folders" => {
            let folders = value.try_iter()?.map(|folder| shared_folder(&folder?));
            config.shared_folders = folders.collect::<PyResult<_>>()?;
        }
        "no_virtio_scsi" => config.no_virtio_scsi = value.extract()?,
        "memory" => config.memory = Some(value.extract::<Size>()?.0),
        "cpus" => config.cpus = Some(cpu_count(value.extract()?)?),
        "shutdown_timeout" => config.shutdown_timeout = Some(seconds_or_none(value.extract()?)?),
        "qmp_timeout" => config.qmp_timeout = Some(seconds(value.extract()?)?),
        "qemu" => config.qemu = Some(value.extract()?),
        "qemu_args" => config.qemu_args = texts(value)?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// Reads a list of texts, which a text alone is not.
fn texts(value: &Bound<'_, PyAny>) -> PyResult<Vec<String>> {
    if value.is_instance_of::<PyString>() {
        return Err(PyTypeError::new_err("expected a list of texts, not a text"));
    }
    value.try_iter()?.map(|text| text?.extract()).collect()
}

/// Reads `transient.options.SharedFolder`, or its text form.
fn shared_folder(value: &Bound<'_, PyAny>) -> PyResult<SharedFolder> {
    if let Ok(text) = value.extract::<String>() {
        return text.parse().map_err(|error| exception(value.py(), &error));
    }
    Ok(SharedFolder {
        host: value.getattr("host")?.extract()?,
        guest: value.getattr("guest")?.extract()?,
        read_only: value.getattr("read_only")?.extract()?,
    })
}

fn copies(
    value: &Bound<'_, PyAny>,
    copy: impl Fn(&Bound<'_, PyAny>) -> PyResult<FileCopy>,
) -> PyResult<Vec<FileCopy>> {
    if value.is_instance_of::<PyString>() {
        return Err(PyTypeError::new_err("expected a list of copies, not a text"));
    }
    value.try_iter()?.map(|item| copy(&item?)).collect()
}

/// Reads a copy into a VM: a pair of paths, or its text form.
pub(crate) fn copy_in(value: &Bound<'_, PyAny>) -> PyResult<FileCopy> {
    copy(value, FileCopy::into_vm)
}

/// Reads a copy out of a VM: a pair of paths, or its text form.
pub(crate) fn copy_out(value: &Bound<'_, PyAny>) -> PyResult<FileCopy> {
    copy(value, FileCopy::out_of_vm)
}

fn copy(
    value: &Bound<'_, PyAny>,
    parse: impl Fn(&str) -> Result<FileCopy, transient_core::Error>,
) -> PyResult<FileCopy> {
    if let Ok(text) = value.extract::<String>() {
        return parse(&text).map_err(|error| exception(value.py(), &error));
    }
    let (source, destination): (PathBuf, PathBuf) = value.extract()?;
    Ok(FileCopy { source, destination })
}

/// Reads `transient.options.BuilderOptions`.
pub(crate) fn builder(value: &Bound<'_, PyAny>) -> PyResult<VmOptions> {
    let mut options = VmOptions::default();
    for (key, value) in value.cast::<PyDict>()? {
        let key: String = key.extract()?;
        match key.as_str() {
            _ if value.is_none() => {}
            "memory" => options.memory = Some(value.extract::<Size>()?.0),
            "cpus" => options.cpus = Some(cpu_count(value.extract()?)?),
            "accelerator" => options.accelerator = accelerator(&value.extract::<String>()?)?,
            "network" => options.network = network(&value.extract::<String>()?)?,
            "warm_start" => options.warm_start = value.extract()?,
            "qemu" => options.qemu = value.extract()?,
            "qmp_timeout" => options.qmp_timeout = Some(seconds(value.extract()?)?),
            "ssh_timeout" => options.ssh_timeout = Some(seconds(value.extract()?)?),
            _ => return Err(PyValueError::new_err(format!("a builder VM has no option '{key}'"))),
        }
    }
    Ok(options)
}
