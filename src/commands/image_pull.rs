//! `transient image pull`

use transient_core::{ImageSpec, pull};

use crate::cli::ImagePull;
use crate::failure::Failure;

pub(super) fn run(args: ImagePull) -> Result<(), Failure> {
    let specs = args.specs.iter().map(|spec| spec.parse()).collect::<Result<Vec<ImageSpec>, _>>()?;
    let store = super::store(args.backend, None)?;
    super::watched(args.progress, |listener, cancel| pull(&store, &specs, listener, cancel))?;
    Ok(())
}
