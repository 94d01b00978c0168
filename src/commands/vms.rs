//! `transient run`, `create`, `start`, `stop`, `rm`, `ssh`, `commit`

use std::path::PathBuf;

use serde_json::json;
use transient_core::{ImageName, SshCommand, SshInput, SshSession, VmConfig};

use super::vm_config::{Settings, with_ssh};
use super::{session, terminal};
use crate::cli::{Commit, Create, Format, Progress, Rm, Run, Ssh, Start, Stop};
use crate::failure::{Failure, Status};
use crate::output;

pub(super) fn run(args: Run, appliances: Vec<PathBuf>) -> Result<Status, Failure> {
    let settings = Settings::read(args.image, args.config, Some(args.copies), args.qemu_args, appliances)?;
    settings.check_image()?;
    let Settings { store, options } = &settings;
    session::run(&options.config, |listener, cancel| transient_core::run(store, options, listener, cancel))
}

pub(super) fn create(args: Create, appliances: Vec<PathBuf>) -> Result<(), Failure> {
    let format = args.format;
    let settings = Settings::read(args.image, args.config, None, args.qemu_args, appliances)?;
    settings.check_image()?;
    let Settings { store, options } = &settings;
    let progress = if format == Format::Json { Progress::Json } else { Progress::Auto };
    let name = super::watched(progress, |listener, cancel| {
        transient_core::create(store, &options.config, listener, cancel)
    })?;
    match format {
        Format::Table => output::text(&format!("Created VM '{}'\n", output::printable(&name))),
        Format::Json => output::json(&json!({ "created": name })),
    }
}

pub(super) fn start(args: Start, appliances: Vec<PathBuf>) -> Result<Status, Failure> {
    let name = ImageName::new(args.vm)?;
    let settings = Settings::read(None, args.config, Some(args.copies), args.qemu_args, appliances)?;
    let Settings { store, options } = &settings;
    let mut config = store.vm_config(&name)?;
    config.merge(options.config.clone());
    session::run(&config, |listener, cancel| transient_core::start(store, &name, options, listener, cancel))
}

pub(super) fn stop(args: Stop) -> Result<(), Failure> {
    let names = super::names(args.names)?;
    super::store(args.backend, Some(args.vmstore))?.stop_vms(&names, args.kill)?;
    tell(args.format, "stopped", &names)
}

pub(super) fn rm(args: Rm) -> Result<(), Failure> {
    let names = super::names(args.names)?;
    super::store(args.backend, Some(args.vmstore))?.remove_vms(&names, args.force)?;
    tell(args.format, "removed", &names)
}

fn tell(format: Format, what: &str, names: &[ImageName]) -> Result<(), Failure> {
    let names: Vec<&str> = names.iter().map(ImageName::as_str).collect();
    match format {
        Format::Table => Ok(()),
        Format::Json => output::json(&json!({ what: names })),
    }
}

pub(super) fn ssh(args: Ssh) -> Result<Status, Failure> {
    let name = ImageName::new(args.name)?;
    let store = super::store(args.backend, Some(args.vmstore))?;
    let mut config = VmConfig::default();
    with_ssh(&mut config, args.ssh);
    let options = config.ssh_options();
    let terminal = terminal::ends().map_err(|error| Failure::Write("stdin".to_owned(), error))?;
    let session = match args.ssh_command {
        Some(command) => {
            let mut command = SshCommand::new(command);
            command.input = SshInput::File(terminal.input);
            SshSession::Command(command)
        }
        None => SshSession::Terminal(terminal, None),
    };
    let status = super::watched(Progress::Auto, |listener, cancel| {
        transient_core::ssh(&store, &name, &options, session, args.wait, listener, cancel)
    })?;
    Ok(Status::of_command(status))
}

pub(super) fn commit(args: Commit) -> Result<(), Failure> {
    let (vm, name) = (ImageName::new(args.vm)?, ImageName::new(args.name)?);
    let store = super::store(args.backend, Some(args.vmstore))?;
    let compress = super::compression(args.compress);
    super::watched(args.progress, |listener, cancel| {
        transient_core::commit(&store, &vm, &name, compress, listener, cancel)
    })?;
    Ok(())
}
