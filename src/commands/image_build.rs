//! `transient image build`

use std::num::NonZero;
use std::path::PathBuf;

use transient_core::{Accelerator, BuildOptions, ImageName, OnFailure, Store, VmOptions, build};

use super::terminal;
use crate::cli::{self, ImageBuild, Progress, VmArgs};
use crate::failure::Failure;

pub(super) fn run(args: ImageBuild, appliances: Vec<PathBuf>) -> Result<(), Failure> {
    let mut options = BuildOptions::new(args.build_dir, ImageName::new(args.name)?);
    options.file = args.file;
    options.local = args.local;
    options.compress = super::compression(args.compress);
    options.no_cache_from = if args.no_cache { Some(1) } else { args.no_cache_from.map(NonZero::get) };
    options.explain = args.explain;
    options.on_failure = match args.on_failure {
        cli::OnFailure::Stop => OnFailure::Stop,
        cli::OnFailure::Shell => OnFailure::Shell,
    };
    options.keep_failed = args.keep_failed.map(ImageName::new).transpose()?;
    options.cache_limit = args.cache_limit.unwrap_or(options.cache_limit);
    options.vm = vm_options(args.vm);
    // With JSON on stdout, a shell's output would be none.
    options.terminal = if args.progress == Progress::Json { None } else { terminal::own() };

    let locations = super::locations(args.backend, Some(args.vmstore))?;
    let store = Store::new(super::with_appliances(locations, appliances));
    super::watched(args.progress, |listener, cancel| build(&store, &options, listener, cancel))?;
    Ok(())
}

fn vm_options(args: VmArgs) -> VmOptions {
    let mut options = VmOptions::default();
    options.memory = args.memory;
    options.cpus = args.cpus;
    options.accelerator = match args.accel {
        cli::Accel::Auto => Accelerator::Auto,
        cli::Accel::Kvm => Accelerator::Kvm,
        cli::Accel::Tcg => Accelerator::Tcg,
    };
    options.network = match args.network {
        cli::Network::User => transient_core::Network::User,
        cli::Network::None => transient_core::Network::None,
    };
    options.warm_start = !args.no_warm_start;
    options.qemu = args.qemu_bin_name;
    options.qmp_timeout = args.qmp_timeout;
    options.ssh_timeout = args.ssh_timeout;
    options
}
