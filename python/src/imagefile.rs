//! Imagefiles, with their instructions as the objects of `transient.instructions`.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::PyTuple;
use transient_core::imagefile::{Base, Instruction, Partition, Transfer};

use crate::error::{detached, exception};
use crate::name::{Origin, origin};
use crate::plan::{self, label};

/// A checked Imagefile.
#[pyclass(frozen, module = "transient")]
#[derive(Debug)]
pub(crate) struct Imagefile(transient_core::Imagefile);

#[pymethods]
impl Imagefile {
    #[staticmethod]
    #[pyo3(signature = (text, path = PathBuf::from("Imagefile")), text_signature = "(text, path='Imagefile')")]
    fn parse(py: Python<'_>, text: Text, path: PathBuf) -> PyResult<Self> {
        let bytes = match text {
            Text::Decoded(text) => text.into_bytes(),
            Text::Bytes(bytes) => bytes,
        };
        transient_core::Imagefile::parse(path, &bytes).map(Self).map_err(|error| exception(py, &error))
    }

    #[staticmethod]
    fn load(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        detached(py, || transient_core::Imagefile::load(path)).map(Self)
    }

    #[getter]
    fn path(&self) -> PathBuf {
        self.0.path().to_owned()
    }

    #[getter]
    fn text(&self) -> &str {
        self.0.text()
    }

    #[getter]
    fn instructions<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let instructions = self.0.instructions().iter();
        let objects: Vec<_> = instructions
            .map(|(parsed, span)| instruction(py, parsed, self.0.line(*span)))
            .collect::<PyResult<_>>()?;
        PyTuple::new(py, objects)
    }

    #[getter]
    fn plan<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        plan::object(py, &transient_core::Plan::new(&self.0))
    }

    fn __repr__(&self) -> String {
        format!("<Imagefile {:?}, {} instructions>", self.0.path(), self.0.instructions().len())
    }
}

#[derive(Debug, FromPyObject)]
enum Text {
    Decoded(String),
    Bytes(Vec<u8>),
}

/// Returns the Python object of an instruction.
pub(crate) fn instruction<'py>(
    py: Python<'py>,
    parsed: &Instruction,
    line: usize,
) -> PyResult<Bound<'py, PyAny>> {
    let module = py.import("transient.instructions")?;
    let class = |name: &str| module.getattr(name);
    let text = parsed.to_string();
    match parsed {
        Instruction::From(Base::Scratch) => {
            let none = None::<String>;
            class("From")?.call1((line, text, &none, &none, &none))
        }
        Instruction::From(Base::Image(spec)) => {
            let Origin { protocol, source, checksum } = origin(spec);
            class("From")?.call1((line, text, spec.name.as_str(), protocol, source, checksum))
        }
        Instruction::Disk(disk) => class("Disk")?.call1((line, text, disk.bytes(), label(disk.label))),
        Instruction::Partition(partition) => partition_object(&class("Partition")?, partition, line, text),
        Instruction::Copy(transfer) => transfer_object(&class("Copy")?, transfer, line, text),
        Instruction::Add(transfer) => transfer_object(&class("Add")?, transfer, line, text),
        Instruction::Run(command) => class("Run")?.call1((line, text, command)),
        Instruction::Inspect => class("Inspect")?.call1((line, text)),
    }
}

fn partition_object<'py>(
    class: &Bound<'py, PyAny>,
    partition: &Partition,
    line: usize,
    text: String,
) -> PyResult<Bound<'py, PyAny>> {
    let py = class.py();
    let mount = partition.mount.as_ref().map(|mount| mount.to_string_lossy());
    class.call1((
        line,
        text,
        partition.number,
        partition.bytes(),
        partition.format.map(|format| format.name()),
        PyTuple::new(py, &partition.options)?,
        mount,
        PyTuple::new(py, partition.flags.iter().map(|flag| flag.name()))?,
    ))
}

fn transfer_object<'py>(
    class: &Bound<'py, PyAny>,
    transfer: &Transfer,
    line: usize,
    text: String,
) -> PyResult<Bound<'py, PyAny>> {
    let sources: Vec<_> = transfer.sources.iter().map(|source| source.to_string_lossy()).collect();
    let destination = transfer.destination.to_string_lossy();
    class.call1((line, text, PyTuple::new(class.py(), sources)?, destination))
}
