//! Builds the guest program, which the library carries: static, for speed optimised in every profile.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "x86_64-unknown-linux-gnu";

fn main() {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let guest = manifest.join("../transient-guest");
    for input in ["Cargo.toml", "src"] {
        println!("cargo::rerun-if-changed={}", guest.join(input).display());
    }
    println!("cargo::rerun-if-changed=../Cargo.lock");

    // A target folder of its own, next to all others: one build serves every profile, and the
    // outer cargo's lock is not waited for.
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let folder = out.ancestors().nth(4).unwrap_or(&out).join("guest");
    let program = build_guest(&guest, &folder);
    println!("cargo::rustc-env=TRANSIENT_GUEST={}", program.display());
}

fn build_guest(package: &Path, target_dir: &Path) -> PathBuf {
    let mut cargo = Command::new(env::var_os("CARGO").expect("cargo sets it"));
    cargo
        .args(["build", "--quiet", "--locked", "--profile", "guest", "--bin", "transient-guest"])
        .args(["--target", TARGET])
        .arg("--manifest-path")
        .arg(package.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(target_dir)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("RUSTC_WRAPPER")
        .env("RUSTFLAGS", "-C target-feature=+crt-static");
    // What describes this build, such as a sanitizer, is not of that one.
    for (name, _) in env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"CARGO_CFG_")) {
        cargo.env_remove(name);
    }
    let status = cargo.status().expect("cargo can be run again");
    assert!(status.success(), "the guest program does not build: {cargo:?}");
    target_dir.join(TARGET).join("guest").join("transient-guest")
}
