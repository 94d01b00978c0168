//! Which VMs there are, and which run.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::legacy;
use super::running::{self, Listed};
use super::{VmConfig, stored};
use crate::{Error, ImageName, Locations, Store};

/// A VM of the VM store, or one that runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct VmInfo {
    /// Its name.
    pub name: String,
    /// The image that its first disk is from.
    pub image: String,
    /// Whether it is reached by SSH, or will be when it runs.
    pub ssh: bool,
    /// Whether the VM store has it.
    pub stored: bool,
    /// What is known of it as it runs; `None` when it does not.
    pub running: Option<RunningVm>,
}

/// A VM as it runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RunningVm {
    /// The process that it ends with.
    pub pid: u32,
    /// The QEMU process.
    pub qemu_pid: u32,
    /// When it started, in seconds since 1970.
    #[serde(serialize_with = "seconds")]
    pub started: SystemTime,
    /// The port of this host's loopback that leads to its port 22.
    pub ssh_port: Option<u16>,
    /// Whether nothing of it is kept.
    pub stateless: bool,
}

/// What VMs there are.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct VmListing {
    /// First those that run, in the order of their start, then the others by name.
    pub vms: Vec<VmInfo>,
    /// One sentence for each that cannot be read.
    pub warnings: Vec<String>,
}

fn seconds<S: serde::Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64())
}

impl Store {
    /// Lists the VMs of this VM store: those that run, also with release 0.25 of the Python tool, and those that do not.
    ///
    /// # Errors
    ///
    /// [`crate::ErrorKind::Io`] when the VM store or the folder of those that run cannot be read.
    pub fn vms(&self) -> Result<VmListing, Error> {
        let (stored, warnings) = stored::list(self)?;
        let running = all_running(self)?;
        let is_stored = |name: &str| stored.iter().any(|vm| vm.name == name);
        let mut vms: Vec<VmInfo> = running
            .iter()
            .map(|vm| VmInfo {
                name: vm.name().to_owned(),
                image: vm.image().to_owned(),
                ssh: vm.ssh_port().is_some(),
                stored: !vm.info().stateless && is_stored(vm.name()),
                running: Some(vm.info()),
            })
            .collect();
        let at_rest = stored.iter().filter(|vm| !running.iter().any(|running| running.name() == vm.name));
        vms.extend(at_rest.map(|vm| VmInfo {
            name: vm.name.clone(),
            image: vm.image.clone(),
            ssh: vm.config.has_ssh(),
            stored: true,
            running: None,
        }));
        Ok(VmListing { vms, warnings })
    }

    /// Returns the settings of a VM of the VM store.
    ///
    /// # Errors
    ///
    /// [`crate::ErrorKind::VmNotFound`]; those of [`crate::ConfigFile::read`].
    pub fn vm_config(&self, name: &ImageName) -> Result<VmConfig, Error> {
        stored::config(self, name)
    }
}

/// A VM that runs, of whomever.
pub(super) enum AnyRunning {
    Ours(Listed),
    Legacy(legacy::Found),
}

impl AnyRunning {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Ours(vm) => &vm.record.name,
            Self::Legacy(vm) => &vm.about.name,
        }
    }

    fn image(&self) -> &str {
        match self {
            Self::Ours(vm) => &vm.record.image,
            Self::Legacy(vm) => &vm.about.primary_image,
        }
    }

    pub(super) fn ssh_port(&self) -> Option<u16> {
        match self {
            Self::Ours(vm) => vm.record.ssh_port,
            Self::Legacy(vm) => vm.about.ssh_port,
        }
    }

    pub(super) fn info(&self) -> RunningVm {
        let time = |seconds: f64| UNIX_EPOCH + Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO);
        match self {
            Self::Ours(Listed { record, .. }) => RunningVm {
                pid: record.owner,
                qemu_pid: record.qemu,
                started: time(record.started),
                ssh_port: record.ssh_port,
                stateless: record.stateless,
            },
            Self::Legacy(vm) => RunningVm {
                pid: vm.about.transient_pid,
                qemu_pid: vm.qemu,
                started: time(vm.started),
                ssh_port: vm.about.ssh_port,
                stateless: vm.about.stateless,
            },
        }
    }
}

/// Returns the VMs that run with this VM store, in the order of their start.
pub(super) fn all_running(store: &Store) -> Result<Vec<AnyRunning>, Error> {
    let Locations { running: folder, vmstore, .. } = store.locations();
    let ours = running::list(folder)?;
    let known: Vec<u32> = ours.iter().map(|vm| vm.record.qemu).collect();
    let is_here = |other: &std::path::Path| {
        let resolved =
            |path: &std::path::Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        resolved(other) == resolved(vmstore)
    };
    let mut all: Vec<AnyRunning> =
        ours.into_iter().filter(|vm| is_here(&vm.record.vmstore)).map(AnyRunning::Ours).collect();
    all.extend(
        legacy::find(&known).into_iter().filter(|vm| is_here(&vm.about.vmstore)).map(AnyRunning::Legacy),
    );
    all.sort_by_key(|vm| vm.info().started);
    Ok(all)
}

/// Returns the VM of that name that runs, if there is one.
pub(super) fn find_running(store: &Store, name: &ImageName) -> Result<Option<AnyRunning>, Error> {
    Ok(all_running(store)?.into_iter().find(|vm| vm.name() == name.as_str()))
}
