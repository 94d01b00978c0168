//! `transient image history`

use transient_core::{HistoryStep, ImageName};

use crate::cli::{Format, ImageHistory};
use crate::failure::Failure;
use crate::output::{self, Align, printable};

pub(super) fn run(args: ImageHistory) -> Result<(), Failure> {
    let name = ImageName::new(args.name)?;
    let inspection = super::store(args.backend, None)?.inspect(&name)?;
    let history = inspection.history();
    for warning in &inspection.warnings {
        output::warning(warning);
    }
    if inspection.provenance.is_none() && inspection.warnings.is_empty() {
        output::warning(&format!("nothing is known of how '{}' was made", printable(name.as_str())));
    }
    match args.format {
        Format::Table => output::text(&table(&history)),
        Format::Json => output::json(&serde_json::json!(history)),
    }
}

fn table(history: &[&HistoryStep]) -> String {
    let header = ["FINISHED", "SECONDS", "IMAGE", "INSTRUCTION"].map(str::to_owned);
    let rows = history.iter().map(|step| {
        [
            printable(&step.finished),
            format!("{:.1}", step.elapsed),
            printable(&step.image),
            printable(&step.instruction),
        ]
    });
    let rows: Vec<_> = std::iter::once(header).chain(rows).collect();
    output::table(&rows, &[Align::Left, Align::Right, Align::Left, Align::Left])
}
