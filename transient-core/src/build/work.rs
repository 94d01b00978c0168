//! The steps of a build: those that are cached are passed over, the others are carried out in the builder VM.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio_util::task::TaskTracker;
use transient_guest::protocol::{MountedDevice, Request};

use super::command::run_command;
use super::context::Context;
use super::disk::WorkingDisk;
use super::explain::{Found, explain};
use super::failure::Failure;
use super::ingredients::Ingredients;
use super::log::Log;
use super::plan::{Plan, Step};
use super::stage::{self, Ground, Stage};
use super::{BuildOptions, transfer};
use crate::builder::{Boot, Builder, appliance, in_vms};
use crate::error::Location;
use crate::event::{Event, Reporter};
use crate::imagefile::{Imagefile, Instruction};
use crate::layer::{Key, Layer, Layers, Made};
use crate::store::{HistoryStep, Lock};
use crate::{CancelToken, Error, ErrorKind, terminal};

/// Everything that the steps of one build need.
pub(super) struct Work<'a> {
    pub(super) options: &'a BuildOptions,
    pub(super) plan: &'a Plan,
    pub(super) imagefile: &'a Imagefile,
    pub(super) context: &'a Context,
    pub(super) appliance: &'a appliance::Appliance,
    pub(super) cache: &'a Path,
    pub(super) layers: &'a Layers,
    pub(super) ground: &'a Ground<'a>,
    pub(super) stages: &'a [Stage],
    pub(super) ingredients: &'a Ingredients,
    /// Those of the last build of the same image, where they are asked for and known.
    pub(super) last: Option<&'a Ingredients>,
    pub(super) reporter: &'a Reporter,
    pub(super) cancel: &'a CancelToken,
}

/// The builder VM, and how the image was mounted in it.
pub(super) struct Running {
    pub(super) builder: Builder,
    since: u64,
    mounts: Vec<MountedDevice>,
}

impl<'a> Work<'a> {
    /// Brings the disk to the state after the last step, finished. Blocks; the calling thread outlives every process
    /// that is started.
    pub(super) fn carry_out(&self, disk: &mut WorkingDisk<'a>, log: &mut Log) -> Result<(), Failure> {
        let finished = self.finished_key();
        let (done, claim) = self.go_on_from(disk, finished)?;
        for (stage, layer) in self.stages[..done].iter().zip(disk.chain()) {
            self.tell_cached(stage);
            log.cached(&layer.record.made.steps);
            log.booted(&layer.record.made.accelerator);
        }
        let end = finished.is_some() && disk.chain().last().map(|layer| layer.record.key) == finished;
        self.explain(done, end);
        if end {
            return Ok(());
        }
        in_vms(self.cancel, async |processes| {
            self.run_stages(disk, log, (done, claim, finished), processes).await
        })
    }

    /// Returns what the finished disk is found by, if all steps are kept.
    pub(super) fn finished_key(&self) -> Option<Key> {
        let last = self.stages.last().map_or_else(|| Some(self.ground.key()), |stage| stage.key);
        last.map(stage::finished)
    }

    /// Puts the disk on the most that there is of it, and takes the key of what comes next: nobody else makes it at the
    /// same time. Returns how many stages there are already.
    fn go_on_from(
        &self,
        disk: &mut WorkingDisk<'_>,
        finished: Option<Key>,
    ) -> Result<(usize, Option<Lock>), Error> {
        let mut claimed: Option<(Key, Lock)> = None;
        loop {
            let (done, chain) = self.deepest(finished);
            let next = match self.stages.get(done) {
                Some(stage) => stage.key,
                None => finished,
            };
            let is_finished = finished.is_some() && chain.last().map(|layer| layer.record.key) == finished;
            match (next, claimed) {
                (Some(next), Some((key, lock))) if key == next && !is_finished => {
                    disk.stand_on(chain);
                    return Ok((done, Some(lock)));
                }
                (Some(next), _) if !is_finished => {
                    let what = match self.stages.get(done) {
                        Some(stage) => format!("'{}'", self.plan.steps[stage.steps.start].shown()),
                        None => "the end of the same build".to_owned(),
                    };
                    claimed = Some((next, self.layers.claim(next, &what, self.reporter, self.cancel)?));
                }
                _ => {
                    disk.stand_on(chain);
                    return Ok((done, None));
                }
            }
        }
    }

