//! Plans, as the objects of `transient.plan`.

use pyo3::prelude::*;
use pyo3::types::PyTuple;
use transient_core::imagefile::{Base, DiskLabel};
use transient_core::{DiskLayout, Mount, PartitionKind, PlacedPartition, Plan};

use crate::imagefile::instruction;

/// Returns the Python object of a plan.
pub(crate) fn object<'py>(py: Python<'py>, plan: &Plan) -> PyResult<Bound<'py, PyAny>> {
    let module = py.import("transient.plan")?;
    let base = match &plan.base {
        Base::Scratch => None,
        Base::Image(spec) => Some(spec.to_string()),
    };
    let disk = plan.disk.as_ref().map(|disk| layout(&module, disk)).transpose()?;
    let steps: Vec<_> = plan
        .steps
        .iter()
        .map(|step| instruction(py, &step.instruction, step.line))
        .collect::<PyResult<_>>()?;
    module.getattr("Plan")?.call1((base, disk, PyTuple::new(py, steps)?))
}

/// Returns the name of a kind of partition table.
pub(crate) fn label(label: DiskLabel) -> &'static str {
    match label {
        DiskLabel::Gpt => "GPT",
        DiskLabel::Mbr => "MBR",
    }
}

fn layout<'py>(module: &Bound<'py, PyModule>, disk: &DiskLayout) -> PyResult<Bound<'py, PyAny>> {
    let py = module.py();
    let partitions = disk.partitions.iter().map(|partition| placed(module, partition));
    let mounts = disk.mounts.iter().map(|mount| mounted(module, mount));
    module.getattr("DiskLayout")?.call1((
        disk.size,
        label(disk.label),
        PyTuple::new(py, partitions.collect::<PyResult<Vec<_>>>()?)?,
        PyTuple::new(py, mounts.collect::<PyResult<Vec<_>>>()?)?,
    ))
}

fn placed<'py>(module: &Bound<'py, PyModule>, partition: &PlacedPartition) -> PyResult<Bound<'py, PyAny>> {
    let kind = match partition.kind {
        PartitionKind::Linux => "linux",
        PartitionKind::Swap => "swap",
        PartitionKind::EfiSystem => "efi-system",
        PartitionKind::BiosBoot => "bios-boot",
    };
    module.getattr("PlacedPartition")?.call1((
        partition.number,
        partition.start,
        partition.size,
        partition.boot,
        kind,
    ))
}

fn mounted<'py>(module: &Bound<'py, PyModule>, mount: &Mount) -> PyResult<Bound<'py, PyAny>> {
    let path = mount.path.to_string_lossy();
    module.getattr("Mount")?.call1((mount.partition, path, mount.filesystem.name()))
}
