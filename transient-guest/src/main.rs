//! The program that runs in the builder VM. As PID 1 it boots the guest and serves the host; the other
//! forms are child processes of that one, so that no failure of an operation can end the guest.

#![deny(unsafe_code)]

mod boot;
mod child;
mod disk;
mod network;
mod operations;
mod port;
mod request;
mod server;
mod sys;

use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use transient_guest::protocol::{EXIT_NOT_STARTED, FailureCause, Reply, Request};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let form = arguments.next();
    match form.as_deref().and_then(|form| form.to_str()) {
        Some("operate") => operate(arguments.next().as_deref()),
        Some("run") => {
            let command = arguments.next().unwrap_or_default();
            operations::run_command(&command)
        }
        Some("inspect") => inspect(),
        Some(boot::MODPROBE_FLAG) => modprobe(arguments.last().as_deref()),
        Some("container") => operations::container_init(&arguments.collect::<Vec<_>>()),
        _ if std::process::id() == 1 => boot::boot(),
        _ => {
            eprintln!("this program only runs in transient's builder VM");
            ExitCode::FAILURE
        }
    }
}

/// Carries out the request that comes over standard input.
fn operate(data_port: Option<&OsStr>) -> ExitCode {
    let mut answer = |reply: Reply| {
        let mut line = Vec::new();
        request::append(&mut line, &reply);
        // The host being gone is noticed by the agent; there is nobody to tell it here.
        let _ = std::io::stdout().write_all(&line);
    };
    match serde_json::from_reader::<_, Request>(std::io::stdin()) {
        Ok(request) => operations::operate(request, data_port.map(Path::new), &mut answer),
        Err(error) => answer(Reply::Failed {
            message: format!("the request cannot be read: {error}"),
            output: String::new(),
            cause: FailureCause::Other,
        }),
    }
    ExitCode::SUCCESS
}

/// Loads the module that the kernel asks for.
fn modprobe(alias: Option<&OsStr>) -> ExitCode {
    match alias.and_then(OsStr::to_str).map(operations::modules::load_for_kernel) {
        Some(Ok(true)) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Runs a shell on the terminal that is standard input, which becomes the controlling one.
fn inspect() -> ExitCode {
    let controlling =
        rustix::process::setsid().and_then(|_| rustix::process::ioctl_tiocsctty(std::io::stdin()));
    if let Err(error) = controlling {
        eprintln!("cannot take the terminal: {error}");
        return ExitCode::from(u8::try_from(EXIT_NOT_STARTED).unwrap_or(1));
    }
    operations::inspect()
}
