//! What a VM is made of.

use std::ffi::c_char;

use transient_core::{SharedFolder, VmConfig};

use crate::boundary::{Failure, Out, borrow, borrow_mut, change, fallible, free, read};
use crate::duration;
use crate::error::transient_error;
use crate::ssh::transient_ssh_options;
use crate::status::transient_status;
use crate::store::{image_name, transient_store};
use crate::text::{self, c_string};

/// The settings of a VM. It may be used by several calls at once; it must not be changed meanwhile.
#[derive(Debug)]
pub struct transient_vm_config(pub(crate) VmConfig);

/// Makes settings with all defaults. `image` is what the VM starts from, an image spec, `NAME` or
/// `NAME,PROTO=SOURCE`; it is copied. It may be NULL for `transient_vm_start`, for which a VM has its image already. The
/// caller owns `*config_out`: `transient_vm_config_free`. Any thread may call this.
#[unsafe(no_mangle)]
pub extern "C" fn transient_vm_config_new(
    image: *const c_char,
    config_out: *mut *mut transient_vm_config,
    error_out: *mut *mut transient_error,
) -> transient_status {
    fallible(error_out, || {
        let out = Out::new(config_out, "config_out")?;
        let image = text::optional_string(image, "image")?.unwrap_or_default();
        out.give(transient_vm_config(VmConfig::new(image)));
        Ok(())
    })
}

/// Reads the settings of a VM of the VM store. The caller owns `*config_out`: `transient_vm_config_free`. Any thread may
/// call this.
///
/// Fails with `TRANSIENT_STATUS_VM_NOT_FOUND`, and as `transient_config_file_read`.
#[unsafe(no_mangle)]
pub extern "C" fn transient_store_vm_config(
    store: *const transient_store,
    name: *const c_char,
    config_out: *mut *mut transient_vm_config,
    error_out: *mut *mut transient_error,
) -> transient_status {
    fallible(error_out, || {
        let out = Out::new(config_out, "config_out")?;
        out.give(transient_vm_config(borrow(store, "store")?.store.vm_config(&image_name(name)?)?));
        Ok(())
    })
}

/// Frees settings. NULL is ignored.
#[unsafe(no_mangle)]
pub extern "C" fn transient_vm_config_free(config: *mut transient_vm_config) {
    free(config);
}

/// Adds the settings of `over` to those of `config`: what it sets wins, its lists are appended. `over` is copied.
#[unsafe(no_mangle)]
pub extern "C" fn transient_vm_config_merge(
    config: *mut transient_vm_config,
    over: *const transient_vm_config,
    error_out: *mut *mut transient_error,
) -> transient_status {
    fallible(error_out, || {
        let over = borrow(over, "over")?.0.clone();
        borrow_mut(config, "config")?.0.merge(over);
        Ok(())
    })
}

/// Returns whether a person or a command uses SSH. NULL gives false.
#[unsafe(no_mangle)]
pub extern "C" fn transient_vm_config_has_ssh_session(config: *const transient_vm_config) -> bool {
    read(config, |config| config.0.has_ssh_session())
}

/// Returns whether the guest is reached by SSH, be it only for its shared folders. NULL gives false.
#[unsafe(no_mangle)]
pub extern "C" fn transient_vm_config_has_ssh(config: *const transient_vm_config) -> bool {
    read(config, |config| config.0.has_ssh())
}

/// Returns what SSH runs in place of a shell, NULL when that is not set. The caller owns the string:
/// `transient_string_free`.
#[unsafe(no_mangle)]
pub extern "C" fn transient_vm_config_ssh_command(config: *const transient_vm_config) -> *mut c_char {
    read(config, |config| {
        config.0.ssh_command.as_ref().map_or(std::ptr::null_mut(), |command| c_string(command).into_raw())
    })
}

/// Makes the options of SSH that these settings have, for `transient_ssh`. The caller owns `*options_out`:
/// `transient_ssh_options_free`. Any thread may call this.
#[unsafe(no_mangle)]
pub extern "C" fn transient_vm_config_ssh_options(
    config: *const transient_vm_config,
    options_out: *mut *mut transient_ssh_options,
    error_out: *mut *mut transient_error,
) -> transient_status {
    fallible(error_out, || {
        let out = Out::new(options_out, "options_out")?;
        out.give(transient_ssh_options(borrow(config, "config")?.0.ssh_options()));
        Ok(())
    })
}

