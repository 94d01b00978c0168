//! How the process ends: exit statuses, and errors as people read them.

use std::io::{IsTerminal, Write};
use std::panic;

use transient_core::{Error, ErrorKind};

use crate::{interrupt, render};

/// The exit status of the process. The numbers are part of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// 0
    Success,
    /// 1: what was asked for could not be done.
    Failure,
    /// 2: what was asked for makes no sense.
    Usage,
    /// What a command in a VM ended with.
    Command(u8),
    /// 128 and the number: a signal ended the work, SIGINT unless it is known.
    Signal(u8),
}

/// The number of SIGPIPE: whoever reads our output is gone.
const SIGPIPE: u8 = 13;

impl From<Status> for u8 {
    fn from(status: Status) -> Self {
        match status {
            Status::Success => 0,
            Status::Failure => 1,
            Status::Usage => 2,
            Status::Command(status) => status,
            Status::Signal(number) => 128 + number,
        }
    }
}

impl Status {
    /// Of what a command in a VM ended with.
    pub(crate) fn of_command(status: u32) -> Self {
        Self::Command(u8::try_from(status).unwrap_or(u8::MAX))
    }
}

/// Why a subcommand failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The library said so.
    Core(Error),
    /// A file could not be written.
    Write(String, std::io::Error),
    /// The user did not agree, or could not be asked.
    Refused { kind: ErrorKind, message: &'static str, hints: &'static [&'static str] },
    /// Whoever reads our output is gone.
    Pipe,
    /// The output says what is wrong.
    Told,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Core(error)
    }
}

/// Writing to stdout failed.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Self::Pipe,
            _ => Self::Write("stdout".to_owned(), error),
        }
    }
}

impl Failure {
    pub(crate) fn status(&self) -> Status {
        match self {
            Self::Core(error) if error.kind() == ErrorKind::Cancelled => Status::Signal(interrupt::signal()),
            Self::Core(_) | Self::Write(..) | Self::Refused { .. } | Self::Told => Status::Failure,
            Self::Pipe => Status::Signal(SIGPIPE),
        }
    }

    /// Prints it for people, on stderr.
    pub(crate) fn print(&self) {
        let text = match self {
            Self::Core(error) if error.kind() == ErrorKind::Cancelled => "error: interrupted".to_owned(),
            Self::Core(error) if std::io::stderr().is_terminal() && render::colors() => {
                readable(&error.report_colored())
            }
            Self::Core(error) => readable(&error.report()),
            Self::Write(what, error) => format!("error: cannot write {what}: {error}"),
            Self::Refused { message, hints, .. } => {
                let hints = hints.iter().map(|hint| format!("\nhint: {hint}"));
                format!("error: {message}{}", hints.collect::<String>())
            }
            Self::Pipe | Self::Told => return,
        };
        // There is nobody left to tell when stderr is gone.
        let _ = writeln!(std::io::stderr(), "{text}");
    }

    /// Prints it for programs, as a line on stdout, and returns what it amounts to.
    pub(crate) fn print_json(self) -> Self {
        let error = match &self {
            Self::Core(error) => serde_json::json!(error),
            Self::Refused { kind, message, hints } => serde_json::json!({
                "code": kind.code(), "kind": kind.name(), "message": message, "hints": hints,
            }),
            Self::Write(..) | Self::Pipe | Self::Told => {
                self.print();
                return self;
            }
        };
        let line = serde_json::json!({ "event": "error", "error": error });
        match writeln!(std::io::stdout(), "{line}") {
            Ok(()) => self,
            Err(error) => error.into(),
        }
    }
}

/// Messages that scripts look for at the start of a line: these get no prefix.
const KEPT: &[&str] = &[
    "Required program '",
    "Could not run required program '",
    "Command produced garbage",
    "No image in backend with name '",
    "Backend '",
    "Unable to find image '",
    "An image with the name '",
    "No VM with name '",
    "A VM with name ",
    "Unable to acquire lock for the VM named '",
    "No running VM",
    "Running VM '",
    "Invalid configuration file '",
    "error: ",
];

/// Returns a report as it is printed.
pub(crate) fn readable(report: &str) -> String {
    let kept = KEPT.iter().any(|start| report.starts_with(start));
    if kept { report.to_owned() } else { format!("error: {report}") }
}

/// Prints a panic as one line that asks for a report: it is a bug, and a trace helps no user.
pub(crate) fn install_panic_hook() {
    panic::set_hook(Box::new(|info| {
        let message = match (info.payload().downcast_ref::<&str>(), info.payload().downcast_ref::<String>()) {
            (Some(message), _) => message,
            (None, Some(message)) => message.as_str(),
            (None, None) => "no message",
        };
        let place =
            info.location().map(|place| format!(" ({}:{})", place.file(), place.line())).unwrap_or_default();
        let message = message.lines().next().unwrap_or_default();
        let _ = writeln!(std::io::stderr(), "error: a bug in transient, please report it: {message}{place}");
    }));
}

/// Runs the program; a panic, which the hook has printed, is a failure like others.
pub(crate) fn guard(program: impl FnOnce() -> Status + panic::UnwindSafe) -> u8 {
    panic::catch_unwind(program).unwrap_or(Status::Failure).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_messages_that_scripts_look_for_have_no_prefix() {
        assert_eq!(readable("the disk is full"), "error: the disk is full");
        let kept = "No image in backend with name 'x'\nhint: y";
        assert_eq!(readable(kept), kept);
    }

    #[test]
    fn a_panic_is_status_1() {
        assert_eq!(guard(|| Status::Usage), 2);
        assert_eq!(guard(|| panic!("on purpose")), 1);
    }
}
