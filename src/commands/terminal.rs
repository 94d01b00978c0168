//! This process's own terminal, or what else its input and output are.

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;

use transient_core::Terminal;

/// Returns our input and output, whatever they are.
pub(super) fn ends() -> io::Result<Terminal> {
    let (stdin, stdout) = (io::stdin(), io::stdout());
    let copy = |descriptor: std::os::fd::BorrowedFd<'_>| descriptor.try_clone_to_owned();
    let ends = copy(stdin.as_fd()).and_then(|input| Ok((input, copy(stdout.as_fd())?)));
    let (input, output) = ends?;
    Ok(Terminal { input, output, term: std::env::var("TERM").unwrap_or_else(|_| "vt100".to_owned()) })
}

/// Returns our own terminal, if both ends of it are there.
pub(super) fn own() -> Option<Terminal> {
    let both = io::stdin().is_terminal() && io::stdout().is_terminal();
    ends().ok().filter(|_| both)
}
