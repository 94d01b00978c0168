//! Copies between this host and the disk of a VM that does not run, in a builder VM: the guest's image needs nothing for
//! that.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use super::FileCopy;
use super::disk::VmDisk;
use super::stored::StoredVm;
use crate::call::call;
use crate::copy::Copies;
use crate::event::Reporter;
use crate::{CancelToken, Error, ErrorKind, Event, ImageName, Store, VmOptions};

/// Does work that is cancelled when it takes too long.
pub(super) fn within<T>(
    timeout: Option<Duration>,
    cancel: &CancelToken,
    work: impl FnOnce(&CancelToken) -> Result<T, Error>,
) -> Result<T, Error> {
    let Some(timeout) = timeout else { return work(cancel) };
    let limited = cancel.child();
    let (done, waiting) = mpsc::channel::<()>();
    let result = std::thread::scope(|scope| {
        let late = limited.clone();
        scope.spawn(move || {
            if waiting.recv_timeout(timeout) == Err(RecvTimeoutError::Timeout) {
                late.cancel();
            }
        });
        let result = work(&limited);
        drop(done);
        result
    });
    match result {
        Err(error) if error.kind() == ErrorKind::Cancelled && !cancel.is_cancelled() => {
            let message = format!("the copies did not end within {} s", timeout.as_secs_f64());
            Err(Error::new(ErrorKind::Timeout, message).hint("give them longer with --copy-timeout"))
        }
        result => result,
    }
}

/// What is copied between this host and the first disk of a VM.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct CopyOptions {
    /// Copies into the VM, which come first.
    pub into: Vec<FileCopy>,
    /// Copies out of it.
    pub out: Vec<FileCopy>,
    /// How long all of it may take; `None` is as long as it likes.
    pub timeout: Option<Duration>,
    /// The VM in which the copies are made.
    pub builder: VmOptions,
}

/// Copies between this host and the first disk of a VM of the VM store that does not run, with owners, modes, times and
/// links. It needs nothing in the VM's image, and one boot of a builder VM.
///
/// # Errors
///
/// [`ErrorKind::VmNotFound`], [`ErrorKind::VmInUse`]; [`ErrorKind::NoRootFilesystem`]; [`ErrorKind::InvalidSource`] when
/// something to copy is not there.
pub fn copy(
    store: &Store,
    vm: &ImageName,
    options: &CopyOptions,
    listener: &mut dyn FnMut(Event),
    cancel: &CancelToken,
) -> Result<(), Error> {
    call("transient-copy", listener, cancel, |reporter, cancel| {
        let vm = StoredVm::open(store, vm)?;
        let Some(disk) = vm.disks.first() else { return Ok(()) };
        within(options.timeout, cancel, |cancel| {
            carry_out(store, disk, &options.into, &options.out, &options.builder, reporter, cancel)
        })
    })
}

/// Makes copies into a disk and out of it.
pub(super) fn carry_out(
    store: &Store,
    disk: &VmDisk,
    into: &[FileCopy],
    out: &[FileCopy],
    builder: &VmOptions,
    reporter: &Reporter,
    cancel: &CancelToken,
) -> Result<(), Error> {
    let copies = Copies { into: into.to_vec(), out: out.to_vec() };
    crate::copy::copy(disk.chain(), &copies, builder, store.locations(), reporter, cancel)
}
