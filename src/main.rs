//! The command line of transient: a small consumer of `transient-core`.

mod cli;
mod commands;
mod failure;
mod interrupt;
mod logging;
mod output;
mod render;

use std::process::ExitCode;

fn main() -> ExitCode {
    failure::install_panic_hook();
    failure::guard(|| match cli::parse() {
        Ok(cli) => commands::run(cli),
        Err(status) => status,
    })
}
