//! `transient man DIR`

use std::fs;

use crate::cli::{self, Man};
use crate::failure::Failure;

pub(super) fn run(args: &Man) -> Result<(), Failure> {
    let failed = |error| Failure::Write(args.folder.display().to_string(), error);
    fs::create_dir_all(&args.folder).map_err(failed)?;
    clap_mangen::generate_to(cli::command(), &args.folder).map_err(failed)
}
