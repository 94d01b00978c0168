//! Settings of VMs, from flags and configuration files.

use std::path::PathBuf;

use transient_core::{ConfigFile, ImageName, RunOptions, Store, VmConfig};

use crate::cli::{BackendArgs, CopyArgs, SshArgs, VmConfigArgs, VmStoreArgs};
use crate::failure::Failure;

/// The store and what is to run there.
pub(super) struct Settings {
    pub(super) store: Store,
    pub(super) options: RunOptions,
}

impl Settings {
    /// Reads flags, and the configuration file that they name. `appliances` are folders that may hold an appliance.
    pub(super) fn read(
        image: Option<String>,
        args: VmConfigArgs,
        copies: Option<CopyArgs>,
        qemu_args: Vec<String>,
        appliances: Vec<PathBuf>,
    ) -> Result<Self, Failure> {
        let file = args.config.as_deref().map(ConfigFile::read).transpose()?.unwrap_or_default();
        let backend =
            BackendArgs { image_backend: args.backend.image_backend.clone().or(file.image_backend) };
        let vmstore = VmStoreArgs { vmstore: args.vmstore.vmstore.clone().or(file.vmstore) };
        let locations = super::with_appliances(super::locations(backend, Some(vmstore))?, appliances);

        let mut config = file.vm;
        config.merge(of_flags(image, args, qemu_args)?);
        let mut options = RunOptions::new(config);
        options.copy_in_before = file.copy_in_before;
        options.copy_out_after = file.copy_out_after;
        options.copy_timeout = file.copy_timeout;
        if let Some(copies) = copies {
            options.copy_in_before.extend(copies.copy_in_before);
            options.copy_out_after.extend(copies.copy_out_after);
            options.copy_timeout = copies.copy_timeout.or(options.copy_timeout);
        }
        options.inherit_stdio = true;
        Ok(Self { store: Store::new(locations), options })
    }

    /// Refuses settings that name no image.
    pub(super) fn check_image(&self) -> Result<(), Failure> {
        match self.options.config.image.is_empty() {
            true => Err(Failure::Refused {
                kind: transient_core::ErrorKind::InvalidArgument,
                message: "no image is named",
                hints: &["name one: `transient image ls` lists those that are there"],
            }),
            false => Ok(()),
        }
    }
}

fn of_flags(image: Option<String>, args: VmConfigArgs, qemu_args: Vec<String>) -> Result<VmConfig, Failure> {
    let mut config = VmConfig::new(image.unwrap_or_default());
    config.name = args.name.map(ImageName::new).transpose()?;
    config.ssh = args.ssh_console;
    config.ssh_command = args.ssh_command;
    config.ssh_with_serial = args.ssh_with_serial;
    config.ssh_port = args.ssh_port;
    config.ssh_net_driver = args.ssh_net_driver;
    with_ssh(&mut config, args.ssh);
    config.shared_folders = args.shared_folder;
    config.extra_images = args.extra_image;
    config.no_virtio_scsi = args.no_virtio_scsi;
    config.memory = args.memory;
    config.cpus = args.cpus;
    config.shutdown_timeout = args.shutdown_timeout;
    config.qmp_timeout = args.qmp_timeout;
    config.qemu = args.qemu_bin_name;
    config.qemu_args = qemu_args;
    Ok(config)
}

/// Adds how SSH logs in.
pub(super) fn with_ssh(config: &mut VmConfig, args: SshArgs) {
    config.ssh_user = args.ssh_user;
    config.ssh_key = args.ssh_key;
    config.ssh_program = args.ssh_bin_name;
    config.ssh_options = args.ssh_option;
    config.ssh_timeout = args.ssh_timeout;
}
