//! Ending a long call from another thread.

use transient_core::CancelToken;

use crate::boundary::{borrow, free, read};

/// Ends the calls that it was given to.
#[derive(Debug, Default)]
pub struct transient_cancel_token(pub(crate) CancelToken);

/// Returns the token of a handle, or one that nobody cancels for null.
pub(crate) fn token(cancel: *const transient_cancel_token) -> CancelToken {
    borrow(cancel, "cancel").map_or_else(|_| CancelToken::new(), |token| token.0.clone())
}

/// Makes a token that nobody has cancelled. The caller owns it: `transient_cancel_token_free`.
#[unsafe(no_mangle)]
pub extern "C" fn transient_cancel_token_new() -> *mut transient_cancel_token {
    Box::into_raw(Box::default())
}

/// Ends the calls that hold this token, now and from now on. They clean up, then return
/// `TRANSIENT_STATUS_CANCELLED`.
///
/// Any thread may call this, also an event callback; a signal handler must not. NULL is ignored.
#[unsafe(no_mangle)]
pub extern "C" fn transient_cancel_token_cancel(token: *const transient_cancel_token) {
    read(token, |token| token.0.cancel());
}

/// Returns whether `transient_cancel_token_cancel` was called. Any thread may ask. NULL gives false.
#[unsafe(no_mangle)]
pub extern "C" fn transient_cancel_token_is_cancelled(token: *const transient_cancel_token) -> bool {
    read(token, |token| token.0.is_cancelled())
}

/// Frees a token. NULL is ignored. A call that was given it goes on, and can no longer be cancelled by it.
#[unsafe(no_mangle)]
pub extern "C" fn transient_cancel_token_free(token: *mut transient_cancel_token) {
    free(token);
}
