//! Commands in guests, as `subprocess` runs those of the host.

use std::io::Write;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;
use transient_core::{Error, Event, SshCommand, SshInput, Stream};

use crate::call::{SIGNALS_EVERY, call};
use crate::error::exception;
use crate::event;
use crate::options::seconds;

/// How much of the end of its output is kept of the last command, in bytes.
const KEPT: usize = 64 << 10;
/// How much is read of an input at once, in bytes.
const PIECE: usize = 64 << 10;
/// How many pieces of output may wait for a slow reader, before the command waits too.
const PIECES_WAITING: usize = 64;

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How output is decoded, if it is wanted as text.
pub(crate) struct Text {
    encoding: String,
    errors: String,
}

impl Text {
    /// As `subprocess` decides, but for the encoding: it is the guest's.
    pub(crate) fn wanted(
        text: Option<bool>,
        encoding: Option<String>,
        errors: Option<String>,
    ) -> Option<Self> {
        let is_wanted = text.unwrap_or_default() || encoding.is_some() || errors.is_some();
        is_wanted.then(|| Self {
            encoding: encoding.unwrap_or_else(|| "utf-8".to_owned()),
            errors: errors.unwrap_or_else(|| "strict".to_owned()),
        })
    }

    /// Decodes output, with all ends of lines made `\n`.
    fn decode<'py>(&self, bytes: &Bound<'py, PyBytes>) -> PyResult<Bound<'py, PyAny>> {
        let text = bytes.call_method1("decode", (&self.encoding, &self.errors))?;
        text.call_method1("replace", ("\r\n", "\n"))?.call_method1("replace", ("\r", "\n"))
    }

    fn encode(&self, text: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
        text.call_method1("encode", (&self.encoding, &self.errors))?.extract()
    }
}

/// The end of what a command wrote, for reports.
#[derive(Debug, Default)]
pub(crate) struct Transcript {
    pub(crate) command: Option<String>,
    pub(crate) status: Option<u32>,
    pub(crate) end: Vec<u8>,
}

impl Transcript {
    fn add(&mut self, data: &[u8]) {
        self.end.extend(data);
        let surplus = self.end.len().saturating_sub(KEPT);
        self.end.drain(..surplus);
    }
}

/// A command, as it was asked for.
pub(crate) struct Asked<'py> {
    command: SshCommand,
    args: Bound<'py, PyAny>,
    text: Option<Text>,
    check: bool,
    pub(crate) transcript: Arc<Mutex<Transcript>>,
}

impl<'py> Asked<'py> {
    pub(crate) fn new(
        py: Python<'py>,
        args: Option<Bound<'py, PyAny>>,
        input: Option<&Bound<'py, PyAny>>,
        stdin: Option<&Bound<'py, PyAny>>,
        timeout: Option<f64>,
        text: Option<Text>,
        check: bool,
    ) -> PyResult<Self> {
        let mut command = SshCommand::default();
        command.command = words(args.as_ref())?;
        command.timeout = timeout.map(seconds).transpose()?;
        command.input = match (input, stdin) {
            (Some(_), Some(_)) => return Err(PyValueError::new_err("stdin and input may not both be used")),
            (Some(input), None) => SshInput::Bytes(bytes(input, text.as_ref())?),
            (None, Some(stdin)) => read_from(stdin.clone().unbind())?,
            (None, None) => SshInput::default(),
        };
        let transcript = Transcript { command: command.command.clone(), ..Transcript::default() };
        Ok(Self {
            command,
            args: args.unwrap_or_else(|| py.None().into_bound(py)),
            text,
            check,
            transcript: Arc::new(Mutex::new(transcript)),
        })
    }
}

/// Returns a command as a shell takes it: the text, or the words of a list, quoted.
pub(crate) fn words(args: Option<&Bound<'_, PyAny>>) -> PyResult<Option<String>> {
    let Some(args) = args else { return Ok(None) };
    if let Ok(text) = args.extract::<String>() {
        return Ok(Some(text));
    }
    args.py().import("shlex")?.call_method1("join", (args,))?.extract().map(Some)
}

fn bytes(input: &Bound<'_, PyAny>, text: Option<&Text>) -> PyResult<Vec<u8>> {
    match (input.extract::<PyBackedBytes>(), text) {
        (Ok(bytes), _) => Ok(bytes.to_vec()),
        (Err(_), Some(text)) => text.encode(input),
        (Err(_), None) => input
            .extract::<String>()
            .map(String::into_bytes)
            .map_err(|_| PyTypeError::new_err("input is bytes, or a text")),
    }
}

/// Has a command read what a file object has, as long as it reads.
fn read_from(file: Py<PyAny>) -> PyResult<SshInput> {
    let (reader, mut writer) = std::io::pipe()?;
    let next = move || -> PyResult<Vec<u8>> {
        Python::attach(|py| {
            let piece = file.bind(py).call_method1("read", (PIECE,))?;
            bytes(&piece, None)
        })
    };
    std::thread::Builder::new().name("transient".to_owned()).spawn(move || {
        while let Ok(piece) = next()
            && !piece.is_empty()
            && writer.write_all(&piece).is_ok()
        {}
    })?;
    Ok(SshInput::File(reader.into()))
}

