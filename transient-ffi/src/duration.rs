//! Times of the caller, in seconds.

use std::time::Duration;

use crate::boundary::Failure;

/// Reads a time.
pub(crate) fn duration(seconds: f64) -> Result<Duration, Failure> {
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| Failure::Argument(format!("{seconds} is no number of seconds")))
}

/// Reads a time where 0 stands for none.
pub(crate) fn optional(seconds: f64) -> Result<Option<Duration>, Failure> {
    Ok(Some(duration(seconds)?).filter(|duration| !duration.is_zero()))
}
