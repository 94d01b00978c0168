//! The ways to a guest that takes operations: booting, saving what has booted, and going on from there.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::fs::MemfdFlags;
use rustix::process::{Resource, getrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio_util::task::TaskTracker;
use transient_guest::protocol::SETTLE;

use super::saved::{LONGEST_STATE, Saved, Saving};
use super::session::{Session, lost};
use crate::qemu::{Channels, Configuration, Machine, Memory, Monitor};
use crate::{Error, ErrorKind};

/// What runs in the background may be kept waiting for long.
const BACKGROUND_TIMEOUT: Duration = Duration::from_secs(60);

/// How a machine comes to run a guest.
pub(super) enum Start {
    Boot,
    /// Boots, and saves what has booted before it is given any work.
    BootAndSave {
        place: Saving,
        memory: File,
    },
    Restore(Saved),
}

impl Start {
    /// Boots and saves, if this host can have a machine's memory in a file that is not on a disk.
    pub(super) fn saving(place: Saving, size: u64) -> Self {
        match make_memory(size) {
            Ok(memory) => Self::BootAndSave { place, memory },
            Err(error) => {
                tracing::debug!("no builder VM is saved: {error}");
                Self::Boot
            }
        }
    }

    /// Returns what the machine is started with.
    pub(super) fn memory(&self) -> Result<Memory, Error> {
        let memory = match self {
            Self::Boot => Ok(Memory::Empty),
            Self::BootAndSave { memory, .. } => memory.try_clone().map(Memory::File),
            Self::Restore(saved) => saved.memory.try_clone().map(Memory::Saved),
        };
        memory.map_err(|error| Error::io("cannot share a file with QEMU", error))
    }

    /// Logs in to the guest of a machine that was started so.
    pub(super) async fn connect(
        self,
        monitor: impl Future<Output = Result<Monitor, Error>>,
        mut control: UnixStream,
        network: bool,
    ) -> Result<(Monitor, Session), Error> {
        match self {
            Self::Boot => tokio::try_join!(monitor, Session::connect(control, network)),
            Self::BootAndSave { place, memory } => {
                let (monitor, ()) = tokio::try_join!(monitor, settle(&mut control))?;
                // Without it, the next build boots as this one did.
                match save(&monitor, place, memory).await {
                    Ok(()) => tracing::debug!("the builder VM was saved"),
                    Err(error) => tracing::info!("the builder VM is not saved: {}", error.report()),
                }
                monitor.go_on().await?;
                Ok((monitor, Session::connect(control, network).await?))
            }
            Self::Restore(saved) => {
                let restored = async {
                    let monitor = monitor.await?;
                    restore(&monitor, saved.devices).await?;
                    Ok(monitor)
                };
                tokio::try_join!(restored, Session::connect(control, network))
            }
        }
    }
}

/// Makes a file of so many bytes that is not on a disk.
fn make_memory(size: u64) -> io::Result<File> {
    // To make a file larger than this is deadly.
    let limit = getrlimit(Resource::Fsize).current;
    if limit.is_some_and(|limit| limit < size) || !Path::new("/proc/self/fd").is_dir() {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let memory = File::from(rustix::fs::memfd_create(c"builder", MemfdFlags::CLOEXEC)?);
    memory.set_len(size)?;
    Ok(memory)
}

/// Boots a builder that has no disk, and saves it. Dropping this ends it.
pub(super) async fn save_another(
    configuration: Configuration,
    place: Saving,
    processes: TaskTracker,
) -> Result<(), Error> {
    let failed = |error| Error::io("a machine cannot have a file as its memory", error);
    let memory = make_memory(configuration.memory).map_err(failed)?;
    let shared = Memory::File(memory.try_clone().map_err(failed)?);
    let (machine, Channels { monitor, mut control, data: _data }) =
        Machine::start(&configuration, shared, &processes)?;
    let saved = machine.guard(async {
        let monitor = machine.monitor(monitor, BACKGROUND_TIMEOUT);
        let (monitor, ()) = tokio::try_join!(monitor, settle(&mut control))?;
        save(&monitor, place, memory).await
    });
    let saved = saved.await;
    machine.kill().await;
    saved
}

/// Waits until a guest has nothing left to do.
async fn settle(control: &mut UnixStream) -> Result<(), Error> {
    control.write_all(SETTLE).await.map_err(lost)?;
    let mut answer = [0; SETTLE.len()];
    control.read_exact(&mut answer).await.map_err(lost)?;
    if answer == *SETTLE { Ok(()) } else { Err(lost("it answered something senseless")) }
}

/// Stops a machine and saves it.
async fn save(monitor: &Monitor, place: Saving, memory: File) -> Result<(), Error> {
    let (ours, theirs) = pair()?;
    monitor.save(theirs).await?;
    let mut devices = Vec::new();
    ours.take(LONGEST_STATE).read_to_end(&mut devices).await.map_err(lost)?;
    if !monitor.is_saved().await? {
        return Err(Error::new(ErrorKind::QemuFailed, "QEMU did not save the builder VM"));
    }
    let kept = tokio::task::spawn_blocking(move || place.keep(&memory, &devices));
    kept.await
        .map_err(io::Error::other)
        .flatten()
        .map_err(|error| Error::io("cannot write to the cache", error))
}

/// Has a machine that was started with a saved memory go on.
async fn restore(monitor: &Monitor, devices: Vec<u8>) -> Result<(), Error> {
    let (mut ours, theirs) = pair()?;
    // Where this fails, QEMU has ended, which is noticed elsewhere.
    tokio::spawn(async move { ours.write_all(&devices).await });
    monitor.restore(theirs).await
}

fn pair() -> Result<(UnixStream, OwnedFd), Error> {
    let failed = |error| Error::io("cannot make a socket pair", error);
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(failed)?;
    ours.set_nonblocking(true).map_err(failed)?;
    Ok((UnixStream::from_std(ours).map_err(failed)?, theirs.into()))
}
