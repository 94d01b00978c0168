//! VMs in the hands of a program, and what is told of VMs.

use std::path::PathBuf;
use std::process;
use std::sync::{Arc, Mutex};

use pyo3::exceptions::{PyResourceWarning, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use transient_core::{CancelToken as Cancel, Error, Event, RunOptions, RunningVm, VmInfo};

use crate::call::{CancelToken, call, wait_for};
use crate::error::exception;
use crate::leaving;
use crate::options::{own_terminal, seconds_or_none};
use crate::run::Given;
use crate::ssh::{self, Asked, SshStream, Text, Transcript, lock};

/// A VM that runs.
#[pyclass(frozen, weakref, module = "transient")]
pub(crate) struct Vm {
    /// There until this is dropped, when it goes where its end holds nobody up.
    vm: Option<Arc<transient_core::Vm>>,
    /// The process that started it: a forked one has a copy of this, and no business with the VM.
    process: u32,
    /// What the command said that was started last.
    transcript: Mutex<Arc<Mutex<Transcript>>>,
}

/// A VM that nobody may get, because an interrupt came first.
struct Fresh(Option<transient_core::Vm>);

impl Drop for Fresh {
    fn drop(&mut self) {
        if let Some(vm) = self.0.take() {
            let _ = vm.stop(true, &mut |_| {}, &Cancel::new());
        }
    }
}

/// Starts a VM.
pub(crate) fn begin(
    py: Python<'_>,
    given: Given<'_>,
    start: impl FnOnce(&RunOptions, &mut dyn FnMut(Event), &Cancel) -> Result<transient_core::Vm, Error>
    + Send
    + 'static,
) -> PyResult<Vm> {
    let Given { options, on_event, cancel } = given;
    let token = cancel.clone();
    let mut fresh = call(py, on_event.as_ref(), &cancel, move |listener| {
        start(&options, listener, &token).map(|vm| Fresh(Some(vm)))
    })?;
    let vm = fresh.0.take().map(Arc::new).ok_or_else(|| PyRuntimeError::new_err("there is no VM"))?;
    leaving::own(&vm);
    Ok(Vm { vm: Some(vm), process: process::id(), transcript: Mutex::default() })
}

impl Vm {
    fn vm(&self) -> &Arc<transient_core::Vm> {
        self.vm.as_ref().expect("it has a VM until it is dropped")
    }

    fn is_ours(&self) -> bool {
        self.process == process::id()
    }

    /// Returns the VM, unless this process is another one's fork.
    fn ours(&self) -> PyResult<Arc<transient_core::Vm>> {
        if self.is_ours() {
            return Ok(Arc::clone(self.vm()));
        }
        Err(PyRuntimeError::new_err(format!(
            "the VM '{}' belongs to the process {}, of which this one is a fork",
            self.vm().name(),
            self.process
        )))
    }

    fn note(&self, asked: &Asked<'_>) {
        *lock(&self.transcript) = Arc::clone(&asked.transcript);
    }
}

fn token(cancel: Option<&CancelToken>) -> Cancel {
    cancel.map(|token| token.0.clone()).unwrap_or_default()
}

#[pymethods]
impl Vm {
    #[getter]
    fn name(&self) -> &str {
        self.vm().name()
    }

    #[getter]
    fn image(&self) -> &str {
        self.vm().image()
    }

    #[getter]
    fn pid(&self) -> u32 {
        self.vm().qemu_pid()
    }

    #[getter]
    fn ssh_port(&self) -> Option<u16> {
        self.vm().ssh_port()
    }

    #[getter]
    fn running(&self) -> bool {
        self.is_ours() && self.vm().is_running()
    }

    #[getter]
    fn serial<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &py.detach(|| self.vm().serial()))
    }

    /// For the pytest plugin.
    #[getter]
    fn _last_command(&self, py: Python<'_>) -> (Option<String>, Option<u32>, Py<PyBytes>) {
        let transcript = Arc::clone(&lock(&self.transcript));
        let transcript = lock(&transcript);
        (transcript.command.clone(), transcript.status, PyBytes::new(py, &transcript.end).unbind())
    }

    #[pyo3(signature = (
        command = None, *, input = None, stdin = None, timeout = None, check = false, text = None,
        encoding = None, errors = None, on_event = None, cancel = None,
    ))]
    #[expect(clippy::too_many_arguments, reason = "all of them have names in Python")]
    fn ssh<'py>(
        &self,
        py: Python<'py>,
        command: Option<Bound<'py, PyAny>>,
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
        let vm = self.ours()?;
        let text = Text::wanted(text, encoding, errors);
        let asked = Asked::new(py, command, input, stdin, timeout, text, check)?;
        self.note(&asked);
        let cancel = token(cancel);
        let limit = cancel.clone();
        ssh::completed(py, asked, on_event, &cancel, move |command, listener| {
            vm.ssh(command, listener, &limit)
        })
    }

    #[pyo3(signature = (
        command = None, *, input = None, stdin = None, timeout = None, check = false, cancel = None,
    ))]
    #[expect(clippy::too_many_arguments, reason = "all of them have names in Python")]
    fn ssh_stream<'py>(
        &self,
        py: Python<'py>,
        command: Option<Bound<'py, PyAny>>,
        input: Option<&Bound<'py, PyAny>>,
        stdin: Option<&Bound<'py, PyAny>>,
        timeout: Option<f64>,
        check: bool,
        cancel: Option<&CancelToken>,
    ) -> PyResult<SshStream> {
        let vm = self.ours()?;
        let asked = Asked::new(py, command, input, stdin, timeout, None, check)?;
        self.note(&asked);
        let cancel = token(cancel);
        let limit = cancel.clone();
        SshStream::start(asked, cancel, move |command, listener| vm.ssh(command, listener, &limit))
    }

    #[pyo3(signature = (command = None, *, on_event = None, cancel = None))]
    fn ssh_terminal(
        &self,
        py: Python<'_>,
        command: Option<&Bound<'_, PyAny>>,
        on_event: Option<&Bound<'_, PyAny>>,
        cancel: Option<&CancelToken>,
    ) -> PyResult<u32> {
        let (vm, terminal, command) = (self.ours()?, own_terminal(py)?, ssh::words(command)?);
        let cancel = token(cancel);
        let limit = cancel.clone();
        call(py, on_event, &cancel, move |listener| vm.ssh_terminal(terminal, command, listener, &limit))
    }

    #[pyo3(signature = (*, cancel = None))]
    fn console(&self, py: Python<'_>, cancel: Option<&CancelToken>) -> PyResult<()> {
        let (vm, terminal) = (self.ours()?, own_terminal(py)?);
        let cancel = token(cancel);
        let limit = cancel.clone();
        call(py, None, &cancel, move |_| vm.console(terminal, &limit))
    }

    #[pyo3(signature = (command, /, **arguments))]
    fn qmp<'py>(
        &self,
        py: Python<'py>,
        command: &Bound<'py, PyAny>,
        arguments: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let vm = self.ours()?;
        let json = py.import("json")?;
        let command: String = json.call_method1("dumps", (qmp_command(command, arguments)?,))?.extract()?;
        let command =
            serde_json::from_str(&command).map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
        let answer = wait_for(py, move || vm.qmp(&command))?.map_err(|error| exception(py, &error))?;
        json.call_method1("loads", (answer.to_string(),))
    }

    #[pyo3(signature = (source, destination, *, on_event = None, cancel = None))]
    fn copy_in(
        &self,
        py: Python<'_>,
        source: PathBuf,
        destination: PathBuf,
        on_event: Option<&Bound<'_, PyAny>>,
        cancel: Option<&CancelToken>,
    ) -> PyResult<()> {
        let (vm, cancel) = (self.ours()?, token(cancel));
        let limit = cancel.clone();
        call(py, on_event, &cancel, move |listener| vm.copy_in(&source, &destination, listener, &limit))
    }

    #[pyo3(signature = (source, destination, *, on_event = None, cancel = None))]
    fn copy_out(
        &self,
        py: Python<'_>,
        source: PathBuf,
        destination: PathBuf,
        on_event: Option<&Bound<'_, PyAny>>,
        cancel: Option<&CancelToken>,
    ) -> PyResult<()> {
        let (vm, cancel) = (self.ours()?, token(cancel));
        let limit = cancel.clone();
        call(py, on_event, &cancel, move |listener| vm.copy_out(&source, &destination, listener, &limit))
    }

    #[pyo3(signature = (timeout = None, *, cancel = None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>, cancel: Option<&CancelToken>) -> PyResult<bool> {
        let (vm, cancel) = (self.ours()?, token(cancel));
        let timeout = timeout.map(seconds_or_none).transpose()?;
        let limit = cancel.clone();
        call(py, None, &cancel, move |_| vm.wait(timeout, &limit))
    }

    #[pyo3(signature = (*, kill = false, on_event = None, cancel = None))]
    fn stop(
        &self,
        py: Python<'_>,
        kill: bool,
        on_event: Option<&Bound<'_, PyAny>>,
        cancel: Option<&CancelToken>,
    ) -> PyResult<()> {
        // A fork's copy does nothing.
        if !self.is_ours() {
            return Ok(());
        }
        let (vm, cancel) = (Arc::clone(self.vm()), token(cancel));
        let limit = cancel.clone();
        call(py, on_event, &cancel, move |listener| vm.stop(kill, listener, &limit))
    }

    fn __enter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        class: &Bound<'_, PyAny>,
        exception: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let Err(error) = self.stop(py, false, None, None) else { return Ok(()) };
        let is_ours = error.is_instance(py, &py.import("transient.errors")?.getattr("Error")?);
        if class.is_none() || !is_ours {
            return Err(error);
        }
        // The exception wins, and may tell of this one (as of Python 3.11).
        let _ = exception.call_method1("add_note", (format!("and the VM did not end well: {error}"),));
        Ok(())
    }

    fn __repr__(&self) -> String {
        let (name, image) = (self.vm().name(), self.vm().image());
        match self.running() {
            true => format!("<Vm '{name}' of '{image}', QEMU is process {}>", self.vm().qemu_pid()),
            false => format!("<Vm '{name}' of '{image}', ended>"),
        }
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        let warning = self.running().then(|| format!("{} was not stopped", self.__repr__()));
        let Some(vm) = self.vm.take() else { return };
        Python::attach(|py| match warning {
            // The shutdown takes its time, which is not the collector's.
            Some(message) => {
                leaving::leave(vm);
                warn(py, &message);
            }
            // Its thread may still have something to log, for which it needs Python.
            None => py.detach(|| drop(vm)),
        });
    }
}

