//! A build from its Imagefile to the image.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::base::{self, Begun};
use super::context::Context;
use super::disk::WorkingDisk;
use super::ingredients::Ingredients;
use super::log::Log;
use super::plan::{Plan, Step};
use super::stage::{Ground, stages};
use super::work::{Work, finished, placed, started};
use super::{BuildOptions, IMAGEFILE, failure, transfer};
use crate::builder::appliance;
use crate::event::{Event, Reporter};
use crate::image::{Image, virtual_size};
use crate::imagefile::{Base, Imagefile, Instruction};
use crate::layer::{Layers, digest_of};
use crate::process::qemu_img;
use crate::store::{Reservation, Told};
use crate::{CancelToken, CompressionType, Error, ErrorKind, Store, source, terminal};

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
    check_no_cache_from(&plan, options)?;
    failure::check(store, options)?;
    let appliance = appliance::find(store.locations())?;
    let local = options.local.then_some(options.directory.as_path());
    store.check_new(&options.name, local)?;
    let Some(first) = plan.steps.first() else {
        return Err(Error::new(ErrorKind::Internal, "there is no step"));
    };
    let begun = Instant::now();
    reporter.send_blocking(started(first, &plan));
    let Begun { mut reservation, base } = base::begin(
        &plan.base,
        |spec| {
            source::bring_in(store, spec, reporter, cancel).map_err(|error| placed(error, first, &imagefile))
        },
        || store.reserve(&options.name, local, reporter, cancel),
    )?;
    context.hide(reservation.traces());

    let cache = &store.locations().cache;
    let layers = Layers::open(cache)?;
    let scratch = layers.scratch()?;
    let mut log = Log::new(&options.name);
    let mut disk = WorkingDisk::new(&layers, scratch.path());
    let mut ground =
        Ground { base: None, appliance: &appliance.description.key, network: options.vm.network };
    match (&plan.base, &plan.disk, base) {
        (Base::Image(spec), _, Some(base)) => {
            ground.base = Some(digest_of(&base, cache, reporter, cancel)?);
            log.start_from(store, &spec.name, &base);
            log.step(first, begun);
            disk.begin_with_image(virtual_size(&base)?, base);
            reporter.send_blocking(finished(first, begun));
        }
        (_, Some(layout), _) => disk.begin_empty(layout.size),
        _ => return Err(Error::new(ErrorKind::Internal, "there is nothing to begin with")),
    }
    let stages =
        stages(&plan, &context, &ground, cancel).map_err(|(step, error)| placed(error, step, &imagefile))?;
    let ingredients = Ingredients::of(&plan, &ground, &stages);
    let last = options.explain.then(|| Ingredients::recall(cache, reservation.destination())).flatten();
    ingredients.remember(cache, reservation.destination());
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
        ingredients: &ingredients,
        last: last.as_ref(),
        reporter,
        cancel,
    };
    if let Some((file, told)) = work.same_image(store)
        && let Some(same) = reservation.share(&file)
    {
        stages.iter().for_each(|stage| work.tell_cached(stage));
        work.explain(stages.len(), true);
        reservation.tell(told);
        let image = reservation.commit_link(&same)?;
        layers.prune(options.cache_limit);
        return Ok(image);
    }
    if let Err(failure) = work.carry_out(&mut disk, &mut log) {
        // The next build goes on from there.
        layers.sync(disk.chain());
        return Err(work.after(failure, store, &mut disk, &log));
    }
    let image = std::thread::scope(|scope| {
        scope.spawn(|| layers.sync(disk.chain()));
        write_image(&disk.files(), options.compress, &reservation, reporter, cancel)
    })?;
    let told: Told = log.into_making(&appliance.description.key).into();
    reservation.tell(Told { recipe: work.recipe(&disk), ..told });
    let image = reservation.commit(&image)?;
    drop(disk);
    layers.prune(options.cache_limit);
    Ok(image)
}

/// Finds the mistakes that can be known before anything boots.
fn check<'p>(plan: &'p Plan, context: &Context, options: &BuildOptions) -> Result<(), (&'p Step, Error)> {
    plan.steps.iter().try_for_each(|step| {
        match &step.instruction {
            Instruction::Copy(transfer) => {
                transfer.sources.iter().try_for_each(|source| transfer::check_copy(context, source))
            }
            Instruction::Add(transfer) => {
                transfer.sources.iter().try_for_each(|source| transfer::check_add(context, source))
            }
            Instruction::Inspect => terminal::check(options.terminal.as_ref()).map(drop),
            _ => Ok(()),
        }
        .map_err(|error| (step, error))
    })
}

/// Refuses a step that there is not.
fn check_no_cache_from(plan: &Plan, options: &BuildOptions) -> Result<(), Error> {
    let last = plan.steps.len();
    match options.no_cache_from {
        Some(step) if !(1..=last).contains(&step) => {
            let message =
                format!("there is no step {step} from which on nothing could be taken from the cache");
            Err(Error::new(ErrorKind::InvalidArgument, message)
                .hint(format!("the Imagefile has the steps 1 to {last}, one for each instruction")))
        }
        _ => Ok(()),
    }
}

/// Flattens the files of a disk, which stand on each other, the lowest first, into one compact file.
pub(crate) fn write_image(
    files: &[PathBuf],
    compress: Option<CompressionType>,
    reservation: &Reservation,
    reporter: &Reporter,
    cancel: &CancelToken,
) -> Result<PathBuf, Error> {
    let image = reservation.folder().join("image.qcow2");
    let task = "Writing the image";
    let total = files.iter().map(|file| occupied(file)).sum();
    let mut progress = |part: f64| reporter.progress(task, (part * total as f64) as u64, Some(total));
    qemu_img::flatten(files, compress, &image, &mut progress, cancel)?;
    let finished = Event::Progress { task: task.to_owned(), done: total, total: Some(total), finished: true };
    reporter.send_blocking(finished);
    Ok(image)
}

/// What a file occupies on the host's disk, for progress.
fn occupied(file: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    file.metadata().map_or(0, |metadata| metadata.blocks() * 512)
}
