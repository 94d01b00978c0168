//! What is done when a step fails: a shell in the state before it, and an image of that state.

use tokio_util::task::TaskTracker;

use super::disk::WorkingDisk;
use super::log::Log;
use super::run::write_image;
use super::work::Work;
use super::{BuildOptions, OnFailure};
use crate::builder::in_vms;
use crate::event::Event;
use crate::{Error, ErrorKind, ImageName, Store, terminal};

/// Why the steps were not carried out.
pub(super) struct Failure {
    error: Error,
    /// The step that failed, if one did.
    failed: Option<Failed>,
}

struct Failed {
    /// The step's number.
    step: usize,
    /// How many stages were done before it.
    stages: usize,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, failed: None }
    }
}

impl Failure {
    /// `stage` is the one that the step is of; none when there was no VM to carry it out.
    pub(super) fn of_step(error: Error, step: usize, stage: Option<usize>) -> Self {
        let stage = stage.filter(|_| error.kind() != ErrorKind::Cancelled);
        Self { error, failed: stage.map(|stages| Failed { step, stages }) }
    }
}

impl BuildOptions {
    /// Whether the state after each step must be there if the next one fails.
    pub(super) fn needs_state(&self) -> bool {
        self.on_failure == OnFailure::Shell || self.keep_failed.is_some()
    }
}

/// Refuses what could not be done when a step fails, before any is carried out.
pub(super) fn check(store: &Store, options: &BuildOptions) -> Result<(), Error> {
    if options.on_failure == OnFailure::Shell {
        terminal::check(options.terminal.as_ref()).map_err(|_| {
            Error::new(ErrorKind::NotATerminal, "a shell on failure needs a terminal, and there is none")
                .hint("run the build in a terminal; --keep-failed keeps the state before the step as an image instead")
        })?;
    }
    match &options.keep_failed {
        Some(name) if *name == options.name => {
            let message = "what is left of a build that fails cannot have the name of its image";
            Err(Error::new(ErrorKind::InvalidArgument, message).hint("give --keep-failed another name"))
        }
        Some(name) => store.check_free(name),
        None => Ok(()),
    }
}

impl<'a> Work<'a> {
    /// Does what was asked for in case that a step fails, and returns the error of the build. Blocks.
    pub(super) fn after(
        &self,
        failure: Failure,
        store: &Store,
        disk: &mut WorkingDisk<'a>,
        log: &Log,
    ) -> Error {
        let Failure { mut error, failed: Some(Failed { step, stages }) } = failure else {
            return failure.error;
        };
        if !self.options.needs_state() {
            return error;
        }
        if stages == 0 && self.plan.disk.is_some() {
            let message = format!("there is no state before step {step}: the disk was still being made");
            self.warn(message, None);
            return error;
        }
        if self.options.on_failure == OnFailure::Shell
            && let Err(why) = self.open_shell(step, &error, disk)
        {
            self.warn(format!("there is no shell in the state before step {step}"), Some(&why));
        }
        if let Some(name) = &self.options.keep_failed {
            self.note(format!(
                "step {step} failed; the state before it is kept as image '{}'",
                name.as_str()
            ));
            match self.keep(name, store, disk, log) {
                Ok(()) => {
                    let kept = format!("the image '{}' is the state before this step", name.as_str());
                    error = error.hint(kept);
                }
                Err(why) => {
                    let message = format!("the state before step {step} is not kept as '{}'", name.as_str());
                    self.warn(message, Some(&why));
                }
            }
        }
        error
    }

    /// Lets a person look around in the state before a step.
    fn open_shell(&self, step: usize, error: &Error, disk: &mut WorkingDisk<'a>) -> Result<(), Error> {
        let terminal = terminal::check(self.options.terminal.as_ref())?;
        // Before the boot: the terminal is in raw mode when the shell is there.
        self.reporter.send_blocking(Event::StepFailed { step, error: error.report() });
        self.note(format!(
            "a shell opens in the state before step {step}; nothing done in it is kept, and the build fails when it ends"
        ));
        in_vms(self.cancel, async |processes: &TaskTracker| {
            let running = self.boot(disk, processes).await?;
            running.builder.inspect(terminal).await.map(drop)
        })
    }

    /// Makes an image of the state before the step that failed.
    fn keep(
        &self,
        name: &ImageName,
        store: &Store,
        disk: &mut WorkingDisk<'a>,
        log: &Log,
    ) -> Result<(), Error> {
        let mut reservation = store.reserve_free(name)?;
        let accelerator = in_vms(self.cancel, async |processes: &TaskTracker| {
            let running = self.boot(disk, processes).await?;
            let accelerator = running.builder.accelerator();
            running.builder.finish().await.map(|()| accelerator)
        })?;
        let image =
            write_image(&disk.files(), self.options.compress, &reservation, self.reporter, self.cancel)?;
        reservation.tell(log.making_of(name, &self.appliance.description.key, accelerator));
        reservation.commit(&image).map(drop)
    }

    fn note(&self, message: String) {
        self.reporter.send_blocking(Event::Note { message });
    }

    fn warn(&self, message: String, why: Option<&Error>) {
        let message = match why {
            Some(why) => format!("{message}: {}", with_causes(why)),
            None => message,
        };
        let hint = why.and_then(|why| why.hints().first().cloned());
        self.reporter.send_blocking(Event::Warning { message, hint });
    }
}

/// Returns an error and its causes in one line.
fn with_causes(error: &Error) -> String {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
