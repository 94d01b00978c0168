//! What may be typed: every subcommand and flag, defined once for parsing, help, completions and man pages.

mod cache;
mod images;
mod vms;

use std::ffi::OsString;
use std::io::Write;
use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::{ContextKind, ErrorKind};
use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand, ValueEnum, ValueHint};

pub(crate) use cache::CacheCommand;
pub(crate) use images::{DiskFormat, ImageExport, ImageImport, ImagePrune, ImageTag};
pub(crate) use vms::{Commit, CopyArgs, Cp, Create, Ps, Rm, Run, Ssh, SshArgs, Start, Stop, VmConfigArgs};

use crate::failure::Status;

/// Build virtual machine disk images, and run virtual machines from them.
#[derive(Debug, Parser)]
#[command(name = "transient", version, max_term_width = 100, subcommand_required = true)]
#[command(infer_long_args = true, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// Say more: -v the programs that are run, -vv what happens, -vvv every detail
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a VM from an image until its console or SSH session ends; without a name, it keeps nothing
    Run(Box<Run>),
    /// Make a VM in the VM store, without starting it
    Create(Box<Create>),
    /// Start a VM of the VM store
    Start(Box<Start>),
    /// End VMs that run, and wait for their ends
    Stop(Stop),
    /// List the VMs that run
    Ps(Ps),
    /// Get a shell in a VM that runs, or run a command there
    Ssh(Ssh),
    /// Remove VMs from the VM store: all that are named, or none
    Rm(Rm),
    /// Copy files between this host and the disks of VMs that do not run
    Cp(Cp),
    /// Make an image of the disk of a VM that does not run
    Commit(Commit),
    /// Build, pull, list and remove disk images
    #[command(subcommand)]
    Image(ImageCommand),
    /// List and remove what builds keep for the next ones
    #[command(subcommand)]
    Cache(CacheCommand),
    /// Look at or assemble what the builder VM boots
    #[command(subcommand)]
    Appliance(ApplianceCommand),
    /// Print a completion script for a shell
    #[command(hide = true)]
    Completions(Completions),
    /// Write the man pages into a folder, one for each subcommand
    #[command(hide = true)]
    Man(Man),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Build an image from an Imagefile
    Build(Box<ImageBuild>),
    /// Bring images into the backend, those that it lacks
    Pull(ImagePull),
    /// Make a file of this host an image of the backend
    Import(ImageImport),
    /// Write an image to a file of this host
    Export(ImageExport),
    /// List the images of the backend
    Ls(ImageLs),
    /// Show what is known of images, also how they were made
    Inspect(ImageInspect),
    /// Show the steps that made an image and its parents, the newest first
    History(ImageHistory),
    /// Check whether images are whole, or an Imagefile without building it
    Check(ImageCheck),
    /// Give an image another name
    Tag(ImageTag),
    /// Remove images from the backend: all that are named, or none
    Rm(ImageRm),
    /// Remove what nobody needs: abandoned work, and with --all images that no VM uses
    Prune(ImagePrune),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ApplianceCommand {
    /// Assemble an appliance from a kernel, its modules and the filesystem tools of this host
    Build(ApplianceBuild),
    /// Show the appliance that builds use
    Show(ApplianceShow),
}

/// Where the backend is.
#[derive(Debug, Args)]
pub(crate) struct BackendArgs {
    /// The folder of the images [default: $TRANSIENT_BACKEND, else transient/backend in the user's data folder]
    #[arg(long, value_name = "BACKEND", value_hint = ValueHint::DirPath)]
    pub(crate) image_backend: Option<PathBuf>,
}

/// Where the VMs are.
#[derive(Debug, Args)]
pub(crate) struct VmStoreArgs {
    /// The folder of the VMs, whose images are kept [default: $TRANSIENT_VMSTORE, else transient/vmstore in
    /// the user's data folder]
    #[arg(long, value_name = "VMSTORE", value_hint = ValueHint::DirPath)]
    pub(crate) vmstore: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ImageBuild {
    /// The build directory: paths in the Imagefile are relative to it
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) build_dir: PathBuf,

    /// The name of the new image; with --local, the image is NAME.qcow2 in the build directory
    #[arg(long)]
    pub(crate) name: String,

