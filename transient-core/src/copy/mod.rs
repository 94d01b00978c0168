//! Copies between the host and a disk, as `cp -a` makes them, in a builder VM.

mod receive;
mod send;

use std::cell::RefCell;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::builder::{Boot, Builder, Network, VmOptions, appliance, in_vms};
use crate::event::{Event, Reporter};
use crate::image::virtual_size;
use crate::process::qemu_img;
use crate::progress::Progress;
use crate::qemu::Disk;
use crate::store::Scratch;
use crate::{CancelToken, Error, ErrorKind, FileCopy, Locations};
pub(crate) use receive::Target;
pub(crate) use send::Source;

/// The prefix of folders with disks that are thrown away, in the cache.
const SCRATCH: &str = ".copy-";
/// How long a guest may take to end its work on a disk after a copy has failed.
const FINISH_TIMEOUT: Duration = Duration::from_secs(30);

/// Copies to make, in this order: first those into the disk, then those out of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Copies {
    pub(crate) into: Vec<FileCopy>,
    pub(crate) out: Vec<FileCopy>,
}

/// Names a copy into the disk, in messages.
fn shown_into(copy: &FileCopy) -> String {
    format!("'{}' to {} in the VM", copy.source.display(), in_image(&copy.destination).display())
}

/// Names a copy out of the disk, in messages.
fn shown_out(copy: &FileCopy) -> String {
    format!("{} in the VM to '{}'", in_image(&copy.source).display(), copy.destination.display())
}

/// A path in an image is looked for from its root.
fn in_image(path: &Path) -> PathBuf {
    Path::new("/").join(path)
}

/// Copies between the host and a disk that no VM uses. Blocks; the calling thread outlives every process that it starts.
///
/// The disk is written to if something is copied into it, and is whole afterwards, also after a failure; if things are only
/// copied out of it, it stays as it is. Of a copy that fails, files may be missing, but none is there in part, unless it
/// was cancelled on its way into the disk; copies before it are not undone.
///
/// # Errors
///
/// [`ErrorKind::InvalidSource`] and [`ErrorKind::InvalidArgument`] before anything boots, when a source or destination on the
/// host cannot be had; [`ErrorKind::StepFailed`] when one in the image cannot; whatever can go wrong with a builder VM. The
/// error tells which copy failed.
pub(crate) fn copy(
    disk: Disk,
    copies: &Copies,
    vm: &VmOptions,
    locations: &Locations,
    reporter: &Reporter,
    cancel: &CancelToken,
) -> Result<(), Error> {
    let found = find(copies)?;
    if found.is_empty() {
        return Ok(());
    }
    let appliance = appliance::find(locations)?;
    let cache = &locations.cache;
    let changed = (!copies.into.is_empty()).then(|| disk.path.clone());
    let (disk, scratch) = match &changed {
        Some(_) => (Disk { durable: true, ..disk }, None),
        None => above(disk, cache, cancel).map(|(disk, scratch)| (disk, Some(scratch)))?,
    };
    let options = VmOptions { network: Network::None, ..vm.clone() };
    // What is being done, for whoever cancels it.
    let current = RefCell::new(None);
    let done = in_vms(cancel, async |processes| {
        let boot = Boot { options: &options, appliance: &appliance, disk, cache, reporter, processes };
        let builder = boot.start().await?;
        builder.mount_image().await?;
        let mut copied = Ok(());
        for step in found {
            let shown = step.shown();
            current.replace(Some(shown.clone()));
            copied = step.carry_out(&builder, reporter).await.map_err(|error| failed(&shown, error));
            if copied.is_err() {
                break;
            }
        }
        if changed.is_none() {
            return copied;
        }
        let finished = match &copied {
            Ok(()) => builder.finish().await,
            // Its filesystems are better unmounted than not; the error is that of the copy.
            Err(_) => tokio::time::timeout(FINISH_TIMEOUT, builder.finish()).await.unwrap_or(Ok(())),
        };
        copied.and(finished)
    });
    drop(scratch);
    if let Some(path) = &changed {
        let synced = File::open(path).and_then(|file| file.sync_all());
        synced.map_err(|error| Error::io(format!("cannot write '{}'", path.display()), error))?;
    }
    done.map_err(|error| match (error.kind(), current.into_inner()) {
        (ErrorKind::Cancelled, Some(shown)) => {
            Error::new(ErrorKind::Cancelled, format!("cancelled while copying {shown}"))
        }
        _ => error,
    })
}

