//! The command line of transient: a small consumer of `transient-core`.
//!
//! A library, for the Python package has the same command.

mod cli;
mod commands;
mod failure;
mod interrupt;
mod logging;
mod output;
mod render;

use std::ffi::OsString;
use std::path::PathBuf;

/// Runs the command line, and returns the exit status that the process is to end with.
///
/// The first argument is the program's name. `appliances` are folders that may hold an appliance, looked at
/// before those of the environment's [`Locations`](transient_core::Locations).
///
/// It is for a process's main function: it prints, watches signals, and sets a panic hook. SIGPIPE must be ignored,
/// as Rust and Python do from the start.
pub fn run(arguments: impl IntoIterator<Item = OsString>, appliances: Vec<PathBuf>) -> u8 {
    failure::install_panic_hook();
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    failure::guard(|| match cli::parse(arguments) {
        Ok(cli) => commands::run(cli, appliances),
        Err(status) => status,
    })
}
