//! The subcommands: a file each, those of a VM's life in one.

mod appliance_build;
mod appliance_show;
mod cache;
mod completions;
mod cp;
mod image_build;
mod image_check;
mod image_export;
mod image_history;
mod image_import;
mod image_inspect;
mod image_ls;
mod image_prune;
mod image_pull;
mod image_rm;
mod image_tag;
mod man;
mod ps;
mod session;
mod terminal;
mod vm_config;
mod vms;

use std::path::PathBuf;

use transient_core::{CancelToken, CompressionType, Error, Event, ImageName, Locations, Store};

use crate::cli::{
    ApplianceCommand, BackendArgs, CacheCommand, Cli, Command, Compression, Format, ImageCommand, Progress,
    VmStoreArgs,
};
use crate::failure::{Failure, Status};
use crate::{interrupt, logging, render};

/// Runs what was asked for, and prints the error if there is one.
pub(crate) fn run(cli: Cli, appliances: Vec<PathBuf>) -> Status {
    logging::install(cli.verbose);
    let json = wants_json(&cli.command);
    let result = match cli.command {
        Command::Run(args) => vms::run(*args, appliances),
        Command::Start(args) => vms::start(*args, appliances),
        Command::Ssh(args) => vms::ssh(args),
        command => run_plain(command, appliances).map(|()| Status::Success),
    };
    let failure = match result {
        Ok(status) => return status,
        Err(failure) => failure,
    };
    if json {
        return failure.print_json().status();
    }
    failure.print();
    failure.status()
}

/// Runs what has no status of its own.
fn run_plain(command: Command, appliances: Vec<PathBuf>) -> Result<(), Failure> {
    match command {
        Command::Run(_) | Command::Start(_) | Command::Ssh(_) => Ok(()),
        Command::Create(args) => vms::create(*args, appliances),
        Command::Stop(args) => vms::stop(args),
        Command::Ps(args) => ps::run(args),
        Command::Rm(args) => vms::rm(args),
        Command::Cp(args) => cp::run(args, appliances),
        Command::Commit(args) => vms::commit(args),
        Command::Image(ImageCommand::Build(args)) => image_build::run(*args, appliances),
        Command::Image(ImageCommand::Pull(args)) => image_pull::run(args),
        Command::Image(ImageCommand::Import(args)) => image_import::run(args),
        Command::Image(ImageCommand::Export(args)) => image_export::run(args),
        Command::Image(ImageCommand::Ls(args)) => image_ls::run(args),
        Command::Image(ImageCommand::Inspect(args)) => image_inspect::run(args),
        Command::Image(ImageCommand::History(args)) => image_history::run(args),
        Command::Image(ImageCommand::Check(args)) => image_check::run(args),
        Command::Image(ImageCommand::Tag(args)) => image_tag::run(args),
        Command::Image(ImageCommand::Rm(args)) => image_rm::run(args),
        Command::Image(ImageCommand::Prune(args)) => image_prune::run(args),
        Command::Cache(command) => cache::run(command),
        Command::Appliance(ApplianceCommand::Build(args)) => appliance_build::run(args),
        Command::Appliance(ApplianceCommand::Show(args)) => appliance_show::run(&args, appliances),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
    }
}

fn wants_json(command: &Command) -> bool {
    match command {
        Command::Run(_) | Command::Start(_) | Command::Ssh(_) => false,
        Command::Create(args) => args.format == Format::Json,
        Command::Stop(args) => args.format == Format::Json,
        Command::Ps(args) => args.format == Format::Json,
        Command::Rm(args) => args.format == Format::Json,
        Command::Cp(args) => args.progress == Progress::Json,
        Command::Commit(args) => args.progress == Progress::Json,
        Command::Image(ImageCommand::Build(args)) => args.progress == Progress::Json,
        Command::Image(ImageCommand::Pull(args)) => args.progress == Progress::Json,
        Command::Image(ImageCommand::Import(args)) => args.progress == Progress::Json,
        Command::Image(ImageCommand::Export(args)) => args.progress == Progress::Json,
        Command::Image(ImageCommand::Ls(args)) => args.format == Format::Json,
        Command::Image(ImageCommand::Inspect(args)) => args.format == Format::Json,
        Command::Image(ImageCommand::History(args)) => args.format == Format::Json,
        Command::Image(ImageCommand::Check(args)) => args.format == Format::Json,
        Command::Image(ImageCommand::Tag(args)) => args.format == Format::Json,
        Command::Image(ImageCommand::Rm(args)) => args.format == Format::Json,
        Command::Image(ImageCommand::Prune(args)) => args.format == Format::Json,
        Command::Cache(CacheCommand::Ls(args)) => args.format == Format::Json,
        Command::Cache(CacheCommand::Prune(args)) => args.format == Format::Json,
        Command::Cache(CacheCommand::Rm(_)) => false,
        Command::Appliance(ApplianceCommand::Show(args)) => args.format == Format::Json,
        Command::Appliance(ApplianceCommand::Build(_)) | Command::Completions(_) | Command::Man(_) => false,
    }
}

/// Does long work, whose events are shown, and which a signal ends, or a reader of the events that is gone.
fn watched<T>(
    progress: Progress,
    work: impl FnOnce(&mut dyn FnMut(Event), &CancelToken) -> Result<T, Error>,
) -> Result<T, Failure> {
    let cancel = cancelled_by_signals()?;
    let mut renderer = render::renderer(progress);
    let mut broken = None;
    let mut listener = |event| {
        if broken.is_none()
            && let Err(error) = renderer.event(&event)
        {
            broken = Some(error);
            cancel.cancel();
        }
    };
    let result = work(&mut listener, &cancel);
    renderer.finish();
    match (result, broken) {
        (Err(_), Some(error)) => Err(error.into()),
        (result, _) => Ok(result?),
    }
}

/// Returns a token that signals cancel from now on.
fn cancelled_by_signals() -> Result<CancelToken, Failure> {
    interrupt::token().map_err(|error| Failure::Write("a signal handler".to_owned(), error))
}

/// Returns the store that the flags and the environment name.
fn store(backend: BackendArgs, vmstore: Option<VmStoreArgs>) -> Result<Store, Failure> {
    Ok(Store::new(locations(backend, vmstore)?))
}

fn locations(backend: BackendArgs, vmstore: Option<VmStoreArgs>) -> Result<Locations, Failure> {
    let vmstore = vmstore.and_then(|args| args.vmstore);
    Ok(Locations::from_env_with(backend.image_backend, vmstore)?)
}

/// Adds folders that may hold an appliance, in front of the others.
fn with_appliances(mut locations: Locations, appliances: Vec<PathBuf>) -> Locations {
    locations.appliances.splice(..0, appliances);
    locations
}

fn compression(chosen: Compression) -> Option<CompressionType> {
    match chosen {
        Compression::None => None,
        Compression::Zlib => Some(CompressionType::Zlib),
        Compression::Zstd => Some(CompressionType::Zstd),
    }
}

fn names(names: Vec<String>) -> Result<Vec<ImageName>, Failure> {
    Ok(names.into_iter().map(ImageName::new).collect::<Result<_, _>>()?)
}
