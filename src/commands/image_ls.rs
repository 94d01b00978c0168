//! `transient image ls`

use crate::cli::{Format, ImageLs};
use crate::failure::Failure;
use crate::output;

pub(super) fn run(args: ImageLs) -> Result<(), Failure> {
    let listing = super::store(args.backend, None)?.images()?;
    for warning in &listing.warnings {
        output::warning(warning);
    }
    match args.format {
        Format::Table => output::text(&output::image_table(&listing.images)),
        Format::Json => output::json(&serde_json::json!(listing.images)),
    }
}
