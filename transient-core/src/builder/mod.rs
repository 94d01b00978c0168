//! The builder VM.

mod accelerator;
pub mod appliance;
mod boot;
mod resources;
mod runtime;
mod saved;
mod saving;
mod session;
mod vm;

use std::path::PathBuf;

pub(crate) use boot::Boot;
pub(crate) use runtime::in_vms;
pub(crate) use vm::Builder;
use vm::failure_kind;

/// How the builder VM is run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VmOptions {
    /// Memory in bytes; `None` is 2 GiB, or what the host can spare.
    pub memory: Option<u64>,
    /// Virtual CPUs; `None` is all that the host has, up to 4.
    pub cpus: Option<u32>,
    /// What runs the guest's instructions.
    pub accelerator: Accelerator,
    /// The guest's network.
    pub network: Network,
    /// Whether a builder VM that was saved when it had booted is restored, which is faster than to boot; where there is
    /// none, one is saved. Only without KVM.
    pub warm_start: bool,
    /// The program, a name or a path.
    pub qemu: PathBuf,
    /// How long QEMU may take to answer; `None` is 10 s. Three times as long while a build is at work.
    pub qmp_timeout: Option<std::time::Duration>,
    /// How long the guest may take to answer; `None` is 90 s, and three times that under TCG.
    pub ssh_timeout: Option<std::time::Duration>,
}

impl Default for VmOptions {
    fn default() -> Self {
        Self {
            memory: None,
            cpus: None,
            accelerator: Accelerator::Auto,
            network: Network::User,
            warm_start: true,
            qemu: PathBuf::from("qemu-system-x86_64"),
            qmp_timeout: None,
            ssh_timeout: None,
        }
    }
}

/// What runs the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Accelerator {
    /// KVM where it works, else TCG.
    #[default]
    Auto,
    /// The processor itself. Where it does not work, that is an error.
    Kvm,
    /// QEMU's emulation.
    Tcg,
}

/// The guest's network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Network {
    /// QEMU's user network: out to where the host reaches, nothing in.
    #[default]
    User,
    /// No network card.
    None,
}
