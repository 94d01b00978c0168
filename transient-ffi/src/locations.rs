//! Where things are on the host.

use std::ffi::c_char;
use std::path::{Path, PathBuf};

use transient_core::Locations;

use crate::boundary::{Failure, Out, borrow, borrow_mut, fallible, free};
use crate::error::transient_error;
use crate::status::transient_status;
use crate::text;

/// The folders that the library works with, and how images are downloaded.
#[derive(Debug)]
pub struct transient_locations(pub(crate) Locations);

/// Returns the locations that a handle holds, or those of the environment for null.
pub(crate) fn resolve(locations: *const transient_locations) -> Result<Locations, Failure> {
    match borrow(locations, "locations") {
        Ok(locations) => Ok(locations.0.clone()),
        Err(_) => from_env(),
    }
}

fn from_env() -> Result<Locations, Failure> {
    let mut locations = Locations::from_env()?;
    // The program that loads the library may be anywhere; the appliance lies beside the library.
    locations.appliances.splice(0..0, beside_this_library());
    Ok(locations)
}

/// Returns `transient/appliance` in the folder of the shared library, or of the program that it is linked into.
fn beside_this_library() -> Option<PathBuf> {
    let mut info = std::mem::MaybeUninit::<libc::Dl_info>::zeroed();
    let here = transient_locations_free as *const () as *const libc::c_void;
    // SAFETY: any address may be asked about, and the answer has a valid place.
    if unsafe { libc::dladdr(here, info.as_mut_ptr()) } == 0 {
        return None;
    }
    // SAFETY: `dladdr` has filled it in.
    let name = unsafe { info.assume_init() }.dli_fname;
    let file = text::path(name, "dli_fname").ok()?;
    Some(Path::new(&file).canonicalize().ok()?.parent()?.join("transient/appliance"))
}

/// Reads the locations from the environment: `TRANSIENT_BACKEND`, `TRANSIENT_VMSTORE`, `TRANSIENT_CACHE`,
/// `TRANSIENT_APPLIANCE`, `XDG_DATA_HOME`, `XDG_CACHE_HOME`, `HOME`; for VMs that run `XDG_RUNTIME_DIR`, else
/// `TMPDIR`; for what they write and do not keep `TMPDIR`, else `/var/tmp`; for SSH `SSH_AUTH_SOCK`. An appliance is
/// also looked for in `transient/appliance` beside this library. How images are downloaded is read from `http_proxy`,
/// `https_proxy`, `all_proxy`, `no_proxy`, `SSL_CERT_FILE`, `SSL_CERT_DIR`, `VAGRANT_SERVER_URL`,
/// `VAGRANT_CLOUD_TOKEN` and `ATLAS_TOKEN`.
///
/// The caller owns `*locations_out`: `transient_locations_free`. No other thread may change the environment
/// meanwhile.
///
/// Fails with `TRANSIENT_STATUS_INVALID_ARGUMENT` when a location is not named and there is no `HOME` either.
#[unsafe(no_mangle)]
pub extern "C" fn transient_locations_from_env(
    locations_out: *mut *mut transient_locations,
    error_out: *mut *mut transient_error,
) -> transient_status {
    fallible(error_out, || {
        let out = Out::new(locations_out, "locations_out")?;
        out.give(transient_locations(from_env()?));
        Ok(())
    })
}

/// Makes locations with everything below one folder: `backend`, `vmstore`, `cache`, `running` and `temporary`. Reads no
/// environment, and knows neither an SSH agent nor SSH keys. An appliance is looked for in `transient/appliance` beside
/// this library.
///
/// The caller owns `*locations_out`: `transient_locations_free`. Any thread may call this.
#[unsafe(no_mangle)]
pub extern "C" fn transient_locations_below(
    folder: *const c_char,
    locations_out: *mut *mut transient_locations,
    error_out: *mut *mut transient_error,
) -> transient_status {
    fallible(error_out, || {
        let out = Out::new(locations_out, "locations_out")?;
        let mut locations = Locations::below(text::path(folder, "folder")?);
        locations.appliances.extend(beside_this_library());
        out.give(transient_locations(locations));
        Ok(())
    })
}

/// Frees locations. NULL is ignored.
#[unsafe(no_mangle)]
pub extern "C" fn transient_locations_free(locations: *mut transient_locations) {
    free(locations);
}