/// A copy whose place on the host was found.
enum Found<'a> {
    Into(&'a FileCopy, Source, bool),
    Out(&'a FileCopy, Target),
}

/// Finds all that is on the host, so that a mistake shows before anything boots.
fn find(copies: &Copies) -> Result<Vec<Found<'_>>, Error> {
    let into = copies.into.iter().map(|copy| {
        let several = copies.into.iter().filter(|other| other.destination == copy.destination).count() > 1;
        let source = Source::find(&copy.source).map_err(|error| failed(&shown_into(copy), error))?;
        Ok(Found::Into(copy, source, several))
    });
    let out = copies.out.iter().map(|copy| {
        let several = copies.out.iter().filter(|other| other.destination == copy.destination).count() > 1;
        let target = Target::find(&in_image(&copy.source), &copy.destination, several);
        Ok(Found::Out(copy, target.map_err(|error| failed(&shown_out(copy), error))?))
    });
    into.chain(out).collect()
}

impl Found<'_> {
    fn shown(&self) -> String {
        match self {
            Self::Into(copy, ..) => shown_into(copy),
            Self::Out(copy, _) => shown_out(copy),
        }
    }

    async fn carry_out(self, builder: &Builder, reporter: &Reporter) -> Result<(), Error> {
        match self {
            Self::Into(copy, source, several) => send(builder, copy, source, several, reporter).await,
            Self::Out(copy, target) => receive(builder, copy, target, reporter).await,
        }
    }
}

async fn send(
    builder: &Builder,
    copy: &FileCopy,
    source: Source,
    several: bool,
    reporter: &Reporter,
) -> Result<(), Error> {
    let total = source.total_size();
    let mut progress = Progress::new(reporter, format!("Copying {}", copy.source.display()), Some(total));
    let last = progress.clone();
    let notes = reporter.clone();
    let placement = source.placement(&copy.destination, several);
    builder
        .unpack(&in_image(&copy.destination), placement, move |output| {
            let told = source.send(output, &mut |length| progress.add(length))?;
            told.into_iter().for_each(|message| notes.send_blocking(Event::Note { message }));
            Ok(())
        })
        .await?;
    last.finish(total).await;
    Ok(())
}

async fn receive(
    builder: &Builder,
    copy: &FileCopy,
    target: Target,
    reporter: &Reporter,
) -> Result<(), Error> {
    let source = in_image(&copy.source);
    let mut progress = Progress::new(reporter, format!("Copying {}", source.display()), None);
    let last = progress.clone();
    let (done, told) = builder
        .pack(&source, move |stream| target.receive(stream, &mut |length| progress.add(length)))
        .await?;
    for message in told {
        reporter.send(Event::Note { message }).await;
    }
    last.finish(done).await;
    Ok(())
}

/// Returns a disk that stands on another one, which stays as it is, and what the new one lies in.
fn above(disk: Disk, cache: &Path, cancel: &CancelToken) -> Result<(Disk, Scratch), Error> {
    fs::create_dir_all(cache)
        .map_err(|error| Error::io(format!("cannot make the folder '{}'", cache.display()), error))?;
    let scratch = Scratch::make_clean(cache, SCRATCH)?;
    let path = scratch.path().join("disk.qcow2");
    qemu_img::create_empty(&path, virtual_size(&disk.path)?, cancel)?;
    let below = disk.below.into_iter().chain([disk.path]).collect();
    Ok((Disk { path, below, durable: false }, scratch))
}

/// Says which copy failed.
fn failed(shown: &str, error: Error) -> Error {
    if error.kind() == ErrorKind::Cancelled {
        return error;
    }
    let told = Error::new(error.kind(), format!("cannot copy {shown}")).with_output(error.output());
    let hints = error.hints().to_vec();
    hints.into_iter().fold(told, Error::hint).caused_by(error)
}

#[cfg(test)]
mod tests;