    /// Returns the layers to begin with, the lowest first, and how many stages they are.
    fn deepest(&self, finished: Option<Key>) -> (usize, Vec<Layer>) {
        let from = self.options.no_cache_from;
        if from.is_none()
            && let Some(chain) = finished.and_then(|key| self.layers.chain(key))
        {
            return (self.stages.len(), chain);
        }
        let usable = self.stages.iter().take_while(|stage| !stage.is_forced(from)).count();
        let whole = self.stages[..usable].iter().enumerate().rev().find_map(|(index, stage)| {
            let chain = self.layers.chain(stage.key?)?;
            Some((index + 1, chain))
        });
        whole.unwrap_or_default()
    }

    async fn run_stages(
        &self,
        disk: &mut WorkingDisk<'_>,
        log: &mut Log,
        (done, mut claim, mut finished): (usize, Option<Lock>, Option<Key>),
        processes: &TaskTracker,
    ) -> Result<(), Failure> {
        let mut running = None;
        let mut keeps = true;
        for (index, stage) in self.stages.iter().enumerate().skip(done) {
            let before = log.len();
            for step in &self.plan.steps[stage.steps.clone()] {
                let begun = Instant::now();
                let done = self.run_step(step, disk, &mut running, processes).await;
                let stage = running.is_some().then_some(index);
                done.map_err(|error| Failure::of_step(error, step.number, stage))?;
                log.step(step, begun);
                self.reporter.send(self::finished(step, begun)).await;
            }
            if keeps && !stage.is_as_keyed(self.plan, self.context, self.cancel) {
                let step = self.plan.steps[stage.steps.start].shown();
                let message =
                    format!("what '{step}' read has changed meanwhile: nothing from there on is kept");
                self.reporter.warning(message, None).await;
                (keeps, finished) = (false, None);
            }
            let Some(running) = &mut running else { continue };
            let made = self.made(disk, running, log.after(before).to_vec());
            let kept = if let Some(key) = stage.key.filter(|_| keeps) {
                // In this order: whoever waits for this stage finds the next one taken.
                let next = self.stages.get(index + 1).map_or(finished, |stage| stage.key);
                let next = next.and_then(|key| self.layers.try_claim(key));
                let replace = stage.is_forced(self.options.no_cache_from);
                let kept = disk.keep(&mut running.builder, key, made, replace).await;
                claim = next;
                kept
            } else if self.options.needs_state() {
                disk.set_aside(&mut running.builder, made).await
            } else {
                Ok(())
            };
            // What the last step wrote may only now have to find its place on the host's disk.
            let last = &self.plan.steps[stage.steps.end - 1];
            kept.map_err(|error| placed(error, last, self.imagefile))?;
        }
        let running = match running {
            Some(running) => running,
            None => self.boot(disk, processes).await?,
        };
        log.booted(running.builder.accelerator());
        let made = self.made(disk, &running, Vec::new());
        running.builder.finish().await?;
        if let Some(key) = finished {
            disk.keep_finished(key, made, self.options.no_cache_from.is_some())?;
        }
        drop(claim);
        Ok(())
    }

    fn made(&self, disk: &WorkingDisk<'_>, running: &Running, steps: Vec<HistoryStep>) -> Made {
        let parent = disk.chain().last().map(|layer| layer.record.key);
        let below = disk.chain().last().map(|layer| layer.record.identity());
        let (since, mounts) = (running.since, running.mounts.clone());
        let accelerator = running.builder.accelerator().to_owned();
        Made { parent, below, steps, accelerator, since, mounts }
    }

    async fn run_step(
        &self,
        step: &Step,
        disk: &mut WorkingDisk<'_>,
        running: &mut Option<Running>,
        processes: &TaskTracker,
    ) -> Result<(), Error> {
        // That the first one begins was told before the name was waited for.
        if step.number > 1 {
            self.reporter.send(started(step, self.plan)).await;
        }
        let done = async {
            if matches!(step.instruction, Instruction::From(_)) {
                return Ok(());
            }
            if running.is_none() {
                *running = Some(self.boot(disk, processes).await?);
            }
            match running {
                Some(running) => self.step(step, &running.builder).await,
                None => Ok(()),
            }
        };
        done.await.map_err(|error| placed(error, step, self.imagefile))
    }

