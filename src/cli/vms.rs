//! The subcommands for VMs.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueHint};
use transient_core::{FileCopy, SharedFolder};

use super::{BackendArgs, Compression, Format, Progress, VmStoreArgs, seconds};

/// How a VM is made and reached.
#[derive(Debug, Args)]
pub(crate) struct VmConfigArgs {
    /// The VM's name in the VM store
    #[arg(long)]
    pub(crate) name: Option<String>,

    /// Read settings from a TOML file, whose keys are these flags; what is given here wins, lists are appended
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,

    /// Use SSH, and not the serial console
    #[arg(long, visible_alias = "ssh")]
    pub(crate) ssh_console: bool,

    /// Run a command by SSH, and exit with its status
    #[arg(long, visible_alias = "cmd", value_name = "COMMAND")]
    pub(crate) ssh_command: Option<String>,

    /// Show the serial console until SSH is connected; implies --ssh-console
    #[arg(long, visible_alias = "sshs")]
    pub(crate) ssh_with_serial: bool,

    /// The port of this host's loopback that leads to the guest's port 22 [default: one that is free]
    #[arg(long, value_name = "PORT")]
    pub(crate) ssh_port: Option<u16>,

    /// QEMU's network card for SSH [default: virtio-net-pci]
    #[arg(long, value_name = "DRIVER")]
    pub(crate) ssh_net_driver: Option<String>,

    #[command(flatten)]
    pub(crate) ssh: SshArgs,

    /// Have the guest mount a folder of this host, by its sshfs: HOST:GUEST, or HOST:GUEST:ro (can be repeated)
    #[arg(short, long, value_name = "FOLDER")]
    pub(crate) shared_folder: Vec<SharedFolder>,

    /// Add a disk from another image (can be repeated)
    #[arg(long, value_name = "SPEC")]
    pub(crate) extra_image: Vec<String>,

    /// Have QEMU's default disks (IDE), and not virtio-scsi
    #[arg(long)]
    pub(crate) no_virtio_scsi: bool,

    /// Memory, for example 512MiB or 4G [default: QEMU's]
    #[arg(long, value_name = "SIZE", value_parser = transient_core::image::parse_bytes)]
    pub(crate) memory: Option<u64>,

    /// Virtual CPUs [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=255))]
    pub(crate) cpus: Option<u32>,

    /// Wait this many seconds for the guest to shut down before QEMU is ended [default: 20]
    #[arg(long, value_name = "SECONDS", value_parser = seconds_or_none)]
    pub(crate) shutdown_timeout: Option<Duration>,

    /// Wait this many seconds for QEMU to answer [default: 10]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) qmp_timeout: Option<Duration>,

    /// The QEMU program, a name or a path [default: qemu-system-x86_64]
    #[arg(long, value_name = "PROGRAM", value_hint = ValueHint::CommandName)]
    pub(crate) qemu_bin_name: Option<PathBuf>,

    /// Taken for the sake of older scripts: folders are served without it
    #[arg(long, hide = true)]
    pub(crate) sftp_bin_name: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) backend: BackendArgs,

    #[command(flatten)]
    pub(crate) vmstore: VmStoreArgs,
}

/// How SSH logs in.
#[derive(Debug, Args)]
pub(crate) struct SshArgs {
    /// Who logs in [default: vagrant]
    #[arg(long, value_name = "USER")]
    pub(crate) ssh_user: Option<String>,

    /// The private key to log in with [default: those of the user's agent and ~/.ssh, then the well-known vagrant key]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) ssh_key: Option<PathBuf>,

    /// Use this SSH program, and not the SSH client within
    #[arg(long, value_name = "PROGRAM", value_hint = ValueHint::CommandName)]
    pub(crate) ssh_bin_name: Option<PathBuf>,

    /// An option for OpenSSH's ssh -o, which is used then (can be repeated)
    #[arg(short = 'o', long, value_name = "OPTION")]
    pub(crate) ssh_option: Vec<String>,

    /// Wait this many seconds for the guest to accept SSH [default: 90]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) ssh_timeout: Option<Duration>,
}

/// What is copied before and after a VM runs.
#[derive(Debug, Args)]
pub(crate) struct CopyArgs {
    /// Copy a file or folder into the VM's disk before it starts: HOST:/PATH (can be repeated)
    #[arg(short = 'b', long, value_name = "COPY", value_parser = FileCopy::into_vm)]
    pub(crate) copy_in_before: Vec<FileCopy>,

    /// Copy a file or folder out of the VM's disk when it has ended: /PATH:HOST (can be repeated)
    #[arg(short = 'a', long, value_name = "COPY", value_parser = FileCopy::out_of_vm)]
    pub(crate) copy_out_after: Vec<FileCopy>,

