//! Child processes of PID 1, joined to SSH channels.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use russh::server::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use rustix::process::{Pid, PidfdFlags, WaitOptions, pidfd_open, wait};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::unix::pipe;
use transient_guest::protocol::EXIT_NOT_STARTED;

/// How much of a pipe is read at once.
const CHUNK: usize = 64 * 1024;

/// The children that somebody waits for; orphans are reaped only while there are none.
static WAITED_FOR: AtomicUsize = AtomicUsize::new(0);

/// Runs a command with `input`, and its output joined to a channel, and ends the channel with its exit status.
pub(crate) async fn run(
    mut command: Command,
    input: Vec<u8>,
    reader: ChannelReadHalf,
    writer: ChannelWriteHalf<Msg>,
) {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let status = match command.spawn() {
        Ok(child) => joined(child, input, reader, &writer).await,
        Err(error) => {
            let _ = writer.extended_data_bytes(1, format!("{error}\n").into_bytes()).await;
            EXIT_NOT_STARTED
        }
    };
    finish(&writer, status).await;
}

/// Runs a command on a pseudo-terminal that is joined to a channel.
pub(crate) async fn run_on_terminal(
    mut command: Command,
    controller: OwnedFd,
    terminal: OwnedFd,
    reader: ChannelReadHalf,
    writer: ChannelWriteHalf<Msg>,
) {
    let streams = terminal.try_clone().and_then(|second| Ok((second, terminal.try_clone()?)));
    let spawned =
        streams.and_then(|(output, errors)| command.stdin(terminal).stdout(output).stderr(errors).spawn());
    // The command holds the terminal; its end would not show while we held it too.
    drop(command);
    let status = match spawned {
        Ok(child) => {
            let typing = tokio::spawn(type_in(reader, controller.try_clone()));
            let (_, status) = tokio::join!(show(controller, &writer), ended(child));
            typing.abort();
            status
        }
        Err(error) => {
            let _ = writer.data_bytes(format!("{error}\r\n").into_bytes()).await;
            EXIT_NOT_STARTED
        }
    };
    finish(&writer, status).await;
}

/// Ends a channel with an exit status.
pub(crate) async fn finish(writer: &ChannelWriteHalf<Msg>, status: u32) {
    // A host that is gone shows as the end of the session; nothing is to be done here.
    let _ = writer.eof().await;
    let _ = writer.exit_status(status).await;
    let _ = writer.close().await;
}

async fn joined(
    mut child: Child,
    input: Vec<u8>,
    reader: ChannelReadHalf,
    writer: &ChannelWriteHalf<Msg>,
) -> u32 {
    let stdin = child.stdin.take().map(OwnedFd::from);
    let stdout = child.stdout.take().map(OwnedFd::from);
    let stderr = child.stderr.take().map(OwnedFd::from);
    let feeding = tokio::spawn(feed(input, stdin));
    let draining = tokio::spawn(drain(reader));
    let (_, _, status) =
        tokio::join!(pump(stdout, writer, None), pump(stderr, writer, Some(1)), ended(child));
    feeding.abort();
    draining.abort();
    status
}

/// Passes all of its input to the child.
async fn feed(input: Vec<u8>, stdin: Option<OwnedFd>) {
    if let Some(mut stdin) = stdin.and_then(|stdin| pipe::Sender::from_owned_fd(stdin).ok()) {
        // A child that does not want it is free not to read it.
        let _ = stdin.write_all(&input).await;
    }
}

/// Reads what else the host sends: a channel that nobody reads would stall the whole connection.
async fn drain(mut reader: ChannelReadHalf) {
    while reader.wait().await.is_some() {}
}

/// Passes what a pipe brings to the channel, until its end.
async fn pump(pipe: Option<OwnedFd>, writer: &ChannelWriteHalf<Msg>, extended: Option<u32>) {
    let Some(mut pipe) = pipe.and_then(|pipe| pipe::Receiver::from_owned_fd(pipe).ok()) else { return };
    let mut buffer = vec![0; CHUNK];
    while let Ok(length @ 1..) = pipe.read(&mut buffer).await {
        let data = buffer[..length].to_vec();
        let sent = match extended {
            Some(kind) => writer.extended_data_bytes(kind, data).await,
            None => writer.data_bytes(data).await,
        };
        if sent.is_err() {
            return;
        }
    }
}

/// Passes what the terminal shows to the channel, until everybody has closed it.
async fn show(controller: OwnedFd, writer: &ChannelWriteHalf<Msg>) {
    let Ok(controller) = nonblocking(controller) else { return };
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = controller.async_io(Interest::READABLE, |mut file| (&mut file).read(&mut buffer)).await;
        match read {
            Ok(length @ 1..) if writer.data_bytes(buffer[..length].to_vec()).await.is_ok() => {}
            // EIO says that no process has the terminal open any more.
            _ => return,
        }
    }
}

/// Passes what the person types to the terminal, and its new sizes.
async fn type_in(mut reader: ChannelReadHalf, controller: std::io::Result<OwnedFd>) {
    let Ok(controller) = controller.and_then(nonblocking) else { return };
    while let Some(message) = reader.wait().await {
        match message {
            ChannelMsg::Data { data } => {
                let mut rest = &data[..];
                while !rest.is_empty() {
                    match controller.async_io(Interest::WRITABLE, |mut file| (&mut file).write(rest)).await {
                        Ok(length) => rest = &rest[length..],
                        Err(_) => return,
                    }
                }
            }
            ChannelMsg::WindowChange { col_width, row_height, .. } => {
                resize(controller.get_ref(), col_width, row_height);
            }
            _ => {}
        }
    }
}

/// Tells a terminal its size in characters.
pub(crate) fn resize(terminal: impl AsFd, columns: u32, rows: u32) {
    let size = rustix::termios::Winsize {
        ws_col: u16::try_from(columns).unwrap_or(u16::MAX),
        ws_row: u16::try_from(rows).unwrap_or(u16::MAX),
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // A terminal of the wrong size is no reason to end.
    let _ = rustix::termios::tcsetwinsize(terminal, size);
}

fn nonblocking(descriptor: OwnedFd) -> std::io::Result<AsyncFd<File>> {
    let flags = rustix::fs::fcntl_getfl(&descriptor)?;
    rustix::fs::fcntl_setfl(&descriptor, flags | rustix::fs::OFlags::NONBLOCK)?;
    crate::sys::watch(File::from(descriptor))
}

/// Waits for a child through a pidfd, so that no other child's status is taken.
async fn ended(mut child: Child) -> u32 {
    WAITED_FOR.fetch_add(1, Ordering::Relaxed);
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let watched = pid
        .and_then(|pid| pidfd_open(pid, PidfdFlags::NONBLOCK).ok())
        .and_then(|pidfd| crate::sys::watch(File::from(pidfd)).ok());
    if let Some(watched) = &watched {
        let _ = watched.readable().await;
    }
    let status = child.wait();
    if WAITED_FOR.fetch_sub(1, Ordering::Relaxed) == 1 {
        reap_orphans();
    }
    status.map_or(EXIT_NOT_STARTED, shell_status)
}

/// Takes the statuses of processes whose parents died before them.
fn reap_orphans() {
    while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
}

/// The status as a shell gives it: 128 + n for signal n.
fn shell_status(status: ExitStatus) -> u32 {
    let number = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    u32::try_from(number).unwrap_or(EXIT_NOT_STARTED)
}
