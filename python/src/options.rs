//! Options as callers write them: texts with a few known values, and numbers within bounds.

use std::io::{stdin, stdout};
use std::os::fd::AsFd;
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use transient_core::{Accelerator, CompressionType, Network, OnFailure, Terminal};

pub(crate) fn cpu_count(cpus: u32) -> PyResult<u32> {
    match cpus {
        1..=255 => Ok(cpus),
        _ => Err(PyValueError::new_err(format!("cpus must be from 1 to 255, not {cpus}"))),
    }
}

pub(crate) fn compression(name: &str) -> PyResult<Option<CompressionType>> {
    match name {
        "none" => Ok(None),
        "zlib" => Ok(Some(CompressionType::Zlib)),
        "zstd" => Ok(Some(CompressionType::Zstd)),
        _ => Err(PyValueError::new_err(format!("compress must be 'none', 'zlib' or 'zstd', not {name:?}"))),
    }
}

pub(crate) fn accelerator(name: &str) -> PyResult<Accelerator> {
    match name {
        "auto" => Ok(Accelerator::Auto),
        "kvm" => Ok(Accelerator::Kvm),
        "tcg" => Ok(Accelerator::Tcg),
        _ => Err(PyValueError::new_err(format!("accelerator must be 'auto', 'kvm' or 'tcg', not {name:?}"))),
    }
}

pub(crate) fn on_failure(name: &str) -> PyResult<OnFailure> {
    match name {
        "stop" => Ok(OnFailure::Stop),
        "shell" => Ok(OnFailure::Shell),
        _ => Err(PyValueError::new_err(format!("on_failure must be 'stop' or 'shell', not {name:?}"))),
    }
}

pub(crate) fn network(name: &str) -> PyResult<Network> {
    match name {
        "user" => Ok(Network::User),
        "none" => Ok(Network::None),
        _ => Err(PyValueError::new_err(format!("network must be 'user' or 'none', not {name:?}"))),
    }
}

/// A timeout above 0.
pub(crate) fn seconds(seconds: f64) -> PyResult<Duration> {
    let duration = Duration::try_from_secs_f64(seconds).ok().filter(|duration| !duration.is_zero());
    duration.ok_or_else(|| {
        PyValueError::new_err(format!("a timeout is a number of seconds above 0, not {seconds}"))
    })
}

/// A timeout that may be 0: not to wait at all.
pub(crate) fn seconds_or_none(seconds: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds).map_err(|error| {
        PyValueError::new_err(format!("a timeout is a number of seconds, not {seconds}: {error}"))
    })
}

/// The terminal of this process, for a shell.
pub(crate) fn own_terminal(py: Python<'_>) -> PyResult<Terminal> {
    let term = py.import("os")?.getattr("environ")?.call_method1("get", ("TERM", "vt100"))?.extract()?;
    Ok(Terminal {
        input: stdin().as_fd().try_clone_to_owned()?,
        output: stdout().as_fd().try_clone_to_owned()?,
        term,
    })
}
