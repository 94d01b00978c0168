//! What may be typed to keep images in order, and to move them in and out.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum, ValueHint};

use super::{BackendArgs, Format, Progress, VmStoreArgs};

#[derive(Debug, Args)]
pub(crate) struct ImageTag {
    /// The image
    pub(crate) source: String,

    /// Its other name
    #[arg(value_name = "NEW")]
    pub(crate) name: String,

    /// Replace an image that has the other name, unless a VM uses it
    #[arg(short, long)]
    pub(crate) force: bool,

    #[command(flatten)]
    pub(crate) backend: BackendArgs,

    #[command(flatten)]
    pub(crate) vmstore: VmStoreArgs,

    /// How to print the new image, and errors
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct ImagePrune {
    /// Remove also all images that no VM has a disk on, after asking
    #[arg(short, long)]
    pub(crate) all: bool,

    /// Of these, only the ones that were made longer ago, for example 7d, 12h or 2w
    #[arg(long, value_name = "AGE", requires = "all", value_parser = age)]
    pub(crate) older_than: Option<Duration>,

    /// Only say what would be removed
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,

    /// Do not ask
    #[arg(short, long, visible_short_alias = 'y', visible_alias = "yes")]
    pub(crate) force: bool,

    #[command(flatten)]
    pub(crate) backend: BackendArgs,

    #[command(flatten)]
    pub(crate) vmstore: VmStoreArgs,

    /// How to print what was removed, and errors
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct ImageImport {
    /// The file: an image in any format, also compressed; - is the standard input
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) path: PathBuf,

    /// The image's name [default: the file's, without its extensions]
    #[arg(required_if_eq("path", "-"))]
    pub(crate) name: Option<String>,

    /// What `sha256sum` prints for the file; another file is refused
    #[arg(long, value_name = "DIGEST", value_parser = transient_core::image::Checksum::sha256)]
    pub(crate) sha256: Option<transient_core::image::Checksum>,

    /// Replace an image of that name, unless a VM uses it
    #[arg(short, long)]
    pub(crate) force: bool,

    #[command(flatten)]
    pub(crate) backend: BackendArgs,

    #[command(flatten)]
    pub(crate) vmstore: VmStoreArgs,

    /// How to show what happens; auto is tty on a terminal, else plain; json is one object a line on stdout
    #[arg(long, value_enum, default_value_t, value_name = "HOW")]
    pub(crate) progress: Progress,
}

#[derive(Debug, Args)]
pub(crate) struct ImageExport {
    /// The image
    pub(crate) name: String,

    /// The file; one that ends in .gz, .xz or .zst is compressed as a whole
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) path: PathBuf,

    /// The file's format [default: what its name ends in, raw for .img, else qcow2]
    #[arg(long, value_enum)]
    pub(crate) format: Option<DiskFormat>,

    /// Use the format's own compression, of qcow2 and vmdk
    #[arg(short, long)]
    pub(crate) compress: bool,

    /// Replace the file if it is there
    #[arg(short, long)]
    pub(crate) force: bool,

    #[command(flatten)]
    pub(crate) backend: BackendArgs,

    /// How to show what happens; auto is tty on a terminal, else plain; json is one object a line on stdout
    #[arg(long, value_enum, default_value_t, value_name = "HOW")]
    pub(crate) progress: Progress,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DiskFormat {
    Qcow2,
    Raw,
    Vmdk,
    Vhdx,
    Vdi,
}

fn age(text: &str) -> Result<Duration, String> {
    let unit = |unit| match unit {
        's' => Some(1),
        'm' => Some(60),
        'h' => Some(60 * 60),
        'd' => Some(24 * 60 * 60),
        'w' => Some(7 * 24 * 60 * 60),
        _ => None,
    };
    let seconds = text.chars().next_back().and_then(|last| {
        let number = text[..text.len() - last.len_utf8()].parse::<u64>().ok()?;
        number.checked_mul(unit(last)?)
    });
    seconds.map(Duration::from_secs).ok_or_else(|| {
        "expected a number of seconds, minutes, hours, days or weeks, as in 90m or 7d".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_a_unit() {
        for (text, seconds) in [("0s", 0), ("90m", 5400), ("12h", 43_200), ("7d", 604_800), ("2w", 1_209_600)]
        {
            assert_eq!(age(text), Ok(Duration::from_secs(seconds)));
        }
        for text in
            ["", "7", "d", "1.5d", "-1d", "7 d", "7é", "99999999999999999999d", "9999999999999999999w"]
        {
            assert!(age(text).is_err(), "{text}");
        }
    }
}
