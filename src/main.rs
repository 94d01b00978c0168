//! The program `transient`.

use std::process::ExitCode;

fn main() -> ExitCode {
    transient_cli::run(std::env::args_os(), Vec::new()).into()
}
