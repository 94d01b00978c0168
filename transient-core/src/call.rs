//! Long calls: the work is done on a thread of its own, its events are told on the caller's.

use crate::event::Reporter;
use crate::{CancelToken, Error, ErrorKind, Event};

/// Does work that reports events, and returns when it is done and all of them have been told.
///
/// A thread of its own: the caller's may be inside somebody's async runtime, and a child process lives no longer
/// than the thread that started it.
pub(crate) fn call<T: Send>(
    thread: &str,
    listener: &mut dyn FnMut(Event),
    cancel: &CancelToken,
    work: impl FnOnce(&Reporter, &CancelToken) -> Result<T, Error> + Send,
) -> Result<T, Error> {
    let (reporter, events) = Reporter::channel();
    // A listener that panics ends the work too.
    let cancel = cancel.child();
    let on_panic = cancel.clone().drop_guard();
    let done = std::thread::scope(|scope| {
        let worker = std::thread::Builder::new()
            .name(thread.to_owned())
            .spawn_scoped(scope, move || {
                crate::sys::block_broken_pipes();
                work(&reporter, &cancel)
            })
            .map_err(|error| Error::io("cannot start a thread", error))?;
        while let Ok(event) = events.recv_blocking() {
            listener(event);
        }
        worker.join().unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Internal, "the work stopped by a fault of the library"))
        })
    });
    on_panic.disarm();
    done
}
