//! What is known of images, as the objects of `transient.inspection`.

use pyo3::prelude::*;
use pyo3::types::PyTuple;
use transient_core::{HistoryStep, ImageCheck, Inspection, MadeBy, Parent, Provenance};

use crate::image;

/// Returns the Python object of an inspection, but for its warnings.
pub(crate) fn object<'py>(py: Python<'py>, inspection: &Inspection) -> PyResult<Bound<'py, PyAny>> {
    let module = py.import("transient.inspection")?;
    module.getattr("Inspection")?.call1((
        image::object(py, &inspection.image)?,
        inspection.format,
        &inspection.created,
        inspection.compat,
        inspection.compression,
        inspection.cluster_size,
        &inspection.parent,
        inspection.provenance.as_ref().map(|provenance| made(&module, provenance)).transpose()?,
        PyTuple::new(py, &inspection.vms)?,
    ))
}

/// Returns the Python object of a check.
pub(crate) fn check<'py>(py: Python<'py>, check: &ImageCheck) -> PyResult<Bound<'py, PyAny>> {
    py.import("transient.inspection")?.getattr("ImageCheck")?.call1((
        &check.name,
        &check.path,
        &check.refusal,
        &check.hint,
        check.corruptions,
        check.leaks,
    ))
}

fn made<'py>(module: &Bound<'py, PyModule>, provenance: &Provenance) -> PyResult<Bound<'py, PyAny>> {
    let steps = provenance.steps.iter().map(|step| history_step(module, step));
    module.getattr("Provenance")?.call1((
        &provenance.id,
        &provenance.created,
        &provenance.version,
        made_by(module, &provenance.made_by)?,
        PyTuple::new(module.py(), steps.collect::<PyResult<Vec<_>>>()?)?,
    ))
}

fn made_by<'py>(module: &Bound<'py, PyModule>, made_by: &MadeBy) -> PyResult<Option<Bound<'py, PyAny>>> {
    let object = match made_by {
        MadeBy::Build { parent, accelerator, appliance } => {
            let parent = parent.as_ref().map(|parent| parent_image(module, parent)).transpose()?;
            module.getattr("Build")?.call1((parent, accelerator, appliance))?
        }
        MadeBy::Pull { spec, format, compression, checksum } => {
            module.getattr("Pull")?.call1((spec, format, compression, checksum))?
        }
        _ => return Ok(None),
    };
    Ok(Some(object))
}

fn parent_image<'py>(module: &Bound<'py, PyModule>, parent: &Parent) -> PyResult<Bound<'py, PyAny>> {
    module.getattr("Parent")?.call1((&parent.name, &parent.id, parent.length, parent.modified))
}

fn history_step<'py>(module: &Bound<'py, PyModule>, step: &HistoryStep) -> PyResult<Bound<'py, PyAny>> {
    let arguments = (&step.image, &step.instruction, &step.finished, step.elapsed);
    module.getattr("HistoryStep")?.call1(arguments)
}