fn set(
    locations: *mut transient_locations,
    path: *const c_char,
    error_out: *mut *mut transient_error,
    field: impl FnOnce(&mut Locations, PathBuf),
) -> transient_status {
    fallible(error_out, || {
        let locations = borrow_mut(locations, "locations")?;
        field(&mut locations.0, text::path(path, "path")?);
        Ok(())
    })
}

/// Sets the folder of the images. `path` is copied. No other thread may use `locations` meanwhile.
#[unsafe(no_mangle)]
pub extern "C" fn transient_locations_set_backend(
    locations: *mut transient_locations,
    path: *const c_char,
    error_out: *mut *mut transient_error,
) -> transient_status {
    set(locations, path, error_out, |locations, path| locations.backend = path)
}

/// Sets the folder of the VMs. `path` is copied. No other thread may use `locations` meanwhile.
#[unsafe(no_mangle)]
pub extern "C" fn transient_locations_set_vmstore(
    locations: *mut transient_locations,
    path: *const c_char,
    error_out: *mut *mut transient_error,
) -> transient_status {
    set(locations, path, error_out, |locations, path| locations.vmstore = path)
}

/// Sets the folder of what may be thrown away. `path` is copied. No other thread may use `locations` meanwhile.
#[unsafe(no_mangle)]
pub extern "C" fn transient_locations_set_cache(
    locations: *mut transient_locations,
    path: *const c_char,
    error_out: *mut *mut transient_error,
) -> transient_status {
    set(locations, path, error_out, |locations, path| locations.cache = path)
}

/// Sets the appliance that must be used; no other is looked for then. `path` is copied. No other thread may use
/// `locations` meanwhile.
#[unsafe(no_mangle)]
pub extern "C" fn transient_locations_set_appliance(
    locations: *mut transient_locations,
    path: *const c_char,
    error_out: *mut *mut transient_error,
) -> transient_status {
    set(locations, path, error_out, |locations, path| locations.appliance = Some(path))
}

/// Adds a folder that may hold an appliance, behind those that are there: the first that does is used. `path` is
/// copied. No other thread may use `locations` meanwhile.
#[unsafe(no_mangle)]
pub extern "C" fn transient_locations_add_appliance(
    locations: *mut transient_locations,
    path: *const c_char,
    error_out: *mut *mut transient_error,
) -> transient_status {
    set(locations, path, error_out, |locations, path| locations.appliances.push(path))
}

/// Sets the folder of the VMs that run. It belongs to this user alone, and is made where it is not there. `path` is
/// copied. No other thread may use `locations` meanwhile.
#[unsafe(no_mangle)]
pub extern "C" fn transient_locations_set_running(
    locations: *mut transient_locations,
    path: *const c_char,
    error_out: *mut *mut transient_error,
) -> transient_status {
    set(locations, path, error_out, |locations, path| locations.running = path)
}

/// Sets the folder in which VMs that keep nothing have what they write meanwhile. `path` is copied. No other thread may
/// use `locations` meanwhile.
#[unsafe(no_mangle)]
pub extern "C" fn transient_locations_set_temporary(
    locations: *mut transient_locations,
    path: *const c_char,
    error_out: *mut *mut transient_error,
) -> transient_status {
    set(locations, path, error_out, |locations, path| locations.temporary = path)
}

/// Sets the socket of the user's SSH agent; NULL is none. `path` is copied. No other thread may use `locations`
/// meanwhile.
#[unsafe(no_mangle)]
pub extern "C" fn transient_locations_set_ssh_agent(
    locations: *mut transient_locations,
    path: *const c_char,
    error_out: *mut *mut transient_error,
) -> transient_status {
    fallible(error_out, || {
        borrow_mut(locations, "locations")?.0.ssh_agent = text::optional_path(path, "path")?;
        Ok(())
    })
}

/// Sets the folder of the user's SSH keys; NULL is none. `path` is copied. No other thread may use `locations`
/// meanwhile.
#[unsafe(no_mangle)]
pub extern "C" fn transient_locations_set_ssh_keys(
    locations: *mut transient_locations,
    path: *const c_char,
    error_out: *mut *mut transient_error,
) -> transient_status {
    fallible(error_out, || {
        borrow_mut(locations, "locations")?.0.ssh_keys = text::optional_path(path, "path")?;
        Ok(())
    })
}
