//! Carrying out a plan.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::context::Context;
use super::disk::WorkingDisk;
use super::plan::{Plan, Step};
use super::stage::{Ground, stages};
use super::work::{Work, placed, started};
use super::{BuildOptions, transfer};
use crate::builder::{appliance, check_terminal};
use crate::event::{Event, Reporter};
use crate::image::Image;
use crate::imagefile::{self, Imagefile, Instruction};
use crate::layer::{Digest, Layers, digest_of};
use crate::process::qemu_img;
use crate::store::Reservation;
use crate::{CancelToken, Error, Store, source};

/// The name of an Imagefile in its build directory.
const IMAGEFILE: &str = "Imagefile";
/// The base image's name among a build's files.
const BASE: &str = "base.qcow2";
/// Builds; the calling thread outlives every process that it starts.
pub(super) fn run(
    store: &Store,
    options: &BuildOptions,
    reporter: &Reporter,
    cancel: &CancelToken,
) -> Result<Image, Error> {
    let path = options.file.clone().unwrap_or_else(|| options.directory.join(IMAGEFILE));
    let imagefile = Imagefile::load(path)?;
    let plan = Plan::new(&imagefile);
    let mut context = Context::open(&options.directory)?;
    check(&plan, &context, options).map_err(|(step, error)| placed(error, step, &imagefile))?;
    let appliance = appliance::find(store.locations())?;
    let local = options.local.then_some(options.directory.as_path());
    let reservation = store.reserve(&options.name, local, reporter, cancel)?;
    context.hide(reservation.traces());

    let cache = &store.locations().cache;
    let layers = Layers::open(cache)?;
    let scratch = layers.scratch()?;
    let base = bring_in(&plan, store, reservation.folder(), reporter, cancel)
        .map_err(|(step, error)| placed(error, step, &imagefile))?;
    let ground = Ground {
        base: base.as_ref().map(|base| base.digest),
        appliance: &appliance.description.key,
        network: options.vm.network,
    };
    let stages =
        stages(&plan, &context, &ground, cancel).map_err(|(step, error)| placed(error, step, &imagefile))?;
    let mut disk = WorkingDisk::new(&layers, scratch.path(), size(&plan, base.as_ref()), options.no_cache);
    disk.stand_on_image(base.map(|base| base.file));
    let work = Work {
        options,
        plan: &plan,
        imagefile: &imagefile,
        context: &context,
        appliance: &appliance,
        cache,
        layers: &layers,
        ground: &ground,
        stages: &stages,
        reporter,
        cancel,
    };
    let carried_out = work.carry_out(&mut disk);
    if carried_out.is_err() {
        // The next build goes on from there.
        layers.sync(disk.chain());
    }
    carried_out?;
    let image = write_image(&disk, &layers, &reservation, reporter, cancel)?;
    let image = reservation.commit(&image)?;
    drop(disk);
    layers.prune(options.cache_limit);
    Ok(image)
}

/// The image that a build is FROM.
struct Base {
    file: PathBuf,
    digest: Digest,
    /// Of its disk, in bytes.
    size: u64,
}

/// Gets the image that the build is FROM, if there is one: that is the first step.
fn bring_in<'p>(
    plan: &'p Plan,
    store: &Store,
    folder: &Path,
    reporter: &Reporter,
    cancel: &CancelToken,
) -> Result<Option<Base>, (&'p Step, Error)> {
    let (imagefile::Base::Image(spec), Some(step)) = (&plan.base, plan.steps.first()) else {
        return Ok(None);
    };
    let begun = Instant::now();
    reporter.send_blocking(started(step, plan));
    let cache = &store.locations().cache;
    let base = source::bring_in(store, spec, reporter, cancel).and_then(|image| {
        let file = pinned(&image.path, folder);
        let digest = digest_of(&file, cache, reporter, cancel)?;
        Ok(Base { file, digest, size: image.virtual_size })
    });
    let base = base.map_err(|error| (step, error))?;
    let elapsed = begun.elapsed();
    reporter.send_blocking(Event::StepFinished { step: step.number, elapsed, cached: false });
    Ok(Some(base))
}

/// Keeps the base image's bytes for as long as the build needs them, even if it is removed or replaced meanwhile.
fn pinned(image: &Path, folder: &Path) -> PathBuf {
    let link = folder.join(BASE);
    match std::fs::hard_link(image, &link) {
        Ok(()) => link,
        Err(error) => {
            // For example another user's image. It works without, as long as nobody removes it.
            tracing::debug!("{} is used in place: {error}", image.display());
            image.to_owned()
        }
    }
}

fn size(plan: &Plan, base: Option<&Base>) -> u64 {
    base.map(|base| base.size).or(plan.disk.as_ref().map(|disk| disk.size)).unwrap_or(0)
}

/// Finds the mistakes that can be known before anything boots.
fn check<'p>(plan: &'p Plan, context: &Context, options: &BuildOptions) -> Result<(), (&'p Step, Error)> {
    plan.steps.iter().try_for_each(|step| {
        match &step.instruction {
            Instruction::Copy(transfer) => transfer::check_copy(context, transfer),
            Instruction::Add(transfer) => transfer::check_add(context, transfer),
            Instruction::Inspect => check_terminal(options.terminal.as_ref()).map(drop),
            _ => Ok(()),
        }
        .map_err(|error| (step, error))
    })
}

/// Flattens the disk and all that is below it into one compact file, while the host's disk gets to keep the layers.
fn write_image(
    disk: &WorkingDisk<'_>,
    layers: &Layers,
    reservation: &Reservation,
    reporter: &Reporter,
    cancel: &CancelToken,
) -> Result<PathBuf, Error> {
    let image = reservation.folder().join("image.qcow2");
    let task = "Writing the image";
    let files = disk.files();
    let total = files.iter().map(|file| occupied(file)).sum();
    let mut progress = |part: f64| reporter.progress(task, (part * total as f64) as u64, Some(total));
    std::thread::scope(|scope| {
        scope.spawn(|| layers.sync(disk.chain()));
        qemu_img::flatten_chain(&files, &image, &mut progress, cancel)
    })?;
    let finished = Event::Progress { task: task.to_owned(), done: total, total: Some(total), finished: true };
    reporter.send_blocking(finished);
    Ok(image)
}

/// What a file occupies on the host's disk, for progress.
fn occupied(file: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    file.metadata().map_or(0, |metadata| metadata.blocks() * 512)
}
