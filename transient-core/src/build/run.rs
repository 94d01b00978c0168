//! Carrying out a plan.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Instant;

use tokio_util::task::TaskTracker;
use transient_guest::protocol::Request;

use super::context::Context;
use super::log::Log;
use super::plan::{Plan, Step};
use super::{BuildOptions, IMAGEFILE, transfer};
use crate::builder::{Boot, Builder, appliance, check_terminal};
use crate::error::Location;
use crate::event::{Event, Reporter};
use crate::image::Image;
use crate::imagefile::{Base, Imagefile, Instruction};
use crate::process::qemu_img;
use crate::store::Reservation;
use crate::{CancelToken, Error, ErrorKind, ImageSpec, Store, source};

/// The base image's name among a build's files.
const BASE: &str = "base.qcow2";
/// How much of a failed command's output its error shows.
const OUTPUT_LINES: usize = 20;
const OUTPUT_BYTES: usize = 8 * 1024;

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
    let mut reservation = store.reserve(&options.name, local, reporter, cancel)?;
    context.hide(reservation.traces());

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::io("cannot start an event loop", error))?;
    let processes = TaskTracker::new();
    let work = Work {
        store,
        options,
        plan: &plan,
        imagefile: &imagefile,
        context: &context,
        appliance: &appliance,
        disk: reservation.folder().join("disk.qcow2"),
        folder: reservation.folder(),
        reporter,
        cancel,
        processes: &processes,
    };
    let log = runtime.block_on(async {
        let result = tokio::select! {
            biased;
            () = cancel.cancelled() => Err(Error::cancelled()),
            result = work.steps() => result,
        };
        // The machine is dropped by now; QEMU must be gone before its files are.
        processes.close();
        processes.wait().await;
        result
    })?;
    let image = write_image(&work.disk, &reservation, reporter, cancel)?;
    reservation.tell(log.into_making(&appliance.description.key));
    image.commit_into(reservation)
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
            Instruction::Inspect => check_terminal(options.terminal.as_ref()).map(drop),
            _ => Ok(()),
        }
        .map_err(|error| (step, error))
    })
}

/// Says where in the Imagefile an error came up.
fn placed(error: Error, step: &Step, imagefile: &Imagefile) -> Error {
    if matches!(error.kind(), ErrorKind::Cancelled) {
        return error;
    }
    let location = Location { file: imagefile.path().to_owned(), line: step.line, column: 1 };
    error.at(location).in_step(step.shown())
}

/// A whole image that nobody sees yet.
struct Unpublished(PathBuf);

impl Unpublished {
    fn commit_into(self, reservation: Reservation) -> Result<Image, Error> {
        reservation.commit(&self.0)
    }
}

/// Flattens the disk and all that is below it into one compact file.
fn write_image(
    disk: &Path,
    reservation: &Reservation,
    reporter: &Reporter,
    cancel: &CancelToken,
) -> Result<Unpublished, Error> {
    let image = reservation.folder().join("image.qcow2");
    let task = "Writing the image";
    let total = occupied(disk) + occupied(&reservation.folder().join(BASE));
    let done = |part: f64| (part * total as f64) as u64;
    qemu_img::flatten(disk, &image, &mut |part| reporter.progress(task, done(part), Some(total)), cancel)?;
    reporter.send_blocking(Event::Progress {
        task: task.to_owned(),
        done: total,
        total: Some(total),
        finished: true,
    });
    Ok(Unpublished(image))
}

/// What a file occupies on the host's disk, for progress.
fn occupied(file: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    file.metadata().map_or(0, |metadata| metadata.blocks() * 512)
}

/// Everything that the steps of one build need.
struct Work<'a> {
    store: &'a Store,
    options: &'a BuildOptions,
    plan: &'a Plan,
    imagefile: &'a Imagefile,
    context: &'a Context,
    appliance: &'a appliance::Appliance,
    /// The disk that the builder VM works on.
    disk: PathBuf,
    /// Where files of the build are kept.
    folder: &'a Path,
    reporter: &'a Reporter,
    cancel: &'a CancelToken,
    processes: &'a TaskTracker,
}

