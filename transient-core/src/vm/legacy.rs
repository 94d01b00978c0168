//! VMs run by release 0.25 of the Python tool, and how it finds ours.
//!
//! It marks QEMU by two variables in the environment: one says that it is such a process, the other gives the number
//! of an open file, in which base64 of JSON tells of the VM.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::fs::MemfdFlags;
use serde::{Deserialize, Serialize};

use super::arguments::ABOUT_FD;

const MARK: &str = "__TRANSIENT_PROCESS";
const DATA: &str = "__TRANSIENT_DATA_FD";
/// What is longer is not that.
const LONGEST: u64 = 1 << 16;

/// What is told of a VM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct About {
    pub(super) name: String,
    pub(super) vmstore: PathBuf,
    pub(super) primary_image: String,
    pub(super) stateless: bool,
    pub(super) transient_pid: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ssh_port: Option<u16>,
}

/// A VM of release 0.25 that runs.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) about: About,
    pub(super) qemu: u32,
    /// Seconds since 1970.
    pub(super) started: f64,
}

/// Returns what marks a QEMU process of ours for release 0.25.
pub(super) fn environment() -> Vec<(&'static str, String)> {
    vec![(MARK, "1".to_owned()), (DATA, ABOUT_FD.to_string())]
}

/// Returns a file, in memory, that tells of a VM; it is written when more is known.
pub(super) fn file() -> io::Result<OwnedFd> {
    Ok(rustix::fs::memfd_create("transient-vm", MemfdFlags::CLOEXEC)?)
}

/// Has the file tell of a VM.
pub(super) fn tell(file: &fs::File, about: &About) -> io::Result<()> {
    let text = STANDARD.encode(serde_json::to_vec(about)?);
    let mut file = file;
    file.write_all(text.as_bytes())
}

/// Returns the VMs that run and are marked so, but for QEMU processes of `known`.
pub(super) fn find(known: &[u32]) -> Vec<Found> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| !known.contains(pid)).filter_map(look).collect()
}

fn look(pid: u32) -> Option<Found> {
    let folder = Path::new("/proc").join(pid.to_string());
    let environment = fs::read(folder.join("environ")).ok()?;
    let environment: HashMap<&str, &str> = environment
        .split(|byte| *byte == 0)
        .filter_map(|variable| std::str::from_utf8(variable).ok()?.split_once('='))
        .collect();
    environment.get(MARK)?;
    let number: u32 = environment.get(DATA)?.parse().ok()?;
    let path = folder.join("fd").join(number.to_string());
    // The descriptor may be anything by now, also what would not let go of us.
    fs::metadata(&path).ok().filter(|metadata| metadata.is_file() && metadata.len() <= LONGEST)?;
    let about = parse(&fs::read(&path).ok()?)?;
    let started = fs::metadata(&folder).ok()?;
    Some(Found { about, qemu: pid, started: started.ctime() as f64 })
}

fn parse(data: &[u8]) -> Option<About> {
    serde_json::from_slice(&STANDARD.decode(data.trim_ascii()).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn a_marked_process_is_found() {
        let about = About {
            name: "vm".into(),
            vmstore: "/v".into(),
            primary_image: "image".into(),
            stateless: false,
            transient_pid: 7,
            ssh_port: None,
        };
        let file = fs::File::from(file().expect("a file"));
        tell(&file, &about).expect("written");
        // Shared with the child by its number here: /proc/PID/fd of the child is looked at.
        rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty()).expect("inherited");
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .env(MARK, "1")
            .env(DATA, file.as_raw_fd().to_string())
            .spawn()
            .expect("runs");
        // A process that has just begun may not show its environment yet.
        let found = (0..500).find_map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            look(child.id()).map(|found| found.about)
        });
        let known = find(&[child.id()]).iter().any(|found| found.qemu == child.id());
        child.kill().expect("killed");
        child.wait().expect("reaped");
        assert_eq!(found, Some(about));
        assert!(!known);
    }

    #[test]
    fn anything_else_is_nothing() {
        for data in [&b""[..], b"x", b"e30=", b"\xff"] {
            assert_eq!(parse(data), None);
        }
    }
}
