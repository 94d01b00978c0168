//! `transient image import`

use std::path::Path;

use transient_core::{ImageName, ImportOptions, import};

use crate::cli::ImageImport;
use crate::failure::Failure;

pub(super) fn run(args: ImageImport) -> Result<(), Failure> {
    let path = if args.path == Path::new("-") { "/dev/stdin".into() } else { args.path };
    let name = match args.name {
        Some(name) => ImageName::new(name)?,
        None => ImageName::of_file(&path)?,
    };
    let mut options = ImportOptions::new(path, name);
    options.checksum = args.sha256;
    options.replace = args.force;
    let store = super::store(args.backend, Some(args.vmstore))?;
    super::watched(args.progress, |listener, cancel| import(&store, &options, listener, cancel))?;
    Ok(())
}
