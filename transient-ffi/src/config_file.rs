//! Configuration files.

use std::ffi::{CString, c_char};

use transient_core::{ConfigFile, RunOptions};

use crate::boundary::{Out, borrow, fallible, free, read};
use crate::error::transient_error;
use crate::run::transient_run_options;
use crate::status::transient_status;
use crate::text::{self, address, c_path};
use crate::vm_config::transient_vm_config;

/// What a configuration file says. It never changes: several threads may read it at once.
#[derive(Debug)]
pub struct transient_config_file {
    file: ConfigFile,
    backend: Option<CString>,
    vmstore: Option<CString>,
}

/// Reads a configuration file: TOML with the names of the command line's flags as keys. The caller owns `*file_out`:
/// `transient_config_file_free`. Any thread may call this.
///
/// Fails with `TRANSIENT_STATUS_INVALID_ARGUMENT`, whose message names all that is wrong with their lines, and with
/// `TRANSIENT_STATUS_IO`.
#[unsafe(no_mangle)]
pub extern "C" fn transient_config_file_read(
    path: *const c_char,
    file_out: *mut *mut transient_config_file,
    error_out: *mut *mut transient_error,
) -> transient_status {
    fallible(error_out, || {
        let out = Out::new(file_out, "file_out")?;
        let file = ConfigFile::read(&text::path(path, "path")?)?;
        let (backend, vmstore) = (file.image_backend.as_deref(), file.vmstore.as_deref());
        out.give(transient_config_file { backend: backend.map(c_path), vmstore: vmstore.map(c_path), file });
        Ok(())
    })
}

/// Makes the settings of a VM that the file has. The caller owns `*config_out`: `transient_vm_config_free`. Any thread
/// may call this.
#[unsafe(no_mangle)]
pub extern "C" fn transient_config_file_vm_config(
    file: *const transient_config_file,
    config_out: *mut *mut transient_vm_config,
    error_out: *mut *mut transient_error,
) -> transient_status {
    fallible(error_out, || {
        let out = Out::new(config_out, "config_out")?;
        out.give(transient_vm_config(borrow(file, "file")?.file.vm.clone()));
        Ok(())
    })
}

/// Makes options to run that VM, with the copies that the file names, and how long they may take. The caller owns
/// `*options_out`: `transient_run_options_free`. Any thread may call this.
#[unsafe(no_mangle)]
pub extern "C" fn transient_config_file_run_options(
    file: *const transient_config_file,
    options_out: *mut *mut transient_run_options,
    error_out: *mut *mut transient_error,
) -> transient_status {
    fallible(error_out, || {
        let out = Out::new(options_out, "options_out")?;
        let file = borrow(file, "file")?.file.clone();
        let mut options = RunOptions::new(file.vm);
        options.copy_in_before = file.copy_in_before;
        options.copy_out_after = file.copy_out_after;
        options.copy_timeout = file.copy_timeout;
        out.give(transient_run_options(options));
        Ok(())
    })
}

/// Returns the backend that the file names, for `transient_locations_set_backend`; NULL when it names none. Lives as
/// long as the file.
#[unsafe(no_mangle)]
pub extern "C" fn transient_config_file_backend(file: *const transient_config_file) -> *const c_char {
    read(file, |file| address(file.backend.as_ref()))
}

/// Returns the VM store that the file names, for `transient_locations_set_vmstore`; NULL when it names none. Lives as
/// long as the file.
#[unsafe(no_mangle)]
pub extern "C" fn transient_config_file_vmstore(file: *const transient_config_file) -> *const c_char {
    read(file, |file| address(file.vmstore.as_ref()))
}

/// Frees what `transient_config_file_read` gave. NULL is ignored.
#[unsafe(no_mangle)]
pub extern "C" fn transient_config_file_free(file: *mut transient_config_file) {
    free(file);
}
