//! Ending a long call from somewhere else.

use tokio_util::sync::CancellationToken;

/// Ends the long calls that it was given to. Clones are the same token; any thread may cancel.
///
/// ```
/// let cancel = transient_core::CancelToken::new();
/// let elsewhere = cancel.clone();
/// std::thread::spawn(move || elsewhere.cancel()).join().expect("no panic");
/// assert!(cancel.is_cancelled());
/// ```
#[derive(Debug, Clone, Default)]
pub struct CancelToken(CancellationToken);

impl CancelToken {
    /// Returns a token that nobody has cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the calls that hold this token. They clean up, then return [`crate::ErrorKind::Cancelled`].
    pub fn cancel(&self) {
        self.0.cancel();
    }

    /// Returns whether [`CancelToken::cancel`] was called.
    pub fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Returns a token that is cancelled with this one, and can be cancelled alone.
    pub(crate) fn child(&self) -> Self {
        Self(self.0.child_token())
    }

    /// Returns a guard that cancels when it is dropped.
    pub(crate) fn drop_guard(self) -> tokio_util::sync::DropGuard {
        self.0.drop_guard()
    }

    /// Waits until the token is cancelled.
    pub(crate) async fn cancelled(&self) {
        self.0.cancelled().await;
    }

    /// Returns an error when the token is cancelled, for loops that cannot await.
    pub(crate) fn check(&self) -> Result<(), crate::Error> {
        if self.is_cancelled() { Err(crate::Error::cancelled()) } else { Ok(()) }
    }
}
