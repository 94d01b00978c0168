//! A builder VM that runs: booted on a disk, taking operations.

use std::io::{self, BufRead};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use tokio_util::task::AbortOnDropHandle;
use transient_guest::frames::{FrameReader, FrameWriter};
use transient_guest::protocol::{FailureCause, MountedDevice, Placement, Reply, Request};

use super::session::{Session, lost};
use crate::build::Terminal;
use crate::event::{Event, Reporter, Stream};
use crate::qemu::{Machine, Monitor, node_name};
use crate::terminal::{self, Start};
use crate::{Error, ErrorKind};

/// A booted builder VM.
pub(crate) struct Builder {
    pub(super) machine: Machine,
    pub(super) monitor: Monitor,
    pub(super) session: Session,
    pub(super) data: Arc<UnixStream>,
    pub(super) memory: u64,
    pub(super) accelerator: &'static str,
    pub(super) reporter: Reporter,
    /// How often the disk has got a new file.
    pub(super) snapshots: usize,
    /// What saves another one, for later builds; it ends with this one.
    pub(super) saving: Option<AbortOnDropHandle<()>>,
}

impl Builder {
    /// Returns what runs its instructions: `kvm` or `tcg`.
    pub(crate) fn accelerator(&self) -> &'static str {
        self.accelerator
    }

    /// Runs a command in the image and returns its exit status. What it writes is reported, and goes to `kept`.
    pub(crate) async fn run(&self, command: &str, mut kept: impl FnMut(Stream, &[u8])) -> Result<u32, Error> {
        let output = async |stream, data: &[u8]| {
            kept(stream, data);
            self.reporter.send(Event::Output { stream, data: data.to_vec() }).await;
        };
        let status = self.machine.guard(self.session.run(command, output)).await?;
        self.explain_memory_kills(status != 0).await?;
        Ok(status)
    }

    /// Has the guest carry out a request; what it notes is reported.
    pub(crate) async fn request(&self, request: &Request) -> Result<(), Error> {
        self.ask(request).await.map(drop)
    }

    /// Has the guest find and mount the filesystems of an image; returns them.
    pub(crate) async fn mount_image(&self) -> Result<Vec<MountedDevice>, Error> {
        self.ask(&Request::MountImage).await
    }

    async fn ask(&self, request: &Request) -> Result<Vec<MountedDevice>, Error> {
        let mut mounted = Vec::new();
        let tell = async |reply| match reply {
            Reply::Note { message } => self.reporter.send(Event::Note { message }).await,
            Reply::Mounted { mounts } => mounted = mounts,
            Reply::Done | Reply::Failed { .. } => {}
        };
        let result = self.machine.guard(self.session.request(request, tell)).await;
        self.explain_memory_kills(result.is_err()).await?;
        result.map(|()| mounted)
    }

    /// Has the disk written to `file` from now on. The file that was written to is then a whole image of what the guest
    /// has done, and is not written to any more.
    pub(crate) async fn snapshot(&mut self, file: &Path) -> Result<(), Error> {
        self.request(&Request::Pause).await?;
        let (from, to) = (node_name(self.snapshots), node_name(self.snapshots + 1));
        self.machine.guard(self.monitor.snapshot(&from, &to, file)).await?;
        self.snapshots += 1;
        self.request(&Request::GoOn).await
    }

    /// Has the guest unpack the tar stream that `produce` writes, on a thread of its own.
    pub(crate) async fn unpack(
        &self,
        destination: &Path,
        placement: Placement,
        produce: impl FnOnce(&mut FrameWriter<&UnixStream>) -> Result<(), Error> + Send + 'static,
    ) -> Result<(), Error> {
        let port = Arc::clone(&self.data);
        let mut sending = tokio::task::spawn_blocking(move || send(&port, produce));
        let request = Request::Unpack { destination: destination.to_owned(), placement };
        let requested = self.request(&request);
        tokio::pin!(requested);
        let (sent, unpacked) = tokio::select! {
            sent = &mut sending => (sent, requested.await),
            unpacked = &mut requested => {
                if unpacked.is_err() {
                    // Nobody reads what is still to come. The build is over, and so is the port.
                    let _ = self.data.shutdown(Shutdown::Both);
                }
                (sending.await, unpacked)
            }
        };
        match sent {
            // What broke off the stream here says more than that it broke off there.
            Ok(Err(Sent::SourceFailed(error))) => Err(error),
            Ok(Ok(()) | Err(Sent::PortBroken(_))) if unpacked.is_err() => unpacked,
            Ok(Err(Sent::PortBroken(error))) => Err(lost(error)),
            Ok(Ok(())) => Ok(()),
            Err(panicked) => Err(died(panicked)),
        }
    }

    /// Has the guest pack a file, directory or link of the image, and `consume` read the tar stream, of which nothing is
    /// to be trusted, on a thread of its own.
    ///
    /// After a failure the data port may be of no use any more; other requests can still be carried out.
    pub(crate) async fn pack<T: Send + 'static>(
        &self,
        source: &Path,
        consume: impl FnOnce(&mut dyn BufRead) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let port = Arc::clone(&self.data);
        let mut receiving = tokio::task::spawn_blocking(move || receive(&port, consume));
        let request = Request::Pack { source: source.to_owned() };
        let requested = self.request(&request);
        tokio::pin!(requested);
        let (received, packed) = tokio::select! {
            // Nobody reads what is still to come, so that the guest would wait for ever.
            received = &mut receiving => match received {
                Ok(Err(Received::Refused(error))) => return Err(error),
                received => (received, requested.await),
            },
            packed = &mut requested => {
                if packed.is_err() {
                    // There may be nothing to wait for.
                    let _ = self.data.shutdown(Shutdown::Both);
                }
                (receiving.await, packed)
            }
        };
        match received {
            Ok(Err(Received::Refused(error))) => Err(error),
            Ok(Ok(result)) => packed.map(|()| result),
            Ok(Err(Received::Broken(error))) => packed.and(Err(lost(error))),
            Err(panicked) => Err(died(panicked)),
        }
    }

    /// Runs a shell in the image on a person's terminal. Returns its exit status.
    pub(crate) async fn inspect(&self, terminal: &Terminal) -> Result<u32, Error> {
        let work =
            async { terminal::join(self.session.channel().await?, terminal, Start::Shell, lost).await };
        self.machine.guard(work).await
    }

    /// Finishes the image, and ends the VM.
    pub(crate) async fn finish(self) -> Result<(), Error> {
        self.request(&Request::Finish).await?;
        self.machine.quit(self.monitor).await;
        Ok(())
    }

    /// Tells of processes that the guest killed for want of memory; that explains a failure.
    async fn explain_memory_kills(&self, failed: bool) -> Result<(), Error> {
        let kills = self.machine.take_memory_kills();
        if kills.is_empty() {
            return Ok(());
        }
        let mebibytes = self.memory >> 20;
        let message = format!(
            "the builder VM ran out of its {mebibytes} MiB of memory and killed {}",
            kills.join(", ")
        );
        let hint = "give it more with --memory".to_owned();
        if failed {
            return Err(Error::new(ErrorKind::GuestOutOfMemory, message).hint(hint));
        }
        self.reporter.warning(message, Some(hint)).await;
        Ok(())
    }
}

