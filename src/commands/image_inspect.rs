//! `transient image inspect`

use transient_core::image::format_bytes;
use transient_core::{Inspection, MadeBy, Provenance};

use crate::cli::{Format, ImageInspect};
use crate::failure::Failure;
use crate::output::{self, printable};

pub(super) fn run(args: ImageInspect) -> Result<(), Failure> {
    let names = super::names(args.names)?;
    let store = super::store(args.backend, Some(args.vmstore))?;
    let inspections = names.iter().map(|name| store.inspect(name)).collect::<Result<Vec<_>, _>>()?;
    for warning in inspections.iter().flat_map(|inspection| &inspection.warnings) {
        output::warning(warning);
    }
    match args.format {
        Format::Table => {
            let blocks: Vec<String> = inspections.iter().map(block).collect();
            output::text(&blocks.join("\n"))
        }
        Format::Json => output::json(&serde_json::json!(inspections)),
    }
}

/// Returns what is known of an image, a fact a line.
fn block(inspection: &Inspection) -> String {
    let image = &inspection.image;
    let mut facts = vec![
        ("name", image.name.clone()),
        ("path", image.path.display().to_string()),
        ("format", inspection.format.to_owned()),
        ("compat", inspection.compat.to_owned()),
        ("compression", inspection.compression.to_owned()),
        ("cluster size", format_bytes(inspection.cluster_size)),
        ("virtual size", format_bytes(image.virtual_size)),
        ("real size", format_bytes(image.real_size)),
        ("created", inspection.created.clone()),
    ];
    match &inspection.provenance {
        Some(provenance) => facts.extend(made(provenance)),
        None => facts.push(("made by", "unknown".to_owned())),
    }
    if !inspection.vms.is_empty() {
        facts.push(("VMs", inspection.vms.join(", ")));
    }
    facts.iter().map(|(what, value)| format!("{what:<12}  {}\n", printable(value))).collect()
}

fn made(provenance: &Provenance) -> Vec<(&'static str, String)> {
    let by = |what: &str| ("made by", format!("{what}, transient {}", provenance.version));
    let mut facts = match &provenance.made_by {
        MadeBy::Build { parent, accelerator, appliance } => vec![
            by("build"),
            ("parent", parent.as_ref().map_or("scratch", |parent| &parent.name).to_owned()),
            ("accelerator", accelerator.clone()),
            ("appliance", appliance.clone()),
        ],
        MadeBy::Pull { spec, format, compression, checksum } => {
            let source = [Some(format.as_str()), compression.as_deref()];
            let mut facts = vec![
                by("pull"),
                ("spec", spec.clone()),
                ("source", source.into_iter().flatten().collect::<Vec<_>>().join(", ")),
            ];
            facts.extend(checksum.iter().map(|checksum| ("checksum", checksum.clone())));
            facts
        }
        _ => vec![by("another release")],
    };
    facts.push(("provenance", provenance.id.clone()));
    facts
}
