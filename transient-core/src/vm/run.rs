//! Starting VMs: of an image, or of the VM store.

use std::fs;
use std::sync::Mutex;
use std::time::Duration;

use super::arguments::Drives;
use super::disk::VmDisk;
use super::handle::Vm;
use super::machine::{self, Keeps, Launching};
use super::running::Order;
use super::ssh::Identities;
use super::stored::{self, StoredVm, TemporaryVm};
use super::{FileCopy, VmConfig, copies, list, share};
use crate::call::call;
use crate::event::{Event, Reporter};
use crate::store::Scratch;
use crate::{CancelToken, Error, ImageName, Store, VmOptions, source};

/// How a VM is run.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RunOptions {
    /// The VM. For one of the VM store: what is added to what is kept there, and wins over it.
    pub config: VmConfig,
    /// What is copied into its first disk before it starts.
    pub copy_in_before: Vec<FileCopy>,
    /// What is copied out of its first disk when it has ended.
    pub copy_out_after: Vec<FileCopy>,
    /// How long all copies before it starts, or all after it, may take; `None` is as long as they like.
    pub copy_timeout: Option<Duration>,
    /// The VM in which the copies are made.
    pub builder: VmOptions,
    /// Whether QEMU has this process's standard input and output if the user's arguments have a serial port of their
    /// own: for a program that is nothing else.
    pub inherit_stdio: bool,
}

impl RunOptions {
    /// Returns options that run a VM with all defaults.
    pub fn new(config: VmConfig) -> Self {
        Self { config, ..Self::default() }
    }

    fn needs_disks(&self) -> bool {
        !self.copy_in_before.is_empty() || !self.copy_out_after.is_empty()
    }
}

/// Starts a VM from an image, which is brought in if the backend lacks it. Without a name and without copies, it keeps
/// nothing on disk; without a name, what it keeps is gone at its end. With a name, it is made in the VM store, or if it
/// is there, it is started.
///
/// Returns when QEMU runs, and the guest has mounted the shared folders, if there are any.
///
/// # Errors
///
/// [`crate::ErrorKind::ImageNotFound`], [`crate::ErrorKind::VmInUse`], [`crate::ErrorKind::MissingProgram`], [`crate::ErrorKind::QemuFailed`] with
/// what QEMU said; those of the source of an image, of copies, and of SSH.
pub fn run(
    store: &Store,
    options: &RunOptions,
    listener: &mut dyn FnMut(Event),
    cancel: &CancelToken,
) -> Result<Vm, Error> {
    call("transient-run", listener, cancel, |reporter, cancel| {
        let starting = prepare(store, options, reporter, cancel)?;
        begin(store, options, starting, reporter, cancel)
    })
}

/// Starts a VM of the VM store. Returns as [`run`] does.
///
/// # Errors
///
/// [`crate::ErrorKind::VmNotFound`]; those of [`run`].
pub fn start(
    store: &Store,
    name: &ImageName,
    options: &RunOptions,
    listener: &mut dyn FnMut(Event),
    cancel: &CancelToken,
) -> Result<Vm, Error> {
    call("transient-run", listener, cancel, |reporter, cancel| {
        let vm = StoredVm::open(store, name)?;
        let mut config = vm.config.clone();
        config.merge(options.config.clone());
        let starting = of_stored(vm, config);
        begin(store, options, starting, reporter, cancel)
    })
}

/// Makes a VM in the VM store, and does not start it. Returns its name.
///
/// # Errors
///
/// [`crate::ErrorKind::VmExists`], [`crate::ErrorKind::ImageNotFound`]; those of the source of an image.
pub fn create(
    store: &Store,
    config: &VmConfig,
    listener: &mut dyn FnMut(Event),
    cancel: &CancelToken,
) -> Result<String, Error> {
    call("transient-create", listener, cancel, |reporter, cancel| {
        StoredVm::create(store, config, reporter, cancel)
    })
}

/// A VM that can start.
struct Starting {
    name: String,
    image: String,
    config: VmConfig,
    drives: Drives,
    keeps: Keeps,
    disk: Option<VmDisk>,
}

fn of_stored(vm: StoredVm, config: VmConfig) -> Starting {
    Starting {
        name: vm.name.clone(),
        image: vm.disks.first().map(|disk| disk.image.clone()).unwrap_or_default(),
        config,
        drives: Drives::Own(vm.disks.clone()),
        disk: vm.disks.first().cloned(),
        keeps: Keeps::Disks(Box::new(vm)),
    }
}