    async fn step(&self, step: &Step, builder: &Builder) -> Result<(), Error> {
        match &step.instruction {
            Instruction::Disk(_) => self.make_table(builder).await,
            Instruction::Partition(partition) => self.partition(builder, step, partition).await,
            Instruction::Copy(transfer) => {
                transfer::copy(builder, self.context, transfer, self.reporter).await
            }
            Instruction::Add(transfer) => transfer::add(builder, self.context, transfer, self.reporter).await,
            Instruction::Run(command) => run_command(builder, command).await,
            Instruction::Inspect => self.inspect(builder).await,
            Instruction::From(_) => Ok(()),
        }
    }

    /// Boots on the disk, and mounts what is on it.
    pub(super) async fn boot(
        &self,
        disk: &mut WorkingDisk<'_>,
        processes: &TaskTracker,
    ) -> Result<Running, Error> {
        let since = now();
        let boot = Boot {
            options: &self.options.vm,
            appliance: self.appliance,
            disk: disk.open(self.cancel)?,
            cache: self.cache,
            reporter: self.reporter,
            processes,
        };
        let builder = boot.start().await?;
        let made = disk.chain().last().map(|layer| layer.record.made.clone());
        let (since, mounts) = match (&self.plan.disk, made) {
            // There is nothing to mount yet.
            (Some(_), None) => (since, Vec::new()),
            (Some(layout), Some(made)) => {
                let mounts = layout.mounts.clone();
                builder.request(&Request::Mount { mounts, since: Some(made.since) }).await?;
                (made.since, Vec::new())
            }
            (None, None) => (since, builder.mount_image().await?),
            (None, Some(made)) => {
                let again = Request::MountAgain { mounts: made.mounts.clone(), since: made.since };
                builder.request(&again).await?;
                (made.since, made.mounts)
            }
        };
        Ok(Running { builder, since, mounts })
    }

    async fn make_table(&self, builder: &Builder) -> Result<(), Error> {
        let Some(layout) = &self.plan.disk else {
            return Err(Error::new(ErrorKind::Internal, "the plan has no disk"));
        };
        let request = Request::Partition { label: layout.label, partitions: layout.partitions.clone() };
        builder.request(&request).await
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
            Some(layout) if last => {
                builder.request(&Request::Mount { mounts: layout.mounts.clone(), since: None }).await
            }
            _ => Ok(()),
        }
    }

    async fn inspect(&self, builder: &Builder) -> Result<(), Error> {
        let terminal = terminal::check(self.options.terminal.as_ref())?;
        let status = builder.inspect(terminal).await?;
        // What a person last typed may well have failed; the build goes on.
        tracing::debug!("the shell of INSPECT ended with status {status}");
        Ok(())
    }

    /// Explains why stages after the first so many are carried out, if that is asked for.
    pub(super) fn explain(&self, done: usize, end: bool) {
        if !self.options.explain {
            return;
        }
        let next = self.stages.get(done);
        let forced = next.is_some_and(|stage| stage.is_forced(self.options.no_cache_from));
        let found = Found { stages: done, end, forced };
        self.reporter.send_blocking(explain(&found, self.ingredients, self.last, self.options.name.as_str()));
    }

    pub(super) fn tell_cached(&self, stage: &Stage) {
        for step in &self.plan.steps[stage.steps.clone()] {
            if step.number > 1 {
                self.reporter.send_blocking(started(step, self.plan));
            }
            let cached = Event::StepFinished { step: step.number, elapsed: Duration::ZERO, cached: true };
            self.reporter.send_blocking(cached);
        }
    }
}

/// Tells that a step begins.
pub(super) fn started(step: &Step, plan: &Plan) -> Event {
    let (number, steps) = (step.number, plan.steps.len());
    Event::StepStarted { step: number, steps, instruction: step.shown(), line: step.line }
}

/// Tells that a step was carried out.
pub(super) fn finished(step: &Step, begun: Instant) -> Event {
    Event::StepFinished { step: step.number, elapsed: begun.elapsed(), cached: false }
}

/// Says where in the Imagefile an error came up.
pub(super) fn placed(error: Error, step: &Step, imagefile: &Imagefile) -> Error {
    if matches!(error.kind(), ErrorKind::Cancelled) {
        return error;
    }
    let location = Location { file: imagefile.path().to_owned(), line: step.line, column: 1 };
    error.at(location).in_step(step.shown())
}

/// Nanoseconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_nanos()).unwrap_or(0)
}
