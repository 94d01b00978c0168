//! `transient ps`

use chrono::{DateTime, Local};
use transient_core::VmInfo;

use crate::cli::{Format, Ps};
use crate::failure::Failure;
use crate::output::{self, Align};

pub(super) fn run(args: Ps) -> Result<(), Failure> {
    let listing = super::store(args.backend, Some(args.vmstore))?.vms()?;
    for warning in &listing.warnings {
        output::warning(warning);
    }
    let columns = Columns { pid: args.pid, ssh: args.ssh };
    let vms: Vec<&VmInfo> = listing.vms.iter().filter(|vm| args.all || vm.running.is_some()).collect();
    match args.format {
        Format::Table => output::text(&table(&vms, &columns)),
        Format::Json => output::json(&serde_json::json!(vms)),
    }
}

/// What is shown besides.
struct Columns {
    pid: bool,
    ssh: bool,
}

fn table(vms: &[&VmInfo], columns: &Columns) -> String {
    let mut header = vec!["NAME", "IMAGE", "STATUS"];
    let mut alignment = vec![Align::Left; 3];
    for (title, wanted) in [("PID", columns.pid), ("SSH", columns.ssh)] {
        if wanted {
            header.push(title);
            alignment.push(Align::Right);
        }
    }
    let header = header.into_iter().map(str::to_owned).collect();
    let rows: Vec<Vec<String>> =
        std::iter::once(header).chain(vms.iter().map(|vm| row(vm, columns))).collect();
    output::table(&rows, &alignment)
}

fn row(vm: &VmInfo, columns: &Columns) -> Vec<String> {
    let status = vm.running.as_ref().map_or_else(
        || "Offline".to_owned(),
        |running| format!("Started {}", DateTime::<Local>::from(running.started).format("%Y-%m-%d %H:%M:%S")),
    );
    let mut row = vec![output::printable(&vm.name), output::printable(&vm.image), status];
    if columns.pid {
        row.push(vm.running.as_ref().map(|running| running.pid.to_string()).unwrap_or_default());
    }
    if columns.ssh {
        row.push(if vm.ssh { "True" } else { "False" }.to_owned());
    }
    row
}