/// Runs a command, and returns a `subprocess.CompletedProcess`.
pub(crate) fn completed<'py>(
    py: Python<'py>,
    asked: Asked<'py>,
    on_event: Option<&Bound<'_, PyAny>>,
    cancel: &transient_core::CancelToken,
    carry_out: impl FnOnce(SshCommand, &mut dyn FnMut(Event)) -> Result<u32, Error> + Send + 'static,
) -> PyResult<Bound<'py, PyAny>> {
    let Asked { command, args, text, check, transcript } = asked;
    let written = Arc::new(Mutex::new((Vec::new(), Vec::new())));
    let (streams, end, is_told) = (Arc::clone(&written), Arc::clone(&transcript), on_event.is_some());
    let done = call(py, on_event, cancel, move |listener| {
        carry_out(command, &mut |event| {
            if let Event::Output { stream, data } = &event {
                let mut streams = lock(&streams);
                let (stdout, stderr) = &mut *streams;
                if *stream == Stream::Stdout {
                    stdout.extend(data);
                } else {
                    stderr.extend(data);
                };
                lock(&end).add(data);
            }
            if is_told {
                listener(event);
            }
        })
    });
    let status = done.inspect_err(|error| explain(py, error, &lock(&transcript).end))?;
    lock(&transcript).status = Some(status);
    let (stdout, stderr): (Vec<u8>, Vec<u8>) = std::mem::take(&mut *lock(&written));
    let wanted = |bytes: &[u8]| {
        let bytes = PyBytes::new(py, bytes);
        match &text {
            Some(text) => text.decode(&bytes),
            None => Ok(bytes.into_any()),
        }
    };
    let class = py.import("subprocess")?.getattr("CompletedProcess")?;
    let process = class.call1((args, status, wanted(&stdout)?, wanted(&stderr)?))?;
    if check {
        process.call_method0("check_returncode")?;
    }
    Ok(process)
}

/// Gives an exception what the command had written, if it has no words of a program yet.
fn explain(py: Python<'_>, error: &PyErr, end: &[u8]) {
    let value = error.value(py);
    let is_empty = value.getattr("output").and_then(|output| output.is_truthy()).is_ok_and(|some| !some);
    if is_empty && !end.is_empty() {
        // A class that does not take it goes without.
        let _ = value.setattr("output", String::from_utf8_lossy(end));
    }
}

/// The output of a command that runs, piece by piece.
#[pyclass(frozen, module = "transient")]
pub(crate) struct SshStream {
    args: Py<PyAny>,
    check: bool,
    cancel: transient_core::CancelToken,
    state: Mutex<State>,
}

struct State {
    /// `None` when it is closed.
    events: Option<Receiver<Event>>,
    worker: Option<JoinHandle<Result<u32, Error>>>,
    returncode: Option<u32>,
}

impl SshStream {
    pub(crate) fn start(
        asked: Asked<'_>,
        cancel: transient_core::CancelToken,
        carry_out: impl FnOnce(SshCommand, &mut dyn FnMut(Event)) -> Result<u32, Error> + Send + 'static,
    ) -> PyResult<Self> {
        let Asked { command, args, check, transcript, .. } = asked;
        let (sender, events) = sync_channel(PIECES_WAITING);
        let worker = std::thread::Builder::new().name("transient".to_owned()).spawn(move || {
            let status = carry_out(command, &mut |event| {
                if let Event::Output { data, .. } = &event {
                    lock(&transcript).add(data);
                }
                // Nobody listens any more when it is closed.
                let _ = sender.send(event);
            })?;
            lock(&transcript).status = Some(status);
            Ok(status)
        })?;
        let state = State { events: Some(events), worker: Some(worker), returncode: None };
        Ok(Self { args: args.unbind(), check, cancel, state: Mutex::new(state) })
    }

    fn finish(&self, py: Python<'_>) -> PyResult<()> {
        let worker = py.detach(|| lock(&self.state).worker.take());
        let Some(worker) = worker else { return Ok(()) };
        let status = match py.detach(|| worker.join()) {
            Ok(Ok(status)) => status,
            Ok(Err(error)) => return Err(exception(py, &error)),
            Err(_) => return Err(PyRuntimeError::new_err("the work stopped by a fault of the library")),
        };
        py.detach(|| lock(&self.state).returncode = Some(status));
        if self.check {
            let class = py.import("subprocess")?.getattr("CompletedProcess")?;
            class.call1((&self.args, status))?.call_method0("check_returncode")?;
        }
        Ok(())
    }
}

#[pymethods]
impl SshStream {
    #[getter]
    fn args(&self, py: Python<'_>) -> Py<PyAny> {
        self.args.clone_ref(py)
    }

    #[getter]
    fn returncode(&self, py: Python<'_>) -> Option<u32> {
        py.detach(|| lock(&self.state).returncode)
    }

    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<(&'static str, Bound<'py, PyBytes>)>> {
        loop {
            let next = py.detach(|| {
                let mut state = lock(&self.state);
                state.events.as_mut().map(|events| events.recv_timeout(SIGNALS_EVERY))
            });
            match next {
                Some(Ok(Event::Output { stream, data })) => {
                    return Ok(Some((event::stream(stream), PyBytes::new(py, &data))));
                }
                Some(Ok(_)) => {}
                Some(Err(RecvTimeoutError::Timeout)) => py.check_signals()?,
                Some(Err(RecvTimeoutError::Disconnected)) => return self.finish(py).map(|()| None),
                None => return Ok(None),
            }
        }
    }

    fn close(&self, py: Python<'_>) {
        self.cancel.cancel();
        py.detach(|| lock(&self.state).events = None);
    }

    fn __enter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        _class: &Bound<'_, PyAny>,
        _exception: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) {
        self.close(py);
    }
}

impl Drop for SshStream {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}
