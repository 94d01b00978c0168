//! KVM only where it works: that `/dev/kvm` opens proves nothing.
//!
//! There are hosts on which KVM initialises and firmware runs, and the kernel then hangs. So a boot
//! under KVM has a deadline; a host that misses it is remembered until it reboots.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Accelerator, VmOptions};
use crate::host::boot_id;
use crate::{Error, ErrorKind};

const DEVICE: &str = "/dev/kvm";

/// What to try, and what to tell about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Choice {
    /// KVM, and nothing else if it does not work.
    Kvm,
    /// KVM, and TCG if it does not work.
    KvmOrTcg,
    /// TCG. With the reason, when KVM would have been preferred.
    Tcg { reason: Option<Reason> },
}

/// Why KVM is not used though nobody said so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reason {
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

/// That KVM does not work on this host, until it reboots.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Verdict {
    boot_id: String,
    qemu: PathBuf,
    reason: String,
}

/// Decides what to try.
pub(super) fn choose(options: &VmOptions, cache: &Path) -> Result<Choice, Error> {
    match options.accelerator {
        Accelerator::Tcg => Ok(Choice::Tcg { reason: None }),
        Accelerator::Kvm => match File::options().read(true).write(true).open(DEVICE) {
            Ok(_) => Ok(Choice::Kvm),
            Err(error) => {
                let refused = not_kvm(&format!("{DEVICE} cannot be opened: {error}"));
                Err(match hint_for(&error) {
                    Some(hint) => refused.hint(hint),
                    None => refused,
                })
            }
        },
        Accelerator::Auto => Ok(choose_by_looking(options, cache)),
    }
}

fn choose_by_looking(options: &VmOptions, cache: &Path) -> Choice {
    match File::options().read(true).write(true).open(DEVICE) {
        Ok(_) => match remembered(options, cache) {
            Some(verdict) => {
                tracing::info!("KVM is not tried: {}", verdict.reason);
                Choice::Tcg { reason: None }
            }
            None => Choice::KvmOrTcg,
        },
        // A host without KVM is no surprise to its user; one that forbids it may be.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Choice::Tcg { reason: None },
        Err(error) => Choice::Tcg {
            reason: Some(Reason {
                message: format!(
                    "KVM cannot be used ({DEVICE}: {error}); the build runs emulated, which is slower"
                ),
                hint: hint_for(&error),
            }),
        },
    }
}

/// The error of an explicit `kvm` with which a machine failed.
pub(super) fn unusable(error: &Error) -> Error {
    not_kvm(&error.to_string()).with_output(error.output())
}

fn not_kvm(reason: &str) -> Error {
    Error::new(ErrorKind::KvmUnusable, format!("KVM does not work here: {reason}"))
        .hint("use --accel auto or --accel tcg to run without KVM")
}

fn hint_for(error: &std::io::Error) -> Option<String> {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => {
            Some("let this user open it: sudo usermod -aG kvm \"$USER\", then log in anew".to_owned())
        }
        std::io::ErrorKind::NotFound => {
            Some("enable virtualization in the firmware, and load the module kvm_intel or kvm_amd".to_owned())
        }
        _ => None,
    }
}

fn verdict_path(cache: &Path) -> PathBuf {
    cache.join("kvm-does-not-work.json")
}

fn remembered(options: &VmOptions, cache: &Path) -> Option<Verdict> {
    let verdict: Verdict = serde_json::from_slice(&fs::read(verdict_path(cache)).ok()?).ok()?;
    (verdict.boot_id == boot_id() && verdict.qemu == options.qemu).then_some(verdict)
}

/// Remembers that KVM does not work. Failing to do so only costs the next build a few seconds.
pub(super) fn remember(options: &VmOptions, cache: &Path, reason: &str) {
    let verdict = Verdict { boot_id: boot_id(), qemu: options.qemu.clone(), reason: reason.to_owned() };
    let written = fs::create_dir_all(cache).and_then(|()| {
        let mut file = tempfile::NamedTempFile::new_in(cache)?;
        serde_json::to_writer(&mut file, &verdict)?;
        file.persist(verdict_path(cache)).map_err(|error| error.error)
    });
    if let Err(error) = written {
        tracing::warn!("cannot remember in {} that KVM does not work: {error}", cache.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_holds_for_this_boot_and_this_qemu() {
        let cache = tempfile::tempdir().expect("a folder");
        let options = VmOptions::default();
        assert_eq!(remembered(&options, cache.path()), None);
        remember(&options, cache.path(), "the guest hung");
        assert_eq!(remembered(&options, cache.path()).expect("remembered").reason, "the guest hung");
        let other = VmOptions { qemu: "/opt/qemu".into(), ..VmOptions::default() };
        assert_eq!(remembered(&other, cache.path()), None);
        let text = fs::read_to_string(verdict_path(cache.path())).expect("written");
        fs::write(verdict_path(cache.path()), text.replace(&boot_id(), "an earlier boot")).expect("written");
        assert_eq!(remembered(&options, cache.path()), None);
    }
}
