//! `transient cache`

use transient_core::image::format_bytes;
use transient_core::{CachedLayer, Locations, Store};

use crate::cli::{CacheCommand, Format};
use crate::failure::Failure;
use crate::output;

/// How many digits of a key are shown to people.
const SHOWN: usize = 12;

pub(super) fn run(command: CacheCommand) -> Result<(), Failure> {
    let store = Store::new(Locations::from_env()?);
    match command {
        CacheCommand::Ls(args) => {
            let layers = store.layers();
            match args.format {
                Format::Table => output::text(&table(&layers)),
                Format::Json => output::json(&serde_json::json!(layers)),
            }
        }
        CacheCommand::Prune(args) => {
            let freed = store.prune_layers(args.keep);
            match args.format {
                Format::Table => output::text(&format!("Freed {}\n", format_bytes(freed))),
                Format::Json => output::json(&serde_json::json!({ "freed": freed })),
            }
        }
        CacheCommand::Rm(args) => Ok(store.remove_layers(&args.keys)?),
    }
}

fn table(layers: &[CachedLayer]) -> String {
    let width =
        layers.iter().map(|layer| format_bytes(layer.size).len()).max().unwrap_or(0).max("SIZE".len());
    let mut table = format!(" {:SHOWN$}  {:>width$}  {:24}  INSTRUCTION\n", "KEY", "SIZE", "LAST USED");
    for layer in layers {
        let (key, size) = (&layer.key[..SHOWN], format_bytes(layer.size));
        let instruction = match layer.instruction.as_str() {
            "" => "(the end of a build)".to_owned(),
            instruction => output::printable(instruction),
        };
        table.push_str(&format!(" {key}  {size:>width$}  {:24}  {instruction}\n", layer.used));
    }
    table
}