fn prepare(
    store: &Store,
    options: &RunOptions,
    reporter: &Reporter,
    cancel: &CancelToken,
) -> Result<Starting, Error> {
    let config = options.config.clone();
    if let Some(name) = &config.name {
        if !stored::is_there(store, name) {
            StoredVm::create(store, &config, reporter, cancel)?;
        }
        return Ok(of_stored(StoredVm::open(store, name)?, config));
    }
    let name = ImageName::new(uuid::Uuid::new_v4().to_string())?;
    let specs = stored::image_specs(&config)?;
    let image = specs.first().map(|spec| spec.name.as_str().to_owned()).unwrap_or_default();
    let (drives, disk, keeps) = if options.needs_disks() {
        let vm = TemporaryVm::create(store, &name, &config, reporter, cancel)?;
        (Drives::Own(vm.disks.clone()), vm.disks.first().cloned(), Keeps::Temporary(vm))
    } else {
        let images =
            specs.iter().map(|spec| source::bring_in(store, spec, reporter, cancel).map(|image| image.path));
        (Drives::Images(images.collect::<Result<_, _>>()?), None, Keeps::Nothing)
    };
    Ok(Starting { name: name.as_str().to_owned(), image, config, drives, keeps, disk })
}

fn begin(
    store: &Store,
    options: &RunOptions,
    starting: Starting,
    reporter: &Reporter,
    cancel: &CancelToken,
) -> Result<Vm, Error> {
    let locations = store.locations();
    let after = After {
        store: store.clone(),
        copies: options.copy_out_after.clone(),
        timeout: options.copy_timeout,
        builder: options.builder.clone(),
        disk: starting.disk.clone(),
    };
    if let Some(disk) = starting.disk.as_ref().filter(|_| !options.copy_in_before.is_empty()) {
        copies::within(options.copy_timeout, cancel, |cancel| {
            copies::carry_out(store, disk, &options.copy_in_before, &[], &options.builder, reporter, cancel)
        })?;
    }
    reporter.send_blocking(Event::VmStarting { name: starting.name.clone(), image: starting.image.clone() });
    cancel.check()?;
    let folders = starting.config.shared_folders.clone();
    let temporary = match starting.keeps.is_nothing() {
        true => {
            fs::create_dir_all(&locations.temporary).map_err(|error| {
                Error::io(format!("cannot make the folder '{}'", locations.temporary.display()), error)
            })?;
            Some(Scratch::make_clean(&locations.temporary, list::TEMPORARY)?)
        }
        false => None,
    };
    let (shared, thread) = machine::start(Launching {
        temporary,
        name: starting.name,
        image: starting.image,
        config: starting.config,
        drives: starting.drives,
        keeps: starting.keeps,
        holds_disks: !after.copies.is_empty(),
        vmstore: locations.vmstore.clone(),
        running: locations.running.clone(),
        identities: Identities::of(locations),
        inherits_stdio: options.inherit_stdio,
    })?;
    let vm = Vm {
        shared,
        thread: Mutex::new(Some(thread)),
        after: Mutex::new(Some(after)),
        process: std::process::id(),
    };
    if !folders.is_empty() {
        let mounting = async move |machine: std::rc::Rc<machine::Machine>, _| {
            let mount_all = async {
                for folder in &folders {
                    share::mount(&machine, folder).await?;
                }
                Ok(())
            };
            machine.guard(mount_all).await
        };
        vm.work(&mut |event| reporter.send_blocking(event), cancel, mounting).inspect_err(|_| {
            // It is of no use, and may not even have booted.
            let _ = vm.shared.orders.send(Order::Kill);
        })?;
    }
    Ok(vm)
}

/// What is done when a VM has ended.
#[derive(Debug)]
pub(super) struct After {
    store: Store,
    copies: Vec<FileCopy>,
    timeout: Option<Duration>,
    builder: VmOptions,
    disk: Option<VmDisk>,
}

impl After {
    /// Copies out what was asked for.
    pub(super) fn copy_out(self, listener: &mut dyn FnMut(Event), cancel: &CancelToken) -> Result<(), Error> {
        let Some(disk) = self.disk.filter(|_| !self.copies.is_empty()) else { return Ok(()) };
        call("transient-copy", listener, cancel, |reporter, cancel| {
            copies::within(self.timeout, cancel, |cancel| {
                copies::carry_out(&self.store, &disk, &[], &self.copies, &self.builder, reporter, cancel)
            })
        })
    }
}