impl Work<'_> {
    /// Carries out all steps, and ends the builder VM.
    async fn steps(&self) -> Result<Log, Error> {
        let mut builder = None;
        let mut log = Log::new(&self.options.name);
        for step in &self.plan.steps {
            let started = Instant::now();
            let (number, steps) = (step.number, self.plan.steps.len());
            let instruction = step.shown();
            self.reporter
                .send(Event::StepStarted { step: number, steps, instruction, line: step.line })
                .await;
            let done = self.step(step, &mut builder, &mut log).await;
            done.map_err(|error| placed(error, step, self.imagefile))?;
            log.step(step, started);
            self.reporter.send(Event::StepFinished { step: number, elapsed: started.elapsed() }).await;
        }
        match builder {
            Some(builder) => {
                log.booted(builder.accelerator());
                builder.finish().await.map(|()| log)
            }
            None => Err(Error::new(ErrorKind::Internal, "no step has started the builder VM")),
        }
    }

    async fn step(&self, step: &Step, running: &mut Option<Builder>, log: &mut Log) -> Result<(), Error> {
        match &step.instruction {
            Instruction::From(Base::Scratch) => return Ok(()),
            Instruction::From(Base::Image(spec)) => {
                *running = Some(self.boot_on_image(spec, log).await?);
                return Ok(());
            }
            Instruction::Disk(_) => {
                *running = Some(self.boot_on_new_disk().await?);
                return Ok(());
            }
            _ => {}
        }
        let Some(builder) = running else {
            return Err(Error::new(ErrorKind::Internal, "a step came before the disk"));
        };
        match &step.instruction {
            Instruction::Partition(partition) => self.partition(builder, step, partition).await,
            Instruction::Copy(transfer) => {
                transfer::copy(builder, self.context, transfer, self.reporter).await
            }
            Instruction::Add(transfer) => transfer::add(builder, self.context, transfer, self.reporter).await,
            Instruction::Run(command) => run_command(builder, command).await,
            Instruction::Inspect => self.inspect(builder).await,
            Instruction::From(_) | Instruction::Disk(_) => Ok(()),
        }
    }

    async fn boot(&self) -> Result<Builder, Error> {
        let boot = Boot {
            options: &self.options.vm,
            appliance: self.appliance,
            disk: &self.disk,
            cache: &self.store.locations().cache,
            reporter: self.reporter,
            processes: self.processes,
        };
        boot.start().await
    }

    async fn boot_on_image(&self, spec: &ImageSpec, log: &mut Log) -> Result<Builder, Error> {
        let base = self.base(spec)?;
        log.start_from(self.store, &spec.name, &base);
        qemu_img::create_overlay(&self.disk, &base, self.cancel)?;
        let builder = self.boot().await?;
        builder.request(&Request::MountImage).await?;
        Ok(builder)
    }

    /// Brings in the base image, and keeps its bytes for as long as the build needs them, even if it is removed or
    /// replaced meanwhile.
    fn base(&self, spec: &ImageSpec) -> Result<PathBuf, Error> {
        let link = self.folder.join(BASE);
        loop {
            let image = source::bring_in(self.store, spec, self.reporter, self.cancel)?.path;
            match std::fs::hard_link(&image, &link) {
                Ok(()) => return Ok(link),
                // It was removed since, and is missing again.
                Err(_) if !image.exists() => {}
                Err(error) => {
                    // For example another user's image. It works without, as long as nobody removes it.
                    tracing::debug!("{} is used in place: {error}", image.display());
                    return Ok(image);
                }
            }
        }
    }

    async fn boot_on_new_disk(&self) -> Result<Builder, Error> {
        let Some(layout) = &self.plan.disk else {
            return Err(Error::new(ErrorKind::Internal, "the plan has no disk"));
        };
        qemu_img::create_empty(&self.disk, layout.size, self.cancel)?;
        let builder = self.boot().await?;
        let request = Request::Partition { label: layout.label, partitions: layout.partitions.clone() };
        builder.request(&request).await?;
        Ok(builder)
    }

    /// Formats a partition; after the last one, mounts them all.
    async fn partition(
        &self,
        builder: &Builder,
        step: &Step,
        partition: &crate::imagefile::Partition,
    ) -> Result<(), Error> {
        if let Some(filesystem) = partition.format {
            let options = partition.options.clone();
            builder.request(&Request::Format { partition: partition.number, filesystem, options }).await?;
        }
        let next = self.plan.steps.get(step.number);
        let last = !matches!(next.map(|next| &next.instruction), Some(Instruction::Partition(_)));
        match &self.plan.disk {
            Some(layout) if last => builder.request(&Request::Mount { mounts: layout.mounts.clone() }).await,
            _ => Ok(()),
        }
    }

    async fn inspect(&self, builder: &Builder) -> Result<(), Error> {
        let terminal = check_terminal(self.options.terminal.as_ref())?;
        let status = builder.inspect(terminal).await?;
        // What a person last typed may well have failed; the build goes on.
        tracing::debug!("the shell of INSPECT ended with status {status}");
        Ok(())
    }
}

async fn run_command(builder: &Builder, command: &str) -> Result<(), Error> {
    let mut tail = Tail::default();
    let status = builder.run(command, |_, data| tail.add(data)).await?;
    if status == 0 {
        return Ok(());
    }
    let message = format!("the command ended with exit status {status}");
    Err(Error::new(ErrorKind::CommandFailed, message).with_exit_status(status).with_output(tail.text()))
}

/// The end of a command's output.
#[derive(Default)]
struct Tail(VecDeque<u8>);

impl Tail {
    fn add(&mut self, data: &[u8]) {
        self.0.extend(data);
        let over = self.0.len().saturating_sub(OUTPUT_BYTES);
        self.0.drain(..over);
    }

    fn text(&self) -> String {
        let bytes: Vec<u8> = self.0.iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(OUTPUT_LINES)..].join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_long_output_is_kept() {
        let mut tail = Tail::default();
        for number in 0..10_000 {
            tail.add(format!("line {number}\n").as_bytes());
        }
        let text = tail.text();
        assert_eq!(text.lines().count(), OUTPUT_LINES);
        assert_eq!(text.lines().last(), Some("line 9999"));
    }
}
