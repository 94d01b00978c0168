//! What may be typed to keep the cache in order.

use clap::{Args, Subcommand};

use super::Format;

#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// List the layers: what steps of builds did, the one that was used last at the end
    Ls(CacheLs),
    /// Remove layers until no more than a size is left, those first that were not used for the longest time
    Prune(CachePrune),
    /// Remove layers, and all that stands on them
    Rm(CacheRm),
}

#[derive(Debug, Args)]
pub(crate) struct CacheLs {
    /// How to print the list, and errors
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct CachePrune {
    /// What may be left, for example 5GiB
    #[arg(long, value_name = "SIZE", default_value = "0", value_parser = transient_core::image::parse_bytes)]
    pub(crate) keep: u64,

    /// How to print what was freed, and errors
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct CacheRm {
    /// The keys of the layers, or the beginnings of them
    #[arg(required = true, value_name = "KEY")]
    pub(crate) keys: Vec<String>,
}
