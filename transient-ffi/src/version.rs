//! What a program can ask about the library that it runs with.

use std::ffi::c_char;

use crate::boundary::infallible;
use crate::text::string;

/// The ABI that this header describes: the number in the library's SONAME.
pub const TRANSIENT_ABI_VERSION: u32 = 1;

/// What `transient_has_feature` knows. A name is never reused.
const FEATURES: &[&str] = &[
    "appliance",
    "build",
    "cache",
    "check",
    "exchange",
    "history",
    "imagefile",
    "inspect",
    "log",
    "plan",
    "prune",
    "pull",
    "store",
    "vm",
];

/// Returns the ABI of the library that is loaded; it is `TRANSIENT_ABI_VERSION` of the header that fits it.
#[unsafe(no_mangle)]
pub extern "C" fn transient_abi_version() -> u32 {
    TRANSIENT_ABI_VERSION
}

/// Returns the release of the library that is loaded, for example `1.0.0`. The string lives as long as the
/// program.
#[unsafe(no_mangle)]
pub extern "C" fn transient_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

/// Returns whether the library has a feature: `appliance`, `build`, `cache`, `check`, `exchange`, `history`, `imagefile`,
/// `inspect`, `log`, `plan`, `prune`, `pull`, `store` or `vm` in this release. Any other name, also none, gives false.
#[unsafe(no_mangle)]
pub extern "C" fn transient_has_feature(name: *const c_char) -> bool {
    infallible(|| string(name, "name").is_ok_and(|name| FEATURES.contains(&name)))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_abi_is_the_major_release() {
        assert_eq!(env!("CARGO_PKG_VERSION_MAJOR"), super::TRANSIENT_ABI_VERSION.to_string());
    }
}