/// How sending a stream failed.
enum Sent {
    SourceFailed(Error),
    PortBroken(io::Error),
}

fn send(
    port: &UnixStream,
    produce: impl FnOnce(&mut FrameWriter<&UnixStream>) -> Result<(), Error>,
) -> Result<(), Sent> {
    let mut writer = FrameWriter::new(port);
    match produce(&mut writer) {
        Ok(()) => writer.finish().map_err(Sent::PortBroken),
        Err(_) if writer.is_broken() => Err(Sent::PortBroken(io::ErrorKind::BrokenPipe.into())),
        Err(error) => {
            // If this fails too, the machine is gone, which is noticed elsewhere.
            let _ = writer.abort();
            Err(Sent::SourceFailed(error))
        }
    }
}

/// How receiving a stream failed.
enum Received {
    /// It was not wanted, and the port is closed.
    Refused(Error),
    /// It broke off.
    Broken(io::Error),
}

/// The most bytes that may come after what was understood; archives end with some zeros.
const LONGEST_REST: usize = 1 << 20;

fn receive<T>(
    port: &UnixStream,
    consume: impl FnOnce(&mut dyn BufRead) -> Result<T, Error>,
) -> Result<T, Received> {
    let mut stream = FrameReader::new(port);
    let consumed = consume(&mut stream).and_then(|result| rest(&mut stream).map(|()| result));
    match consumed {
        Err(_) if stream.is_broken() => Err(Received::Broken(io::ErrorKind::ConnectionAborted.into())),
        Err(error) => {
            // The guest is told in this way alone; a port that is gone already is no news.
            let _ = port.shutdown(Shutdown::Both);
            Err(Received::Refused(error))
        }
        Ok(result) => Ok(result),
    }
}