    /// The most seconds that the copies before, and those after, may take
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) copy_timeout: Option<Duration>,

    /// Taken for the sake of older scripts: copies keep all that rsync keeps
    #[arg(long)]
    pub(crate) rsync: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The image to start: its name, or a spec as of `transient image pull`
    pub(crate) image: Option<String>,

    #[command(flatten)]
    pub(crate) config: VmConfigArgs,

    #[command(flatten)]
    pub(crate) copies: CopyArgs,

    /// Arguments for QEMU, which gets them untouched
    #[arg(last = true, value_name = "QEMU_ARGS")]
    pub(crate) qemu_args: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The image that the VM's disk stands on: its name, or a spec as of `transient image pull`
    pub(crate) image: Option<String>,

    #[command(flatten)]
    pub(crate) config: VmConfigArgs,

    /// How to print what was made, and errors
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,

    /// Arguments for QEMU, which gets them untouched
    #[arg(last = true, value_name = "QEMU_ARGS")]
    pub(crate) qemu_args: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Start {
    /// The VM
    #[arg(value_name = "NAME")]
    pub(crate) vm: String,

    #[command(flatten)]
    pub(crate) config: VmConfigArgs,

    #[command(flatten)]
    pub(crate) copies: CopyArgs,

    /// Arguments for QEMU, which gets them untouched, after those that the VM has
    #[arg(last = true, value_name = "QEMU_ARGS")]
    pub(crate) qemu_args: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Stop {
    /// The VMs
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,

    /// Kill QEMU, and do not ask the guest to shut down
    #[arg(short, long)]
    pub(crate) kill: bool,

    #[command(flatten)]
    pub(crate) backend: BackendArgs,

    #[command(flatten)]
    pub(crate) vmstore: VmStoreArgs,

    /// How to print what was stopped, and errors
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct Ps {
    /// Also list the VMs that do not run
    #[arg(short, long)]
    pub(crate) all: bool,

    /// Show whether SSH reaches them
    #[arg(long)]
    pub(crate) ssh: bool,

    /// Show the processes that they end with
    #[arg(long)]
    pub(crate) pid: bool,

    #[command(flatten)]
    pub(crate) backend: BackendArgs,

    #[command(flatten)]
    pub(crate) vmstore: VmStoreArgs,

    /// How to print the list, and errors
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct Ssh {
    /// The VM
    pub(crate) name: String,

    /// Run a command, and exit with its status
    #[arg(long, visible_alias = "cmd", value_name = "COMMAND")]
    pub(crate) ssh_command: Option<String>,

    /// Wait for the VM to run, at most --ssh-timeout
    #[arg(short, long)]
    pub(crate) wait: bool,

    #[command(flatten)]
    pub(crate) ssh: SshArgs,

    #[command(flatten)]
    pub(crate) backend: BackendArgs,

    #[command(flatten)]
    pub(crate) vmstore: VmStoreArgs,
}

#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// The VMs
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,

    /// Stop those that run, and remove also what is broken
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

/// Copy files between this host and the disks of VMs that do not run.
#[derive(Debug, Args)]
pub(crate) struct Cp {
    /// Sources and the destination: VM:/PATH, or a path of this host. Either all sources are of VMs, or the destination
    /// is
    #[arg(required = true, num_args = 2.., value_name = "PATH")]
    pub(crate) paths: Vec<String>,

    /// The most seconds that the copies may take
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) copy_timeout: Option<Duration>,

    /// Taken for the sake of older scripts: copies keep all that rsync keeps
    #[arg(long)]
    pub(crate) rsync: bool,

    #[command(flatten)]
    pub(crate) backend: BackendArgs,

    #[command(flatten)]
    pub(crate) vmstore: VmStoreArgs,

    /// How to show what happens; auto is tty on a terminal, else plain; json is one object a line on stdout
    #[arg(long, value_enum, default_value_t, value_name = "HOW")]
    pub(crate) progress: Progress,
}

#[derive(Debug, Args)]
pub(crate) struct Commit {
    /// The VM, which must not run
    pub(crate) vm: String,

    /// The name of the new image
    pub(crate) name: String,

    /// How the image is compressed
    #[arg(long, value_enum, default_value_t, value_name = "TYPE")]
    pub(crate) compress: Compression,

    #[command(flatten)]
    pub(crate) backend: BackendArgs,

    #[command(flatten)]
    pub(crate) vmstore: VmStoreArgs,

    /// How to show what happens; auto is tty on a terminal, else plain; json is one object a line on stdout
    #[arg(long, value_enum, default_value_t, value_name = "HOW")]
    pub(crate) progress: Progress,
}

/// As [`seconds`], or 0 for not waiting at all.
fn seconds_or_none(text: &str) -> Result<Duration, String> {
    if text.parse() == Ok(0.0) { Ok(Duration::ZERO) } else { seconds(text) }
}