    /// The Imagefile [default: BUILD_DIR/Imagefile]
    #[arg(short, long, value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<PathBuf>,

    /// Put the image into the build directory, not into the backend
    #[arg(long)]
    pub(crate) local: bool,

    /// How the image is compressed
    #[arg(long, value_enum, default_value_t, value_name = "TYPE")]
    pub(crate) compress: Compression,

    /// Carry out every step, also those whose result is in the cache
    #[arg(long)]
    pub(crate) no_cache: bool,

    /// Carry out step STEP, as it is counted in the output, and all that follow, also those whose result is in the cache
    #[arg(long, value_name = "STEP", conflicts_with = "no_cache")]
    pub(crate) no_cache_from: Option<NonZero<usize>>,

    /// Tell what differs from the last build of NAME, so that the first step that is carried out is not in the cache
    #[arg(long)]
    pub(crate) explain: bool,

    /// What to do when a step fails; shell opens one in the state before the step, before the build fails
    #[arg(long, value_enum, default_value_t, value_name = "WHAT")]
    pub(crate) on_failure: OnFailure,

    /// When a step fails, keep the state before it as image NAME, which must be free
    #[arg(long, value_name = "NAME")]
    pub(crate) keep_failed: Option<String>,

    /// What the cache may occupy after the build; what was not used for the longest time goes [default: 20GiB]
    #[arg(long, value_name = "SIZE", value_parser = transient_core::image::parse_bytes)]
    pub(crate) cache_limit: Option<u64>,

    #[command(flatten)]
    pub(crate) backend: BackendArgs,

    #[command(flatten)]
    pub(crate) vmstore: VmStoreArgs,

    /// How to show what happens; auto is tty on a terminal, else plain; json is one object a line on stdout
    #[arg(long, value_enum, default_value_t, value_name = "HOW")]
    pub(crate) progress: Progress,

    #[command(flatten, next_help_heading = "Builder VM")]
    pub(crate) vm: VmArgs,
}

/// How the builder VM is run.
#[derive(Debug, Args)]
pub(crate) struct VmArgs {
    /// Memory, for example 512MiB or 4G [default: 2GiB, or what the host can spare]
    #[arg(long, value_name = "SIZE", value_parser = transient_core::image::parse_bytes)]
    pub(crate) memory: Option<u64>,

    /// Virtual CPUs [default: all of the host, up to 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=255))]
    pub(crate) cpus: Option<u32>,

    /// What runs the instructions of the VM; auto is kvm where that works, else tcg
    #[arg(long, value_enum, default_value_t, value_name = "ACCEL")]
    pub(crate) accel: Accel,

    /// The network of RUN: out to where this host reaches, or none
    #[arg(long, value_enum, default_value_t, value_name = "NETWORK")]
    pub(crate) network: Network,

    /// Boot the builder VM, and do not restore one that was saved when it had booted
    #[arg(long)]
    pub(crate) no_warm_start: bool,

    /// Wait this many seconds for QEMU to answer [default: 10]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) qmp_timeout: Option<Duration>,

    /// Wait this many seconds for the builder VM to answer [default: 90, and three times that without kvm]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) ssh_timeout: Option<Duration>,

    /// The QEMU program, a name or a path
    #[arg(long, value_name = "PROGRAM", default_value = "qemu-system-x86_64", value_hint = ValueHint::CommandName)]
    pub(crate) qemu_bin_name: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct ImagePull {
    /// What to bring in: NAME,http=URL or NAME,file=PATH, with or without ,sha256=DIGEST behind it, or
    /// NAME,vagrant=USER/BOX:VERSION, for which USER/BOX:VERSION is enough
    #[arg(required = true, value_name = "SPEC")]
    pub(crate) specs: Vec<String>,

    #[command(flatten)]
    pub(crate) backend: BackendArgs,

    /// How to show what happens; auto is tty on a terminal, else plain; json is one object a line on stdout
    #[arg(long, value_enum, default_value_t, value_name = "HOW")]
    pub(crate) progress: Progress,
}

#[derive(Debug, Args)]
pub(crate) struct ImageLs {
    #[command(flatten)]
    pub(crate) backend: BackendArgs,