fn warn(py: Python<'_>, message: &str) {
    // The collector may come while an exception is on its way.
    let pending = PyErr::take(py);
    let warned = py
        .import("warnings")
        .and_then(|module| module.call_method1("warn", (message, py.get_type::<PyResourceWarning>())));
    if let Err(error) = warned {
        error.write_unraisable(py, None);
    }
    if let Some(pending) = pending {
        pending.restore(py);
    }
}

/// Returns a QMP command: an object as it is, or one of a name and its arguments.
fn qmp_command<'py>(
    command: &Bound<'py, PyAny>,
    arguments: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = command.py();
    let Ok(name) = command.extract::<String>() else {
        return Ok(command.clone());
    };
    let object = PyDict::new(py);
    object.set_item("execute", name)?;
    if let Some(arguments) = arguments {
        let renamed = PyDict::new(py);
        for (key, value) in arguments {
            // QMP's names have hyphens, and Python's cannot.
            renamed.set_item(key.extract::<String>()?.replace('_', "-"), value)?;
        }
        object.set_item("arguments", renamed)?;
    }
    Ok(object.into_any())
}

/// Returns the Python object of what is told of a VM.
pub(crate) fn info<'py>(py: Python<'py>, info: &VmInfo) -> PyResult<Bound<'py, PyAny>> {
    let module = py.import("transient.vm")?;
    let running = info.running.as_ref().map(|running| running_vm(&module, running)).transpose()?;
    module.getattr("VmInfo")?.call1((&info.name, &info.image, info.ssh, info.stored, running))
}

fn running_vm<'py>(module: &Bound<'py, PyModule>, vm: &RunningVm) -> PyResult<Bound<'py, PyAny>> {
    let arguments = (vm.pid, vm.qemu_pid, vm.started, vm.ssh_port, vm.stateless);
    module.getattr("RunningVm")?.call1(arguments)
}
