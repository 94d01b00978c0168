//! `transient image rm`

use crate::cli::{Format, ImageRm};
use crate::failure::Failure;
use crate::output;

pub(super) fn run(args: ImageRm) -> Result<(), Failure> {
    let names = super::names(args.names)?;
    let warnings = super::store(args.backend, Some(args.vmstore))?.remove(&names, args.force)?;
    for warning in &warnings {
        output::warning(warning);
    }
    match args.format {
        Format::Table => Ok(()),
        Format::Json => {
            let removed: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
            output::json(&serde_json::json!({ "removed": removed, "warnings": warnings }))
        }
    }
}