    /// How to print the list, and errors
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct ImageInspect {
    /// The images
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,

    #[command(flatten)]
    pub(crate) backend: BackendArgs,

    #[command(flatten)]
    pub(crate) vmstore: VmStoreArgs,

    /// How to print it, and errors
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct ImageHistory {
    /// The image
    pub(crate) name: String,

    #[command(flatten)]
    pub(crate) backend: BackendArgs,

    /// How to print the steps, and errors
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct ImageCheck {
    /// The images; with --file, the build directory instead [default: the folder of the Imagefile]
    #[arg(value_name = "NAME|BUILD_DIR")]
    pub(crate) names: Vec<String>,

    /// Check an Imagefile, not images [default, if no image is named: Imagefile]
    #[arg(short, long, value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) backend: BackendArgs,

    /// How to print what was found, and errors
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct ImageRm {
    /// The images
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,

    /// Remove also images that VMs use
    #[arg(short, long)]
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
pub(crate) struct ApplianceBuild {
    /// The kernel [default: the newest of this host that can be read]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) kernel: Option<PathBuf>,

    /// The kernel's modules, a folder like /lib/modules/RELEASE [default: those of this host]
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub(crate) modules: Option<PathBuf>,

    /// The folder to make; point TRANSIENT_APPLIANCE at it to use it
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub(crate) output: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct ApplianceShow {
    /// How to print it, and errors
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct Completions {
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub(crate) struct Man {
    /// The folder; it is made when it does not exist
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) folder: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Progress {
    #[default]
    Auto,
    Tty,
    Plain,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    #[default]
    Table,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum OnFailure {
    #[default]
    Stop,
    Shell,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Compression {
    #[default]
    None,
    Zlib,
    Zstd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Accel {
    #[default]
    Auto,
    Kvm,
    Tcg,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Network {
    #[default]
    User,
    None,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| *seconds > 0.0);
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "expected a number of seconds above 0, for example 90".to_owned())
}

/// Returns the whole command, for completions and man pages.
pub(crate) fn command() -> clap::Command {
    Cli::command()
}

/// Parses the arguments. Help and usage errors are printed here; what is left is the exit status.
pub(crate) fn parse(arguments: Vec<OsString>) -> Result<Cli, Status> {
    Cli::try_parse_from(arguments).and_then(consistent).map_err(|error| {
        // A terminal or pipe that is gone changes nothing.
        let _ = match error.kind() {
            ErrorKind::UnknownArgument => write!(std::io::stderr(), "{}", unrecognized(&error)),
            _ => error.print(),
        };
        if error.use_stderr() { Status::Usage } else { Status::Success }
    })
}

/// Refuses what the definitions alone cannot.
fn consistent(cli: Cli) -> Result<Cli, clap::Error> {
    if let Command::Image(ImageCommand::Check(args)) = &cli.command
        && args.file.is_some()
        && args.names.len() > 1
    {
        let message = "an Imagefile has one build directory\n";
        return Err(clap::Error::raw(ErrorKind::TooManyValues, message).with_cmd(&command()));
    }
    Ok(cli)
}

/// Says that an argument is unknown, in words that scripts look for.
fn unrecognized(error: &clap::Error) -> String {
    let context = |kind| error.get(kind).map(ToString::to_string);
    let mut text =
        format!("error: unrecognized arguments: {}\n", context(ContextKind::InvalidArg).unwrap_or_default());
    if let Some(similar) = context(ContextKind::SuggestedArg) {
        text.push_str(&format!("hint: a similar argument exists: {similar}\n"));
    }
    if let Some(usage) = context(ContextKind::Usage) {
        text.push_str(&format!("\n{usage}\n"));
    }
    text + "\nFor more information, try '--help'.\n"
}

#[cfg(test)]
mod tests {
    #[test]
    fn definitions_are_consistent() {
        super::command().debug_assert();
    }

    #[test]
    fn seconds_are_positive_numbers() {
        assert_eq!(super::seconds("1.5").expect("a number").as_millis(), 1500);
        for text in ["0", "-1", "x", "", "nan", "inf", "1e300"] {
            assert!(super::seconds(text).is_err(), "{text}");
        }
    }
}
