//! `transient image tag`

use transient_core::{ImageName, tag};

use crate::cli::{Format, ImageTag, Progress};
use crate::failure::Failure;
use crate::output;

pub(super) fn run(args: ImageTag) -> Result<(), Failure> {
    let (source, name) = (ImageName::new(args.source)?, ImageName::new(args.name)?);
    let store = super::store(args.backend, Some(args.vmstore))?;
    let image = super::watched(Progress::Auto, |listener, cancel| {
        tag(&store, &source, &name, args.force, listener, cancel)
    })?;
    match args.format {
        Format::Table => Ok(()),
        Format::Json => output::json(&serde_json::json!(image)),
    }
}
