//! `transient image prune`

use std::io::{self, IsTerminal, Write};

use transient_core::image::format_bytes;
use transient_core::{ErrorKind, PruneOptions, Pruned, Store};

use crate::cli::{Format, ImagePrune};
use crate::failure::Failure;
use crate::output;

pub(super) fn run(args: ImagePrune) -> Result<(), Failure> {
    let store = super::store(args.backend, Some(args.vmstore))?;
    let mut options = PruneOptions::default();
    (options.all, options.older_than, options.dry_run) = (args.all, args.older_than, args.dry_run);
    if args.all && !args.dry_run && !args.force {
        confirm(&store, &options)?;
    }
    let pruned = store.prune(&options)?;
    for warning in &pruned.warnings {
        output::warning(warning);
    }
    match args.format {
        Format::Table => output::text(&listed(&pruned, args.dry_run)),
        Format::Json => output::json(&serde_json::json!(pruned)),
    }
}

/// Lists the images that would go, and asks.
fn confirm(store: &Store, options: &PruneOptions) -> Result<(), Failure> {
    let (stdin, mut stderr) = (io::stdin(), io::stderr());
    if !stdin.is_terminal() || !stderr.is_terminal() {
        return Err(Failure::Refused {
            kind: ErrorKind::NotATerminal,
            message: "images are removed only after asking, and there is no terminal to ask on",
            hints: &["--force removes them without asking"],
        });
    }
    let mut would = options.clone();
    would.dry_run = true;
    let images = store.prune(&would)?.images;
    if images.is_empty() {
        return Ok(());
    }
    let mut ask = || {
        write!(stderr, "{}Remove these images, which no VM uses? [y/N] ", output::image_table(&images))?;
        stderr.flush()?;
        let mut answer = String::new();
        stdin.read_line(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().map_err(|error| Failure::Write("the question".to_owned(), error))?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::Refused { kind: ErrorKind::Cancelled, message: "nothing was removed", hints: &[] }),
    }
}

fn listed(pruned: &Pruned, dry_run: bool) -> String {
    let (removed, freed) = if dry_run { ("Would remove", "Would free") } else { ("Removed", "Freed") };
    let mut text = String::new();
    for path in &pruned.leftovers {
        text.push_str(&format!("{removed} {}\n", output::printable(&path.display().to_string())));
    }
    for image in &pruned.images {
        text.push_str(&format!("{removed} image {}\n", output::printable(&image.name)));
    }
    text.push_str(&format!("{freed} {}\n", format_bytes(pruned.freed)));
    text
}
