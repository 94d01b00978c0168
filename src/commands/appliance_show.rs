//! `transient appliance show`

use std::path::PathBuf;

use transient_core::Locations;
use transient_core::appliance::{self, Appliance, BootProtocol};
use transient_core::image::format_bytes;

use crate::cli::{ApplianceShow, Format};
use crate::failure::Failure;
use crate::output;

pub(super) fn run(args: &ApplianceShow, appliances: Vec<PathBuf>) -> Result<(), Failure> {
    let locations = super::with_appliances(Locations::from_env()?, appliances);
    let appliance = appliance::find(&locations)?;
    match args.format {
        Format::Table => output::text(&(summary(&appliance) + &files(&appliance))),
        Format::Json => output::json(&serde_json::json!({
            "folder": appliance.folder,
            "kernel": appliance.kernel,
            "initramfs": appliance.initramfs,
            "description": appliance.description,
        })),
    }
}

/// Returns what the appliance is, a few lines.
pub(super) fn summary(appliance: &Appliance) -> String {
    let boot = match appliance.description.boot {
        BootProtocol::Pvh => "PVH",
        BootProtocol::Linux => "bzImage",
    };
    format!(
        "folder     {}\nkernel     {} ({boot}, {})\ninitramfs  {}\nkey        {}\n",
        appliance.folder.display(),
        appliance.description.kernel_release,
        size(&appliance.kernel),
        size(&appliance.initramfs),
        appliance.description.key,
    )
}

fn files(appliance: &Appliance) -> String {
    let mut text = format!("files      {}\n", appliance.description.files.len());
    for file in &appliance.description.files {
        let origin = match &file.origin {
            Some(origin) => format!(" <- {}", origin.display()),
            None => String::new(),
        };
        text.push_str(&format!("{:>12}  {}{origin}\n", format_bytes(file.size), file.path.display()));
    }
    text
}

fn size(file: &std::path::Path) -> String {
    match file.metadata() {
        Ok(metadata) => format_bytes(metadata.len()),
        Err(error) => error.to_string(),
    }
}
