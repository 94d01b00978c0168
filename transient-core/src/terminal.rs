//! A person's terminal, joined to a shell elsewhere.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelWriteHalf};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::termios::{OptionalActions, Termios, Winsize, isatty, tcgetattr, tcgetwinsize, tcsetattr};
use rustix::time::Timespec;
use tokio::sync::mpsc;

use crate::build::Terminal;
use crate::{Error, ErrorKind};

/// How often the terminal's size is looked at; the library takes no signals.
const SIZE_INTERVAL: Duration = Duration::from_millis(250);
/// How soon reading keys notices that it is over.
const KEYS_INTERVAL: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// The status of a command that a signal ended: as of SIGTERM.
const ENDED_BY_SIGNAL: u32 = 128 + 15;
/// How many reads of keys may wait for the guest.
const KEYS_WAITING: usize = 16;

/// What runs on a terminal.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Start<'a> {
    Shell,
    Command(&'a str),
}

/// What is typed, in pieces, until the end or an error.
pub(crate) type Keys = mpsc::Receiver<io::Result<Vec<u8>>>;

/// Joins a terminal to a shell or a command until it exits; returns its status, 128 + n for signal n.
///
/// `lost` makes an error of what ended the connection.
pub(crate) async fn join(
    channel: Channel<Msg>,
    terminal: &Terminal,
    start: Start<'_>,
    lost: impl Fn(russh::Error) -> Error,
) -> Result<u32, Error> {
    let (mut reader, writer) = channel.split();
    let size = size(terminal);
    writer
        .request_pty(true, &terminal.term, size.ws_col.into(), size.ws_row.into(), 0, 0, &[])
        .await
        .map_err(&lost)?;
    match start {
        Start::Shell => writer.request_shell(true).await,
        Start::Command(command) => writer.exec(true, command).await,
    }
    .map_err(&lost)?;
    let _raw = RawMode::enter(terminal.input.as_fd()).map_err(unusable)?;
    let keys = keys(&terminal.input)?;

    let mut status = None;
    let show = async {
        while let Some(message) = reader.wait().await {
            match message {
                ChannelMsg::Data { data } | ChannelMsg::ExtendedData { data, .. } => {
                    write_all(terminal.output.as_fd(), &data).map_err(unusable)?;
                }
                ChannelMsg::ExitStatus { exit_status } => status = Some(exit_status),
                ChannelMsg::ExitSignal { .. } => status = Some(ENDED_BY_SIGNAL),
                ChannelMsg::Failure => {
                    return Err(Error::new(ErrorKind::StepFailed, "the guest gives no terminal"));
                }
                _ => {}
            }
        }
        Ok(())
    };
    tokio::select! {
        shown = show => shown?,
        error = type_in(keys, &writer) => return Err(Error::io("cannot read from the terminal", error)),
        () = follow_size(terminal, size, &writer) => {}
    }
    status.ok_or_else(|| lost(russh::Error::Disconnect))
}

fn unusable(error: io::Error) -> Error {
    Error::io("cannot use the terminal", error)
}

/// Whether both ends are terminals.
pub(crate) fn is_terminal(terminal: &Terminal) -> bool {
    isatty(&terminal.input) && isatty(&terminal.output)
}

/// Returns an error unless both ends are terminals.
pub(crate) fn check(terminal: Option<&Terminal>) -> Result<&Terminal, Error> {
    terminal.filter(|terminal| is_terminal(terminal)).ok_or_else(|| {
        Error::new(ErrorKind::NotATerminal, "INSPECT needs a terminal, and there is none")
            .hint("run the build in a terminal, or remove the INSPECT")
    })
}

/// Reads what the person types, on a thread of its own: others share the terminal's open file, so that it
/// has to stay in blocking mode. The thread ends soon after the receiver is dropped.
pub(crate) fn keys(input: &OwnedFd) -> Result<Keys, Error> {
    let input = input.try_clone().map_err(unusable)?;
    let (sender, receiver) = mpsc::channel(KEYS_WAITING);
    tokio::task::spawn_blocking(move || {
        while !sender.is_closed() {
            match read_keys(input.as_fd()) {
                Ok(None) => {}
                Ok(Some(keys)) if keys.is_empty() => return,
                Ok(Some(keys)) => drop(sender.blocking_send(Ok(keys))),
                Err(error) => return drop(sender.blocking_send(Err(error))),
            }
        }
    });
    Ok(receiver)
}

/// Returns what was typed, nothing at the end, or `None` if nothing was for a moment.
fn read_keys(input: BorrowedFd<'_>) -> io::Result<Option<Vec<u8>>> {
    let mut descriptors = [PollFd::from_borrowed_fd(input, PollFlags::IN)];
    if poll(&mut descriptors, Some(&KEYS_INTERVAL))? == 0 {
        return Ok(None);
    }
    let mut buffer = [0; 4096];
    let length = rustix::io::read(input, &mut buffer)?;
    Ok(Some(buffer[..length].to_vec()))
}

/// Passes on what the person types; only returns with an error.
async fn type_in(mut keys: Keys, writer: &ChannelWriteHalf<Msg>) -> io::Error {
    loop {
        let sent = match keys.recv().await {
            Some(Ok(keys)) => writer.data_bytes(keys).await.map_err(io::Error::other),
            Some(Err(error)) => Err(error),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        };
        if let Err(error) = sent {
            return error;
        }
    }
}

/// Passes on new sizes of the terminal; never returns.
async fn follow_size(terminal: &Terminal, mut last: Winsize, writer: &ChannelWriteHalf<Msg>) {
    loop {
        tokio::time::sleep(SIZE_INTERVAL).await;
        let now = size(terminal);
        if (now.ws_col, now.ws_row) != (last.ws_col, last.ws_row) {
            last = now;
            // A connection that is gone is noticed by the reader.
            let _ = writer.window_change(now.ws_col.into(), now.ws_row.into(), 0, 0).await;
        }
    }
}

fn size(terminal: &Terminal) -> Winsize {
    tcgetwinsize(&terminal.output).unwrap_or(Winsize { ws_col: 80, ws_row: 24, ws_xpixel: 0, ws_ypixel: 0 })
}

pub(crate) fn write_all(output: BorrowedFd<'_>, mut data: &[u8]) -> io::Result<()> {
    while !data.is_empty() {
        match rustix::io::write(output, data) {
            Ok(length) => data = &data[length..],
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Raw mode, until it is dropped.
pub(crate) struct RawMode<'a> {
    terminal: BorrowedFd<'a>,
    before: Termios,
}

impl<'a> RawMode<'a> {
    pub(crate) fn enter(terminal: BorrowedFd<'a>) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(terminal, OptionalActions::Drain, &raw)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for RawMode<'_> {
    fn drop(&mut self) {
        // There is no one to tell, and nothing else to try.
        let _ = tcsetattr(self.terminal, OptionalActions::Drain, &self.before);
    }
}