/// Reads to the end of a stream, which must be near.
fn rest(stream: &mut FrameReader<&UnixStream>) -> Result<(), Error> {
    let mut passed = 0;
    while passed < LONGEST_REST {
        let count = stream.fill_buf().map_err(lost)?.len();
        if count == 0 {
            return Ok(());
        }
        stream.consume(count);
        passed += count;
    }
    Err(lost("a stream goes on behind its end"))
}

fn died(panicked: tokio::task::JoinError) -> Error {
    Error::new(ErrorKind::Internal, "a thread of the library died").caused_by(panicked)
}

/// The kind of error that a failure in the guest becomes.
pub(super) fn failure_kind(cause: FailureCause) -> ErrorKind {
    match cause {
        FailureCause::NoSpace => ErrorKind::ImageFull,
        FailureCause::BadArchive => ErrorKind::InvalidSource,
        FailureCause::NotInAppliance => ErrorKind::ApplianceInvalid,
        FailureCause::NoRoot => ErrorKind::NoRootFilesystem,
        FailureCause::Other => ErrorKind::StepFailed,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// Receives what `send` writes to the port.
    fn received(
        send: impl FnOnce(&mut FrameWriter<&UnixStream>) + Send,
        consume: impl FnOnce(&mut dyn BufRead) -> Result<String, Error>,
    ) -> Result<String, Received> {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        std::thread::scope(|scope| {
            scope.spawn(move || {
                crate::sys::block_broken_pipes();
                send(&mut FrameWriter::new(&theirs));
            });
            receive(&ours, consume)
        })
    }

    fn line(stream: &mut dyn BufRead) -> Result<String, Error> {
        let mut text = String::new();
        stream.read_line(&mut text).map_err(|error| Error::io("cannot read", error))?;
        Ok(text)
    }

    #[test]
    fn a_stream_is_read_to_its_end() {
        let send = |writer: &mut FrameWriter<&UnixStream>| {
            writer.write_all(b"a\n").expect("sent");
            writer.write_all(&[0; 100_000]).expect("sent");
            writer.finish().expect("sent");
        };
        assert_eq!(received(send, line).unwrap_or_default(), "a\n");
    }

    #[test]
    fn a_stream_that_breaks_off_or_goes_on_is_told_from_one_that_is_refused() {
        let abort = |writer: &mut FrameWriter<&UnixStream>| {
            writer.write_all(&[b'x'; 2 << 20]).expect("sent");
            writer.abort().expect("sent");
        };
        let all = |stream: &mut dyn BufRead| {
            stream.read_to_end(&mut Vec::new()).map_err(|error| Error::io("cannot read", error))?;
            Ok(String::new())
        };
        assert!(matches!(received(abort, all), Err(Received::Broken(_))));
        assert!(matches!(received(|_| (), line), Err(Received::Broken(_))));
        let endless = |writer: &mut FrameWriter<&UnixStream>| {
            while writer.write_all(b"line\n").is_ok() {}
        };
        assert!(matches!(received(endless, line), Err(Received::Refused(_))));
        let refuse = |_: &mut dyn BufRead| Err(Error::new(ErrorKind::HostDiskFull, "full"));
        let refused = received(endless, refuse);
        assert!(matches!(refused, Err(Received::Refused(error)) if error.kind() == ErrorKind::HostDiskFull));
    }
}