/// Sets what the VM starts from, an image spec. `image` is copied.
#[unsafe(no_mangle)]
pub extern "C" fn transient_vm_config_set_image(
    config: *mut transient_vm_config,
    image: *const c_char,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(config, "config", error_out, |config| {
        config.0.image = text::string(image, "image")?.to_owned();
        Ok(())
    })
}

/// Sets the VM's name, by the rules for names of images; NULL is none: of such a VM nothing is kept. `name` is copied.
///
/// Fails with `TRANSIENT_STATUS_INVALID_IMAGE_NAME`.
#[unsafe(no_mangle)]
pub extern "C" fn transient_vm_config_set_name(
    config: *mut transient_vm_config,
    name: *const c_char,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(config, "config", error_out, |config| {
        config.0.name = if name.is_null() { None } else { Some(image_name(name)?) };
        Ok(())
    })
}

/// Adds a disk: an image spec, which is copied.
#[unsafe(no_mangle)]
pub extern "C" fn transient_vm_config_add_extra_image(
    config: *mut transient_vm_config,
    image: *const c_char,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(config, "config", error_out, |config| {
        config.0.extra_images.push(text::string(image, "image")?.to_owned());
        Ok(())
    })
}

/// Sets whether the guest is reached by SSH: it then has a network card, and a port of this host's loopback leads to
/// its port 22. The default is false.
#[unsafe(no_mangle)]
pub extern "C" fn transient_vm_config_set_ssh(
    config: *mut transient_vm_config,
    ssh: bool,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(config, "config", error_out, |config| {
        config.0.ssh = ssh;
        Ok(())
    })
}

/// Sets what SSH runs in place of a shell when the VM is started by `transient start`; NULL is a shell. It implies
/// `transient_vm_config_set_ssh`. `command` is copied. Nothing runs by itself: see `transient_vm_ssh`.
#[unsafe(no_mangle)]
pub extern "C" fn transient_vm_config_set_ssh_command(
    config: *mut transient_vm_config,
    command: *const c_char,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(config, "config", error_out, |config| {
        config.0.ssh_command = text::optional_string(command, "command")?.map(str::to_owned);
        Ok(())
    })
}

/// Sets whether `TRANSIENT_EVENT_KIND_SERIAL_OUTPUT` tells what the serial console shows until SSH is connected. It
/// implies `transient_vm_config_set_ssh`. The default is false.
#[unsafe(no_mangle)]
pub extern "C" fn transient_vm_config_set_ssh_with_serial(
    config: *mut transient_vm_config,
    serial: bool,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(config, "config", error_out, |config| {
        config.0.ssh_with_serial = serial;
        Ok(())
    })
}

/// Sets who logs in; NULL is `vagrant`, the default. `user` is copied.
#[unsafe(no_mangle)]
pub extern "C" fn transient_vm_config_set_ssh_user(
    config: *mut transient_vm_config,
    user: *const c_char,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(config, "config", error_out, |config| {
        config.0.ssh_user = text::optional_string(user, "user")?.map(str::to_owned);
        Ok(())
    })
}

/// Sets the private key to log in with. NULL, the default: the user's agent and default keys, then the well-known key
/// of vagrant boxes. `path` is copied.
#[unsafe(no_mangle)]
pub extern "C" fn transient_vm_config_set_ssh_key(
    config: *mut transient_vm_config,
    path: *const c_char,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(config, "config", error_out, |config| {
        config.0.ssh_key = text::optional_path(path, "path")?;
        Ok(())
    })
}

/// Sets the SSH program that is used in place of the library's own client; NULL is none, the default. `program` is
/// copied.
#[unsafe(no_mangle)]
pub extern "C" fn transient_vm_config_set_ssh_program(
    config: *mut transient_vm_config,
    program: *const c_char,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(config, "config", error_out, |config| {
        config.0.ssh_program = text::optional_path(program, "program")?;
        Ok(())
    })
}

/// Adds an option for `-o` of OpenSSH, which is then used in place of the library's own client. `option` is copied.
#[unsafe(no_mangle)]
pub extern "C" fn transient_vm_config_add_ssh_option(
    config: *mut transient_vm_config,
    option: *const c_char,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(config, "config", error_out, |config| {
        config.0.ssh_options.push(text::string(option, "option")?.to_owned());
        Ok(())
    })
}

/// Sets the port of this host that leads to the guest's port 22; 0 is one that is free, the default.
#[unsafe(no_mangle)]
pub extern "C" fn transient_vm_config_set_ssh_port(
    config: *mut transient_vm_config,
    port: u16,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(config, "config", error_out, |config| {
        config.0.ssh_port = (port != 0).then_some(port);
        Ok(())
    })
}

