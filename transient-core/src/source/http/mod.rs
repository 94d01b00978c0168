//! `http=URL`: downloading, as a stream that goes on where a connection broke.

mod address;
mod client;
mod patience;
mod setback;
mod transfer;

#[cfg(test)]
pub(super) mod server;
#[cfg(test)]
mod tests;

use std::io::{self, Read};
use std::thread::{self, JoinHandle};

use async_channel::{Receiver, Sender};
use bytes::{Buf, Bytes};

pub(super) use address::Address;
pub(super) use patience::Patience;

use super::intake::Origin;
use super::receive::{Contents, receive};
use super::{Place, Plain};
use crate::event::Reporter;
use crate::{CancelToken, Downloads, Error, ErrorKind};

/// How many pieces, of what the kernel hands over at a time, may wait for a slow reader.
const PIECES_WAITING: usize = 16;

/// Downloads a disk image.
pub(super) fn fetch(address: Address, place: &Place<'_>) -> Result<Plain, Error> {
    let named = address.to_string();
    let checked = place.checksum.is_some();
    let request = Request { address, expects: Expects::Image, token: None, checked };
    let mut origin = Download::start(request, Patience::default(), place)?.into_origin();
    origin.checksum = place.checksum.cloned();
    Plain::received(receive(origin, Contents::Disk, place)?, named)
}

/// What to ask a server for.
pub(super) struct Request {
    pub(super) address: Address,
    pub(super) expects: Expects,
    /// What proves who asks. It is not passed on to another server that the first one redirects to.
    pub(super) token: Option<String>,
    /// Whether the bytes will be compared with a checksum.
    pub(super) checked: bool,
}

/// What an answer should be. Many servers answer everything with some web page.
#[derive(Debug, Clone, Copy)]
pub(super) enum Expects {
    Image,
    Json,
}

impl Expects {
    fn media_type(self) -> &'static str {
        match self {
            Self::Image => "*/*",
            Self::Json => "application/json",
        }
    }

    fn described(self) -> &'static str {
        match self {
            Self::Image => "an image",
            Self::Json => "a description in JSON",
        }
    }
}

/// Why a download failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: Error,
    /// Whether the server knows nothing of the kind, so that it may be elsewhere.
    pub(super) absent: bool,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, absent: false }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}

/// What the thread that downloads tells the one that reads.
enum Message {
    /// The server is about to send so many bytes.
    Begun { total: Option<u64> },
    /// The next bytes.
    Bytes(Bytes),
    /// That was all.
    End,
}

/// The bytes of a download. Dropping it ends it.
pub(super) struct Download {
    named: String,
    total: Option<u64>,
    messages: Receiver<Result<Message, Failure>>,
    current: Bytes,
    ended: bool,
    cancel: CancelToken,
    worker: Option<JoinHandle<()>>,
}

impl Download {
    /// Asks the server, and returns when it is about to send what was asked for.
    pub(super) fn start(request: Request, patience: Patience, place: &Place<'_>) -> Result<Self, Failure> {
        let (sender, messages) = async_channel::bounded(PIECES_WAITING);
        let cancel = place.cancel.child();
        let named = request.address.to_string();
        let work = Work {
            request,
            patience,
            downloads: place.store.locations().downloads.clone(),
            reporter: place.reporter.clone(),
            cancel: cancel.clone(),
        };
        // A thread of its own: the caller's may be inside somebody's async runtime.
        let worker = thread::Builder::new()
            .name("transient-http".to_owned())
            .spawn(move || work.run(&sender))
            .map_err(|error| Error::io("cannot start a thread", error))?;
        let mut download = Self {
            named,
            total: None,
            messages,
            current: Bytes::new(),
            ended: false,
            cancel,
            worker: Some(worker),
        };
        if let Message::Begun { total } = download.next()? {
            download.total = total;
        }
        Ok(download)
    }

    pub(super) fn into_origin(self) -> Origin {
        Origin {
            named: self.named.clone(),
            task: format!("Downloading {}", self.named),
            total: self.total,
            checksum: None,
            stream: Box::new(self),
        }
    }

    fn next(&mut self) -> Result<Message, Failure> {
        let lost = |_| Error::new(ErrorKind::Internal, "the download stopped by a fault of the library");
        self.messages.recv_blocking().map_err(lost)?
    }
}

impl Read for Download {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !self.current.has_remaining() && !self.ended {
            match self.next().map_err(|failure| io::Error::other(failure.error))? {
                Message::Begun { .. } => {}
                Message::Bytes(bytes) => self.current = bytes,
                Message::End => self.ended = true,
            }
        }
        let length = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        self.cancel.cancel();
        // It may be waiting for us to read on.
        self.messages.close();
        if let Some(worker) = self.worker.take() {
            // It has said already what went wrong.
            let _ = worker.join();
        }
    }
}

/// What the thread that downloads needs.
struct Work {
    request: Request,
    patience: Patience,
    downloads: Downloads,
    reporter: Reporter,
    cancel: CancelToken,
}

impl Work {
    fn run(self, messages: &Sender<Result<Message, Failure>>) {
        let outcome = self.transfer(messages).map(|()| Message::End);
        // Nobody listens only where the whole is being given up.
        let _ = messages.send_blocking(outcome);
    }

    fn transfer(&self, messages: &Sender<Result<Message, Failure>>) -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Error::io("cannot start an event loop", error))?;
        let client = client::client(&self.downloads, &self.patience, self.request.checked)?;
        let transfer =
            transfer::Transfer::new(client, &self.request, self.patience, &self.reporter, messages);
        let outcome = runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => Err(Error::cancelled().into()),
                outcome = transfer.run() => outcome,
            }
        });
        // A look-up of a name may still be under way; it ends by itself.
        runtime.shutdown_background();
        outcome
    }
}
