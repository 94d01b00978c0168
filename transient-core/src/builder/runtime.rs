//! Where work with VMs is done.

use tokio_util::task::TaskTracker;

use crate::{CancelToken, Error};

/// Does what needs VMs; they are gone when it returns. Blocks; the calling thread outlives every process that is started.
pub(crate) fn in_vms<T, E: From<Error>>(
    cancel: &CancelToken,
    work: impl AsyncFnOnce(&TaskTracker) -> Result<T, E>,
) -> Result<T, E> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::io("cannot start an event loop", error))?;
    let processes = TaskTracker::new();
    runtime.block_on(async {
        let result = tokio::select! {
            biased;
            () = cancel.cancelled() => Err(Error::cancelled().into()),
            result = work(&processes) => result,
        };
        // The machine is dropped by now; QEMU must be gone before its files are.
        processes.close();
        processes.wait().await;
        result
    })
}
