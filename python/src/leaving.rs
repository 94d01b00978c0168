//! VMs whose owners have gone: they shut down in the background, and the interpreter waits for them at its end.

use std::process;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;

use pyo3::prelude::*;
use transient_core::{CancelToken, Vm};

use crate::call::wait_for;

/// The VMs that objects of Python have.
static OWNED: Mutex<Vec<Weak<Vm>>> = Mutex::new(Vec::new());
/// The threads that shut VMs down, each with its process: a forked child has none of them.
static LEAVING: Mutex<Vec<(u32, JoinHandle<()>)>> = Mutex::new(Vec::new());

fn lock<T>(list: &'static Mutex<Vec<T>>) -> MutexGuard<'static, Vec<T>> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes note of a VM that an object has.
pub(crate) fn own(vm: &Arc<Vm>) {
    let mut owned = lock(&OWNED);
    owned.retain(|vm| vm.strong_count() > 0);
    owned.push(Arc::downgrade(vm));
}

/// Shuts a VM down that nobody has any more.
pub(crate) fn leave(vm: Arc<Vm>) {
    let mut leaving = lock(&LEAVING);
    leaving.retain(|(_, thread)| !thread.is_finished());
    let thread = std::thread::Builder::new().name("transient".to_owned()).spawn(move || drop(vm));
    leaving.extend(thread.ok().map(|thread| (process::id(), thread)));
}

/// Shuts down all VMs, and waits for them.
fn leave_all() {
    let owned: Vec<_> = lock(&OWNED).drain(..).filter_map(|vm| vm.upgrade()).collect();
    let stops = owned
        .into_iter()
        .map(|vm| std::thread::spawn(move || drop(vm.stop(false, &mut |_| {}, &CancelToken::new()))));
    let stops: Vec<_> = stops.collect();
    let leaving =
        std::mem::take(&mut *lock(&LEAVING)).into_iter().filter(|(owner, _)| *owner == process::id());
    for thread in leaving.map(|(_, thread)| thread).chain(stops) {
        let _ = thread.join();
    }
}

/// Has the interpreter shut down all VMs at its end. Ctrl-C ends them at once: QEMU ends with the process.
pub(crate) fn at_exit(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let function = wrap_pyfunction!(leave_vms, module)?;
    module.py().import("atexit")?.call_method1("register", (function,))?;
    Ok(())
}

#[pyfunction]
fn leave_vms(py: Python<'_>) -> PyResult<()> {
    let is_any_left = lock(&OWNED).iter().any(|vm| vm.strong_count() > 0) || !lock(&LEAVING).is_empty();
    if is_any_left { wait_for(py, leave_all) } else { Ok(()) }
}
