//! The serial console: kept for later, watched for a panic, and joined to a terminal.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt, WriteHalf};
use tokio::net::UnixStream;
use tokio::sync::broadcast;

use crate::qemu::Watch;
use crate::qemu::console::Lines;
use crate::terminal::{self, Keys, RawMode};
use crate::{Error, Terminal};

/// How much of the end is kept, in bytes.
const KEPT: usize = 4 << 20;
const PIECE: usize = 16 * 1024;
/// How many pieces may wait for a slow reader, who then misses some.
const PIECES_WAITING: usize = 1024;

/// What came over a serial console.
pub(super) struct Console {
    log: Mutex<Log>,
    writer: Option<tokio::sync::Mutex<WriteHalf<UnixStream>>>,
}

struct Log {
    kept: VecDeque<u8>,
    /// `None` when the console is closed.
    pieces: Option<broadcast::Sender<Arc<[u8]>>>,
}

impl Console {
    /// Reads a console from now on. Without a stream, the user has taken the serial port.
    pub(super) fn new(stream: Option<UnixStream>, watch: Watch) -> Arc<Self> {
        let (reader, writer) = stream.map(tokio::io::split).unzip();
        let pieces = reader.as_ref().map(|_| broadcast::channel(PIECES_WAITING).0);
        let log = Mutex::new(Log { kept: VecDeque::new(), pieces });
        let console = Arc::new(Self { log, writer: writer.map(tokio::sync::Mutex::new) });
        if let Some(mut reader) = reader {
            let console = Arc::clone(&console);
            tokio::spawn(async move {
                let (mut buffer, mut lines) = (vec![0; PIECE], Lines::default());
                while let Ok(length @ 1..) = reader.read(&mut buffer).await {
                    lines.add(&buffer[..length], &watch);
                    console.add(&buffer[..length]);
                }
                console.close();
            });
        }
        console
    }

    fn add(&self, piece: &[u8]) {
        let Ok(mut log) = self.log.lock() else { return };
        log.kept.extend(piece);
        let surplus = log.kept.len().saturating_sub(KEPT);
        log.kept.drain(..surplus);
        if let Some(pieces) = &log.pieces {
            let _ = pieces.send(piece.into());
        }
    }

    fn close(&self) {
        if let Ok(mut log) = self.log.lock() {
            log.pieces = None;
        }
    }

    /// Returns the last 4 MiB that came.
    pub(super) fn text(&self) -> Vec<u8> {
        self.log.lock().map(|log| log.kept.iter().copied().collect()).unwrap_or_default()
    }

    /// Hands out what has come and what comes, until the console closes.
    pub(super) async fn follow(
        &self,
        mut each: impl AsyncFnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (before, pieces) = match self.log.lock() {
            Ok(log) => (
                log.kept.iter().copied().collect::<Vec<_>>(),
                log.pieces.as_ref().map(broadcast::Sender::subscribe),
            ),
            Err(_) => return Ok(()),
        };
        each(&before).await?;
        let Some(mut pieces) = pieces else { return Ok(()) };
        loop {
            match pieces.recv().await {
                Ok(piece) => each(&piece).await?,
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return Ok(()),
            }
        }
    }

    /// Joins a terminal, or what else these are, to the console until it closes. The end of the input is no end.
    pub(super) async fn join(&self, terminal: &Terminal) -> Result<(), Error> {
        let _raw = match terminal::is_terminal(terminal) {
            true => Some(
                RawMode::enter(terminal.input.as_fd())
                    .map_err(|error| Error::io("cannot use the terminal", error))?,
            ),
            false => None,
        };
        let keys = terminal::keys(&terminal.input)?;
        let output = terminal.output.as_fd();
        let show = self.follow(async |piece| {
            terminal::write_all(output, piece)
                .map_err(|error| Error::io("cannot write what the console shows", error))
        });
        tokio::select! {
            shown = show => shown,
            () = self.type_in(keys) => std::future::pending().await,
        }
    }

    async fn type_in(&self, mut keys: Keys) {
        let Some(writer) = &self.writer else { return };
        while let Some(Ok(keys)) = keys.recv().await {
            if writer.lock().await.write_all(&keys).await.is_err() {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn a_late_reader_sees_all_and_the_end() {
        let (mut guest, host) = UnixStream::pair().expect("a pair");
        let console = Console::new(Some(host), Watch::of_vm());
        guest.write_all(b"first ").await.expect("written");
        tokio::task::yield_now().await;
        let mut seen = Vec::new();
        let following = console.follow(async |piece| {
            seen.extend_from_slice(piece);
            Ok(())
        });
        let ending = async {
            guest.write_all(b"second").await.expect("written");
            drop(guest);
        };
        let (followed, ()) = tokio::join!(following, ending);
        followed.expect("followed");
        assert_eq!(seen, b"first second");
        assert_eq!(console.text(), b"first second");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn no_more_than_the_end_is_kept() {
        let console = Console::new(None, Watch::of_vm());
        console.add(&vec![b'x'; KEPT]);
        console.add(b"end");
        let text = console.text();
        assert!(text.len() == KEPT && text.ends_with(b"xend"));
    }
}
