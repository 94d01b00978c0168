//! Bytes on their way in: counted for progress, checked against a checksum, ended by a cancel.

use std::io::{self, Read};

use super::Place;
use crate::event::Reporter;
use crate::image::{Checksum, Hasher};
use crate::{CancelToken, Error, ErrorKind, Event};

/// How many bytes make an event.
const STEP: u64 = 1 << 20;
/// How much is read at a time where nobody wants it but the checksum.
const CHUNK: usize = 1 << 18;

/// Where bytes come from.
pub(super) struct Origin {
    /// What people call it.
    pub(super) named: String,
    /// What progress calls the reading of it.
    pub(super) task: String,
    /// How many bytes there are, if that is known.
    pub(super) total: Option<u64>,
    /// What they must add up to.
    pub(super) checksum: Option<Checksum>,
    /// The bytes. What goes wrong is an [`io::Error`] around an [`Error`].
    pub(super) stream: Box<dyn Read + Send>,
}

/// Reads an [`Origin`].
pub(super) struct Intake<'a> {
    origin: Origin,
    hasher: Option<Hasher>,
    done: u64,
    told: u64,
    failure: Option<Error>,
    reporter: &'a Reporter,
    cancel: &'a CancelToken,
}

impl<'a> Intake<'a> {
    pub(super) fn new(origin: Origin, place: &Place<'a>) -> Self {
        let hasher = origin.checksum.as_ref().map(Checksum::hasher);
        let (reporter, cancel) = (place.reporter, place.cancel);
        Self { origin, hasher, done: 0, told: 0, failure: None, reporter, cancel }
    }

    /// Returns what people call the origin.
    pub(super) fn named(&self) -> &str {
        &self.origin.named
    }

    /// Returns why reading failed, if it did. Whoever read through a decompressor has another explanation.
    pub(super) fn failure(&mut self) -> Option<Error> {
        self.failure.take()
    }

    /// Returns whether there is a checksum to compare with.
    pub(super) fn is_checked(&self) -> bool {
        self.hasher.is_some()
    }

    /// Reads what nobody wanted, and compares the checksum.
    pub(super) fn finish(mut self) -> Result<(), Error> {
        let mut rest = vec![0; CHUNK];
        loop {
            match self.read(&mut rest) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failure().unwrap_or_else(|| Error::io("cannot read", error))),
            }
        }
        let Origin { named, task, total, checksum, .. } = self.origin;
        self.reporter.send_blocking(Event::Progress { task, done: self.done, total, finished: true });
        match (checksum, self.hasher.map(Hasher::finish)) {
            (Some(expected), Some(actual)) if expected.digest() != actual => {
                Err(mismatch(&named, &expected, &actual))
            }
            _ => Ok(()),
        }
    }

    fn count(&mut self, data: &[u8]) {
        if let Some(hasher) = &mut self.hasher {
            hasher.update(data);
        }
        self.done += data.len() as u64;
        if self.done - self.told >= STEP {
            self.told = self.done;
            self.reporter.progress(&self.origin.task, self.done, self.origin.total);
        }
    }
}

impl Read for Intake<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.failure.is_some() {
            return Err(failed());
        }
        let read = match self.cancel.check() {
            Ok(()) => self.origin.stream.read(buffer),
            Err(cancelled) => Err(io::Error::other(cancelled)),
        };
        match read {
            Ok(length) => {
                self.count(&buffer[..length]);
                Ok(length)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let failure = error.downcast::<Error>();
                self.failure = Some(failure.unwrap_or_else(|error| Error::io("cannot read", error)));
                Err(failed())
            }
        }
    }
}

/// What is told to those who read; the true reason is kept.
fn failed() -> io::Error {
    io::Error::other("reading failed")
}

fn mismatch(named: &str, expected: &Checksum, actual: &str) -> Error {
    let algorithm = expected.algorithm();
    Error::new(ErrorKind::InvalidImage, format!("the image file '{named}' is not the one that was meant"))
        .caused_by(format!("its {algorithm} checksum is {actual}, and not {}", expected.digest()))
        .hint("it was changed or damaged, or the checksum is that of another file")
}
