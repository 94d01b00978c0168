//! Builds the guest program, which the library carries: static, for speed optimised in every profile.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "x86_64-unknown-linux-gnu";

fn main() {
    let manifest = path("CARGO_MANIFEST_DIR");
    let guest = manifest.join("../transient-guest");
    for input in ["Cargo.toml", "src"] {
        println!("cargo::rerun-if-changed={}", guest.join(input).display());
    }
    println!("cargo::rerun-if-changed=../Cargo.lock");

    let program = build_guest(&guest, &guest_folder(&path("OUT_DIR")));
    println!("cargo::rustc-env=TRANSIENT_GUEST={}", program.display());
    println!("cargo::rustc-env=TRANSIENT_GUEST_SOURCES={}", hash(&guest.join("src")));
}

fn path(variable: &str) -> PathBuf {
    env::var_os(variable).expect("cargo sets it").into()
}

/// A target folder of its own, next to all others: one build serves every profile, and the outer cargo's
/// lock is not waited for.
fn guest_folder(out: &Path) -> PathBuf {
    // target/PROFILE/build/PACKAGE/out, or with one more folder where a target is named.
    let mut target = out.ancestors().nth(4).unwrap_or(out);
    if target.file_name() == env::var_os("TARGET").as_deref() {
        target = target.parent().unwrap_or(target);
    }
    target.join("guest")
}

fn build_guest(package: &Path, target_dir: &Path) -> PathBuf {
    let mut cargo = Command::new(path("CARGO"));
    cargo
        .args(["build", "--quiet", "--locked", "--profile", "guest", "--bin", "transient-guest"])
        .args(["--target", TARGET])
        .arg("--manifest-path")
        .arg(package.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(target_dir)
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTFLAGS")
        .env("CARGO_ENCODED_RUSTFLAGS", rust_flags());
    // What describes this build, such as a sanitizer or the linker of another libc, is not of that one.
    for (name, _) in env::vars_os().filter(|(name, _)| describes_this_build(&name.to_string_lossy())) {
        cargo.env_remove(name);
    }
    let status = cargo.status().expect("cargo can be run again");
    assert!(status.success(), "the guest program does not build: {cargo:?}");
    target_dir.join(TARGET).join("guest").join("transient-guest")
}

fn describes_this_build(variable: &str) -> bool {
    let of_target = |variable: &str| variable.to_lowercase().contains(&TARGET.replace('-', "_"));
    variable.starts_with("CARGO_CFG_") || of_target(&variable.replace('-', "_"))
}

/// Static, at fixed addresses, for it is started often, and to relocate it takes longer than to do what most requests ask;
/// and the places of panics do not name this machine's folders.
fn rust_flags() -> OsString {
    let home = env::var_os("HOME").unwrap_or_default();
    let cargo = env::var_os("CARGO_HOME").map_or_else(|| Path::new(&home).join(".cargo"), PathBuf::from);
    let mut flags =
        OsString::from("-Ctarget-feature=+crt-static\x1f-Crelocation-model=static\x1f--remap-path-prefix=");
    flags.push(cargo.join("registry/src"));
    flags.push("=crates");
    flags
}

/// The program's identity: compilers differ, and so do the programs that they make of the same sources.
fn hash(sources: &Path) -> String {
    let mut hasher = blake3::Hasher::new();
    for entry in walkdir::WalkDir::new(sources).sort_by_file_name() {
        let entry = entry.expect("the sources can be read");
        if entry.file_type().is_file() {
            let name = entry.path().strip_prefix(sources).expect("it is below");
            hasher.update(name.as_os_str().as_encoded_bytes());
            let text = std::fs::read(entry.path()).expect("the sources can be read");
            hasher.update(&text.len().to_le_bytes()).update(&text);
        }
    }
    hasher.finalize().to_hex().to_string()
}
