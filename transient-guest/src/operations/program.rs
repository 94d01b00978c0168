//! Running the appliance's own programs.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::process::{Command, Output, Stdio};

use transient_guest::protocol::FailureCause;

use super::failure::{Doing, Failure};

/// Where the appliance keeps its programs.
const PATH: &str = "/usr/sbin:/sbin:/usr/bin:/bin";

/// The programs that an appliance may lack, and the packages that bring them.
const PACKAGES: [(&str, &str); 7] = [
    ("mke2fs", "e2fsprogs"),
    ("mkfs.xfs", "xfsprogs"),
    ("mkfs.vfat", "dosfstools"),
    ("mkfs.btrfs", "btrfs-progs"),
    ("mkswap", "util-linux"),
    ("blkid", "util-linux"),
    ("lvm", "lvm2"),
];

/// Runs a program of the appliance with `input` on its standard input; returns what it printed, whatever its status.
pub(super) fn run<S: AsRef<OsStr>>(
    program: &str,
    arguments: impl IntoIterator<Item = S>,
    input: &[u8],
) -> Result<Output, Failure> {
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs([("PATH", PATH), ("LC_ALL", "C")])
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| cannot_start(program, error))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that has failed reads no more; its status tells why.
        let _ = stdin.write_all(input);
    }
    child.wait_with_output().doing(|| format!("cannot wait for {program}"))
}

/// As [`run`], and a status that is not 0 is a failure with what the program printed.
pub(super) fn run_checked<S: AsRef<OsStr>>(
    program: &str,
    arguments: impl IntoIterator<Item = S>,
    input: &[u8],
    doing: impl FnOnce() -> String,
) -> Result<Output, Failure> {
    let output = run(program, arguments, input)?;
    if output.status.success() {
        return Ok(output);
    }
    Err(Failure::other(format!("{}: {program} failed ({})", doing(), output.status))
        .with_output(said(&output)))
}

/// Returns what a program printed, standard error last.
pub(super) fn said(output: &Output) -> String {
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    text.trim().to_owned()
}

/// Tells whether the appliance has a program.
pub(super) fn is_there(program: &str) -> bool {
    std::env::split_paths(PATH).any(|folder| folder.join(program).is_file())
}

fn cannot_start(program: &str, error: io::Error) -> Failure {
    if error.kind() != io::ErrorKind::NotFound {
        return Failure::system(format!("cannot start {program}"), error);
    }
    let package = PACKAGES.iter().find(|(name, _)| *name == program).map_or(program, |(_, package)| package);
    Failure::new(
        FailureCause::NotInAppliance,
        format!(
            "the appliance has no {program}: install the package {package} where the appliance is assembled"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_names_its_package() {
        let failure = cannot_start("mkfs.xfs", io::ErrorKind::NotFound.into());
        assert_eq!(failure.cause, FailureCause::NotInAppliance);
        assert!(failure.message.contains("xfsprogs"), "{}", failure.message);
    }

    #[test]
    fn what_a_failed_program_printed_is_kept() {
        let failure = run_checked("sh", ["-c", "cat; echo bad >&2; exit 3"], b"in ", || "cannot try".into())
            .unwrap_err();
        assert_eq!(failure.output, "in bad");
        assert!(failure.message.contains("exit status: 3"), "{}", failure.message);
    }
}
