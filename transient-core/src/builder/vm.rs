//! A builder VM that runs: booted on a disk, taking operations.

use std::io;
use std::net::Shutdown;
use std::path::Path;
use std::sync::Arc;

use tokio_util::task::AbortOnDropHandle;
use transient_guest::protocol::{FailureCause, MountedDevice, Placement, Reply, Request};

use super::bulk::FrameWriter;
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
    pub(super) data: Arc<std::os::unix::net::UnixStream>,
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
        produce: impl FnOnce(&mut FrameWriter<'_>) -> Result<(), Error> + Send + 'static,
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
            Err(panicked) => {
                Err(Error::new(ErrorKind::Internal, "a thread of the library died").caused_by(panicked))
            }
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
    port: &std::os::unix::net::UnixStream,
    produce: impl FnOnce(&mut FrameWriter<'_>) -> Result<(), Error>,
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
