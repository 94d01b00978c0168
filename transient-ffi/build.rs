//! Gives the shared library its SONAME: the major release is the ABI.

fn main() {
    let major = std::env::var("CARGO_PKG_VERSION_MAJOR").expect("cargo sets it");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libtransient.so.{major}");
    println!("cargo::rerun-if-changed=build.rs");
}
