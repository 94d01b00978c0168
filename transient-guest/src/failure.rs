//! Why a request could not be carried out.

use std::io;

use rustix::io::Errno;

use crate::protocol::{FailureCause, Reply};

/// A request that could not be carried out, as the host is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What went wrong, a fragment that fits after "failed: ".
    pub message: String,
    /// What the program that failed printed.
    pub output: String,
    /// The kind that the host tells apart.
    pub cause: FailureCause,
}

impl Failure {
    /// Returns a failure of the given kind.
    pub fn new(cause: FailureCause, message: impl Into<String>) -> Self {
        Self { message: message.into(), output: String::new(), cause }
    }

    /// Returns a failure of no special kind.
    pub fn other(message: impl Into<String>) -> Self {
        Self::new(FailureCause::Other, message)
    }

    /// Returns the failure of a system call: `doing` says what it was for ("cannot mount /dev/vda1").
    pub fn system(doing: impl Into<String>, error: impl Into<io::Error>) -> Self {
        let error = error.into();
        let cause = match error.raw_os_error() {
            Some(code) if code == Errno::NOSPC.raw_os_error() || code == Errno::DQUOT.raw_os_error() => {
                FailureCause::NoSpace
            }
            _ => FailureCause::Other,
        };
        Self::new(cause, format!("{}: {error}", doing.into()))
    }

    /// Adds what a program printed.
    pub fn with_output(mut self, output: impl Into<String>) -> Self {
        self.output = output.into();
        self
    }

    /// Returns the reply that tells the host.
    pub fn into_reply(self) -> Reply {
        Reply::Failed { message: self.message, output: self.output, cause: self.cause }
    }
}

/// Puts words round the error of a system call.
pub trait Doing<T> {
    /// Turns an error into a [`Failure`] that says what was being done.
    fn doing<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T, Failure> {
        self.map_err(|error| Failure::system(what(), error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_filesystem_is_told_apart() {
        let failure = Failure::system("cannot write /a", Errno::NOSPC);
        assert_eq!(failure.cause, FailureCause::NoSpace);
        assert!(failure.message.starts_with("cannot write /a: No space left"), "{}", failure.message);
        assert_eq!(Failure::system("x", Errno::IO).cause, FailureCause::Other);
    }
}
