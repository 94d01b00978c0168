//! Carrying out a plan.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Instant;

use tokio_util::task::TaskTracker;
use transient_guest::protocol::Request;

use super::base::{self, Begun};
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
    store.check_new(&options.name, local)?;
    let Some(first) = plan.steps.first() else {
        return Err(Error::new(ErrorKind::Internal, "there is no step"));
    };
    let started = Instant::now();
    reporter.send_blocking(starting(first, &plan));
    let Begun { mut reservation, base } = base::begin(
        &plan.base,
        |spec| {
            source::bring_in(store, spec, reporter, cancel).map_err(|error| placed(error, first, &imagefile))
        },
        || store.reserve(&options.name, local, reporter, cancel),
    )?;
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
        started,
        base: base.as_deref(),
        disk: reservation.folder().join("disk.qcow2"),
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
    let image = write_image(&work.disk, base.as_deref(), &reservation, reporter, cancel)?;
    reservation.tell(log.into_making(&appliance.description.key));
    image.commit_into(reservation)
}

fn starting(step: &Step, plan: &Plan) -> Event {
    let (instruction, line) = (step.shown(), step.line);
    Event::StepStarted { step: step.number, steps: plan.steps.len(), instruction, line }
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
    base: Option<&Path>,
    reservation: &Reservation,
    reporter: &Reporter,
    cancel: &CancelToken,
) -> Result<Unpublished, Error> {
    let image = reservation.folder().join("image.qcow2");
    let task = "Writing the image";
    let total = occupied(disk) + base.map_or(0, occupied);
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
    /// When the first step began.
    started: Instant,
    /// What the disk stands on, unless it is new.
    base: Option<&'a Path>,
    /// The disk that the builder VM works on.
    disk: PathBuf,
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
            let number = step.number;
            let started = if number == 1 { self.started } else { Instant::now() };
            if number > 1 {
                self.reporter.send(starting(step, self.plan)).await;
            }
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
        let Some(base) = self.base else {
            return Err(Error::new(ErrorKind::Internal, "the base image was not brought in"));
        };
        log.start_from(self.store, &spec.name, base);
        qemu_img::create_overlay(&self.disk, base, self.cancel)?;
        let builder = self.boot().await?;
        builder.request(&Request::MountImage).await?;
        Ok(builder)
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
