//! Descriptors of the caller.

use std::ffi::c_int;
use std::os::fd::{BorrowedFd, OwnedFd};

use transient_core::Terminal;

use crate::boundary::Failure;

/// Returns a terminal that has the caller's descriptors, duplicated.
pub(crate) fn terminal(input: c_int, output: c_int, term: &str) -> Result<Terminal, Failure> {
    Ok(Terminal { input: duplicate(input)?, output: duplicate(output)?, term: term.to_owned() })
}

fn duplicate(descriptor: c_int) -> Result<OwnedFd, Failure> {
    let bad = |why: String| Failure::Argument(format!("the descriptor {descriptor} cannot be used: {why}"));
    if descriptor < 0 {
        return Err(bad("it is negative".to_owned()));
    }
    // SAFETY: not negative; whether it is open, the system says.
    let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
    borrowed.try_clone_to_owned().map_err(|error| bad(error.to_string()))
}
