//! Signals: the first ends the work cleanly, the second ends the process.

use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use transient_core::CancelToken;

static FIRST: AtomicU8 = AtomicU8::new(0);

/// Returns the signal that ended the work; SIGINT when there was none.
pub(crate) fn signal() -> u8 {
    match FIRST.load(Ordering::SeqCst) {
        0 => u8::try_from(SIGINT).unwrap_or(2),
        signal => signal,
    }
}

/// Returns a token that SIGINT, SIGTERM and SIGHUP cancel from now on.
///
/// # Errors
///
/// When the system refuses to watch signals or to start a thread.
pub(crate) fn token() -> std::io::Result<CancelToken> {
    let token = CancelToken::new();
    let cancel = token.clone();
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in &mut signals {
            let signal = u8::try_from(signal).unwrap_or(2);
            if FIRST.compare_exchange(0, signal, Ordering::SeqCst, Ordering::SeqCst).is_err() {
                // Whoever asks twice does not want to wait. The kernel ends QEMU with us.
                std::process::exit(128 + i32::from(signal));
            }
            cancel.cancel();
        }
    })?;
    Ok(token)
}