/// Sets QEMU's name of the network card for SSH; NULL is `virtio-net-pci`, the default. `driver` is copied.
#[unsafe(no_mangle)]
pub extern "C" fn transient_vm_config_set_ssh_net_driver(
    config: *mut transient_vm_config,
    driver: *const c_char,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(config, "config", error_out, |config| {
        config.0.ssh_net_driver = text::optional_string(driver, "driver")?.map(str::to_owned);
        Ok(())
    })
}

/// Sets how many seconds the guest may take to accept SSH; 0 is the default, 90.
#[unsafe(no_mangle)]
pub extern "C" fn transient_vm_config_set_ssh_timeout(
    config: *mut transient_vm_config,
    seconds: f64,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(config, "config", error_out, |config| {
        config.0.ssh_timeout = duration::optional(seconds)?;
        Ok(())
    })
}

/// Adds a folder of this host that the guest sees at `guest`, an absolute path; with `read_only`, it can change nothing
/// in it. Both are copied. The guest needs `sshfs`.
#[unsafe(no_mangle)]
pub extern "C" fn transient_vm_config_add_shared_folder(
    config: *mut transient_vm_config,
    host: *const c_char,
    guest: *const c_char,
    read_only: bool,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(config, "config", error_out, |config| {
        let guest = text::string(guest, "guest")?.to_owned();
        if !guest.starts_with('/') {
            return Err(Failure::Argument(format!("'{guest}' is no absolute path of the guest")));
        }
        let host = text::path(host, "host")?;
        config.0.shared_folders.push(SharedFolder { host, guest, read_only });
        Ok(())
    })
}

/// Sets whether disks are what QEMU has by default (IDE), and not on virtio-scsi. The default is false.
#[unsafe(no_mangle)]
pub extern "C" fn transient_vm_config_set_no_virtio_scsi(
    config: *mut transient_vm_config,
    no_virtio_scsi: bool,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(config, "config", error_out, |config| {
        config.0.no_virtio_scsi = no_virtio_scsi;
        Ok(())
    })
}

/// Sets its memory, in bytes; 0 is QEMU's default.
#[unsafe(no_mangle)]
pub extern "C" fn transient_vm_config_set_memory(
    config: *mut transient_vm_config,
    bytes: u64,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(config, "config", error_out, |config| {
        config.0.memory = (bytes != 0).then_some(bytes);
        Ok(())
    })
}

/// Sets its virtual CPUs; 0 is one, the default.
#[unsafe(no_mangle)]
pub extern "C" fn transient_vm_config_set_cpus(
    config: *mut transient_vm_config,
    cpus: u32,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(config, "config", error_out, |config| {
        config.0.cpus = (cpus != 0).then_some(cpus);
        Ok(())
    })
}

/// Sets how many seconds the guest may take to shut down before QEMU is ended. The default is 20; with 0 the guest is
/// not asked.
#[unsafe(no_mangle)]
pub extern "C" fn transient_vm_config_set_shutdown_timeout(
    config: *mut transient_vm_config,
    seconds: f64,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(config, "config", error_out, |config| {
        config.0.shutdown_timeout = Some(duration::duration(seconds)?);
        Ok(())
    })
}

/// Sets how many seconds QEMU may take to answer; 0 is the default, 10.
#[unsafe(no_mangle)]
pub extern "C" fn transient_vm_config_set_qmp_timeout(
    config: *mut transient_vm_config,
    seconds: f64,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(config, "config", error_out, |config| {
        config.0.qmp_timeout = duration::optional(seconds)?;
        Ok(())
    })
}

/// Sets the QEMU program, a name or a path; NULL is `qemu-system-x86_64`, the default. `program` is copied.
#[unsafe(no_mangle)]
pub extern "C" fn transient_vm_config_set_qemu(
    config: *mut transient_vm_config,
    program: *const c_char,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(config, "config", error_out, |config| {
        config.0.qemu = text::optional_path(program, "program")?;
        Ok(())
    })
}

/// Adds an argument for QEMU, which gets it untouched, behind those that were added before. `argument` is copied.
#[unsafe(no_mangle)]
pub extern "C" fn transient_vm_config_add_qemu_arg(
    config: *mut transient_vm_config,
    argument: *const c_char,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(config, "config", error_out, |config| {
        config.0.qemu_args.push(text::string(argument, "argument")?.to_owned());
        Ok(())
    })
}
