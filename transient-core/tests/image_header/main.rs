//! The native reader of headers, compared with what `qemu-img` says of good, bad and mutated images.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod good;
mod mutated;
mod refused;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Runs `qemu-img`; the test ends here where there is none.
fn qemu_img<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Output {
    Command::new("qemu-img").args(arguments).env("LC_ALL", "C").output().unwrap()
}

/// As [`qemu_img`], and it must succeed.
fn run<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) {
    let mut command = Command::new("qemu-img");
    let output = command.args(arguments).env("LC_ALL", "C").output().unwrap();
    let (status, words) = (output.status, String::from_utf8_lossy(&output.stderr));
    assert!(status.success(), "{command:?}: {status} {words}");
}

/// Says whether there is a `qemu-img`: there must be where tests count.
fn has_qemu_img() -> bool {
    let there = Command::new("qemu-img").arg("--version").output().is_ok();
    assert!(there || std::env::var_os("CI").is_none(), "qemu-img is missing");
    if !there {
        eprintln!("skipped: qemu-img is not installed");
    }
    there
}

/// Returns what QEMU sees of an image, or why it does not.
fn info(path: &Path, format: &str) -> Result<serde_json::Value, String> {
    let arguments = ["info", "--backing-chain", "--output=json", "-f", format].map(OsStr::new);
    let output = qemu_img(arguments.into_iter().chain([path.as_os_str()]));
    let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    assert!(output.status.code().is_some(), "qemu-img was killed at {}: {words}", path.display());
    if !output.status.success() {
        return Err(words);
    }
    Ok(serde_json::from_slice(&output.stdout).unwrap())
}

/// Makes a raw disk of 6 MiB with data, zeros, and data again up to its last sector.
fn disk(folder: &Path) -> PathBuf {
    let path = folder.join("disk.raw");
    let mut state = 1_u32;
    let mut noise = |length: usize| -> Vec<u8> {
        let next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        std::iter::repeat_with(next).take(length).collect()
    };
    let (first, last) = (noise(1 << 20), noise((1 << 20) + 512));
    std::fs::write(&path, [first, vec![0; (4 << 20) - 512], last].concat()).unwrap();
    path
}
