//! `transient ps`

use chrono::{DateTime, Local};
use transient_core::VmInfo;

use crate::cli::{Format, Ps};
use crate::failure::Failure;
use crate::output::{self, Align};

pub(super) fn run(args: Ps) -> Result<(), Failure> {
    let listing = super::store(args.backend.clone(), Some(args.vmstore.clone()))?.vms()?;
    for warning in &listing.warnings {
        output::warning(warning);
    }
    let vms: Vec<&VmInfo> = listing.vms.iter().filter(|vm| args.all || vm.running.is_some()).collect();
    match args.format {
        Format::Table => output::text(&table(&vms, &args)),
        Format::Json => output::json(&serde_json::json!(vms)),
    }
}

fn table(vms: &[&VmInfo], args: &Ps) -> String {
    let mut header = vec!["NAME", "IMAGE", "STATUS"];
    let mut alignment = vec![Align::Left; 3];
    for (title, wanted) in [("PID", args.pid), ("SSH", args.ssh)] {
        if wanted {
            header.push(title);
            alignment.push(Align::Right);
        }
    }
    let header = header.into_iter().map(str::to_owned).collect();
    let rows: Vec<Vec<String>> = std::iter::once(header).chain(vms.iter().map(|vm| row(vm, args))).collect();
    output::table(&rows, &alignment)
}

fn row(vm: &VmInfo, args: &Ps) -> Vec<String> {
    let status = vm.running.as_ref().map_or_else(
        || "Offline".to_owned(),
        |running| format!("Started {}", DateTime::<Local>::from(running.started).format("%Y-%m-%d %H:%M:%S")),
    );
    let mut row = vec![output::printable(&vm.name), output::printable(&vm.image), status];
    if args.pid {
        row.push(vm.running.as_ref().map(|running| running.pid.to_string()).unwrap_or_default());
    }
    if args.ssh {
        row.push(if vm.ssh { "True" } else { "False" }.to_owned());
    }
    row
}
