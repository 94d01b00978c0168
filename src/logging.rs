//! The library's log, on stderr.

use std::io::{self, IsTerminal, Write};

use tracing_subscriber::EnvFilter;

use crate::render;

/// Prints what the library logs: warnings, and more with each `-v`.
pub(crate) fn install(verbosity: u8) {
    let filter = match verbosity {
        0 => "error,transient_core=warn",
        1 => "error,transient_core=warn,transient::run=info",
        2 => "warn,transient_core=info,transient=info",
        3 => "warn,transient_core=debug,transient=debug",
        _ => "debug",
    };
    // Where the process has a subscriber already, that stays.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .without_time()
        .with_target(false)
        .with_ansi(io::stderr().is_terminal() && render::colors())
        .with_writer(|| BesideBars)
        .try_init();
}

/// Stderr, with progress bars out of the way while a line is written.
struct BesideBars;

impl Write for BesideBars {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        render::beside_bars(|| io::stderr().write_all(bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
