//! `transient completions SHELL`

use crate::cli::{self, Completions};
use crate::failure::Failure;
use crate::output;

pub(super) fn run(args: &Completions) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut cli::command(), "transient", &mut script);
    output::text(&String::from_utf8_lossy(&script))
}
