//! Log records go to Python's `logging`.

use log::LevelFilter;
use pyo3::prelude::*;
use pyo3_log::{Caching, Logger};

/// Has records of the library go to the loggers `transient` and below; other crates only report trouble.
pub(crate) fn install(py: Python<'_>) -> PyResult<()> {
    // Levels are looked up anew each time: programs set them up after the import.
    let logger = Logger::new(py, Caching::Loggers)?
        .filter(LevelFilter::Warn)
        .filter_target("transient".to_owned(), LevelFilter::Debug)
        .filter_target("transient_core".to_owned(), LevelFilter::Debug);
    // Where a program has set up another receiver of records, that stays.
    let _ = logger.install();
    Ok(())
}
