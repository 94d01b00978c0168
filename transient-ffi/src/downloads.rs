//! How images are downloaded: a part of the locations.

use std::ffi::c_char;

use transient_core::Downloads;

use crate::boundary::{Failure, borrow_mut, fallible};
use crate::error::transient_error;
use crate::locations::transient_locations;
use crate::status::transient_status;
use crate::text;

fn change(
    locations: *mut transient_locations,
    error_out: *mut *mut transient_error,
    body: impl FnOnce(&mut Downloads) -> Result<(), Failure>,
) -> transient_status {
    fallible(error_out, || body(&mut borrow_mut(locations, "locations")?.0.downloads))
}

fn optional(url: *const c_char, name: &str) -> Result<Option<String>, Failure> {
    Ok(text::optional_string(url, name)?.map(str::to_owned))
}

/// Sets the proxy for http, for example `http://proxy:3128` or `socks5h://user:password@proxy`; NULL is none. `url`
/// is copied. No other thread may use `locations` meanwhile.
#[unsafe(no_mangle)]
pub extern "C" fn transient_locations_set_http_proxy(
    locations: *mut transient_locations,
    url: *const c_char,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(locations, error_out, |downloads| {
        downloads.http_proxy = optional(url, "url")?;
        Ok(())
    })
}

/// Sets the proxy for https; NULL is none. `url` is copied. No other thread may use `locations` meanwhile.
#[unsafe(no_mangle)]
pub extern "C" fn transient_locations_set_https_proxy(
    locations: *mut transient_locations,
    url: *const c_char,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(locations, error_out, |downloads| {
        downloads.https_proxy = optional(url, "url")?;
        Ok(())
    })
}

/// Sets what is reached without a proxy, separated by commas: names, with all that is below them, addresses, networks
/// (`10.0.0.0/8`), or `*`; NULL is nothing. `hosts` is copied. No other thread may use `locations` meanwhile.
#[unsafe(no_mangle)]
pub extern "C" fn transient_locations_set_no_proxy(
    locations: *mut transient_locations,
    hosts: *const c_char,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(locations, error_out, |downloads| {
        downloads.no_proxy = optional(hosts, "hosts")?;
        Ok(())
    })
}

/// Adds a file in PEM format, or a folder of them, with certificate authorities to trust; the first takes the place
/// of the system's. `path` is copied. No other thread may use `locations` meanwhile.
#[unsafe(no_mangle)]
pub extern "C" fn transient_locations_add_certificates(
    locations: *mut transient_locations,
    path: *const c_char,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(locations, error_out, |downloads| {
        downloads.certificates.push(text::path(path, "path")?);
        Ok(())
    })
}

/// Sets the server that knows the vagrant boxes; the default is that of Vagrant itself. `url` is copied. No other
/// thread may use `locations` meanwhile.
#[unsafe(no_mangle)]
pub extern "C" fn transient_locations_set_vagrant_server(
    locations: *mut transient_locations,
    url: *const c_char,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(locations, error_out, |downloads| {
        downloads.vagrant_server = text::string(url, "url")?.to_owned();
        Ok(())
    })
}

/// Sets what that server, and no other, is shown for boxes that are not public; NULL is nothing. `token` is copied.
/// No other thread may use `locations` meanwhile.
#[unsafe(no_mangle)]
pub extern "C" fn transient_locations_set_vagrant_token(
    locations: *mut transient_locations,
    token: *const c_char,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(locations, error_out, |downloads| {
        downloads.vagrant_token = optional(token, "token")?;
        Ok(())
    })
}
