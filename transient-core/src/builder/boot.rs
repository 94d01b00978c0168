//! How a builder VM comes to run: restored where one was saved, else booted, with KVM where it works.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::accelerator::{self, Choice};
use super::appliance::Appliance;
use super::saved::{self, SavedBuilders, Saving};
use super::saving::{self, Start};
use super::vm::Builder;
use super::{Network, VmOptions, resources};
use crate::event::{Event, Reporter};
use crate::qemu::{Accelerated, Configuration, Disk, Machine, Monitor};
use crate::{Error, ErrorKind};

const QMP_TIMEOUT: Duration = Duration::from_secs(10);
const SSH_TIMEOUT: Duration = Duration::from_secs(90);
/// A guest boots and answers this much slower when its instructions are emulated.
const TCG_SCALE: u32 = 3;
/// A guest boots under KVM in well under a second; where KVM hangs it never does.
const KVM_TRIAL: Duration = Duration::from_secs(5);
/// The same for somebody who insists on KVM.
const KVM_TIMEOUT: Duration = Duration::from_secs(15);
/// A guest that is restored answers in half a second; a boot takes less than to wait for longer than this.
const RESTORE_TRIAL: Duration = Duration::from_secs(20);

/// What every attempt to start a builder VM needs.
pub(crate) struct Boot<'a> {
    pub(crate) options: &'a VmOptions,
    pub(crate) appliance: &'a Appliance,
    pub(crate) disk: Disk,
    /// Where verdicts are remembered, and builders are saved.
    pub(crate) cache: &'a Path,
    pub(crate) reporter: &'a Reporter,
    /// Ends only after every QEMU has.
    pub(crate) processes: &'a TaskTracker,
}

impl Boot<'_> {
    /// Returns a builder VM that takes operations.
    pub(crate) async fn start(&self) -> Result<Builder, Error> {
        match accelerator::choose(self.options, self.cache)? {
            Choice::Kvm => {
                let timeout = self.options.ssh_timeout.unwrap_or(KVM_TIMEOUT);
                self.boot(Accelerated::Kvm, timeout).await.map_err(|error| match error.kind() {
                    kind if may_be_kvm(kind) => accelerator::unusable(&error),
                    _ => error,
                })
            }
            Choice::KvmOrTcg => match self.boot(Accelerated::Kvm, KVM_TRIAL).await {
                Err(error) if may_be_kvm(error.kind()) => {
                    // If it fails without KVM too, that is what to tell, and KVM may be innocent.
                    let builder = self.emulated().await?;
                    accelerator::remember(self.options, self.cache, &error.to_string());
                    let message = format!(
                        "KVM does not work on this host ({error}); builds run emulated until it reboots"
                    );
                    let hint = "--accel kvm tries KVM all the same".to_owned();
                    self.reporter.warning(message, Some(hint)).await;
                    Ok(builder)
                }
                result => result,
            },
            Choice::Tcg { reason } => {
                if let Some(reason) = reason {
                    self.reporter.warning(reason.message, reason.hint).await;
                }
                self.emulated().await
            }
        }
    }

    /// Restores a saved builder. If there is none, boots, and has another one saved in the background. If that came to
    /// nothing before, for builds are short or the host is busy, this one is saved, which takes a second.
    async fn emulated(&self) -> Result<Builder, Error> {
        let configuration = self.configuration(Accelerated::Tcg);
        let timeout = self.options.ssh_timeout.unwrap_or(SSH_TIMEOUT * TCG_SCALE);
        let key =
            saved::key(&configuration, &self.appliance.description.key).filter(|_| self.options.warm_start);
        let Some(key) = key else { return self.attempt(&configuration, Start::Boot, timeout).await };
        let builders = SavedBuilders::below(self.cache);
        if let Some(saved) = builders.find(key) {
            let trial = timeout.min(RESTORE_TRIAL);
            match self.attempt(&configuration, Start::Restore(saved), trial).await {
                Err(error) => {
                    tracing::info!("a saved builder VM does not run: {}", error.report());
                    builders.remove(key);
                }
                restored => return restored,
            }
        }
        let Some(place) = builders.begin(key) else {
            return self.attempt(&configuration, Start::Boot, timeout).await;
        };
        if place.again {
            return self.boot_and_save(&configuration, place, timeout).await;
        }
        let mut builder = self.attempt(&configuration, Start::Boot, timeout).await?;
        builder.saving = Some(self.save_another(place, configuration));
        Ok(builder)
    }

    /// Boots a builder that is saved before it is given any work; if QEMU cannot do that, one that is not.
    async fn boot_and_save(
        &self,
        configuration: &Configuration,
        place: Saving,
        timeout: Duration,
    ) -> Result<Builder, Error> {
        let start = Start::saving(place, configuration.memory);
        match self.attempt(configuration, start, timeout).await {
            Err(error) if error.kind() == ErrorKind::QemuFailed => {
                tracing::info!("no builder VM is saved: {}", error.report());
                self.attempt(configuration, Start::Boot, timeout).await
            }
            result => result,
        }
    }

    /// Has another builder, which never sees a disk, boot and saved in the background.
    fn save_another(&self, place: Saving, configuration: Configuration) -> AbortOnDropHandle<()> {
        let configuration = Configuration { disk: None, background: true, ..configuration };
        let work = saving::save_another(configuration, place, self.processes.clone());
        AbortOnDropHandle::new(tokio::spawn(async {
            match work.await {
                Ok(()) => tracing::debug!("a builder VM was saved"),
                Err(error) => tracing::info!("no builder VM is saved: {}", error.report()),
            }
        }))
    }

    async fn boot(&self, accelerated: Accelerated, timeout: Duration) -> Result<Builder, Error> {
        self.attempt(&self.configuration(accelerated), Start::Boot, timeout).await
    }

    async fn attempt(
        &self,
        configuration: &Configuration,
        start: Start,
        timeout: Duration,
    ) -> Result<Builder, Error> {
        let (begun, warm) = (Instant::now(), matches!(start, Start::Restore(_)));
        let (machine, channels) = Machine::start(configuration, start.memory()?, self.processes)?;
        let connected = machine.guard(async {
            let monitor = self.monitor(&machine, channels.monitor);
            let session = start.connect(monitor, channels.control, configuration.network);
            tokio::time::timeout(timeout, session).await.map_err(|_| no_answer(timeout))?
        });
        let (monitor, session) = match connected.await {
            Ok(connected) => connected,
            Err(error) => {
                // What the guest said last may tell why it did not answer.
                let silent = error.kind() == ErrorKind::Timeout;
                let error = if silent { error.with_output(machine.console()) } else { error };
                machine.kill().await;
                return Err(error);
            }
        };
        let accelerator = configuration.accelerated.name();
        let started = Event::BuilderStarted { accelerator, elapsed: begun.elapsed(), warm };
        self.reporter.send(started).await;
        Ok(Builder {
            machine,
            monitor,
            session,
            data: Arc::new(channels.data),
            memory: configuration.memory,
            accelerator,
            reporter: self.reporter.clone(),
            snapshots: 0,
            saving: None,
        })
    }

    async fn monitor(&self, machine: &Machine, stream: tokio::net::UnixStream) -> Result<Monitor, Error> {
        machine.monitor(stream, self.options.qmp_timeout.unwrap_or(QMP_TIMEOUT)).await
    }

    fn configuration(&self, accelerated: Accelerated) -> Configuration {
        Configuration {
            program: self.options.qemu.clone(),
            accelerated,
            memory: resources::memory(self.options),
            cpus: resources::cpus(self.options),
            kernel: self.appliance.kernel.clone(),
            initramfs: self.appliance.initramfs.clone(),
            disk: Some(self.disk.clone()),
            network: self.options.network == Network::User,
            background: false,
        }
    }
}

/// Whether KVM may be why a machine failed in this way.
fn may_be_kvm(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Timeout | ErrorKind::QemuFailed | ErrorKind::GuestPanic | ErrorKind::ConnectionLost
    )
}

fn no_answer(timeout: Duration) -> Error {
    Error::new(ErrorKind::Timeout, format!("the builder VM did not answer within {} s", timeout.as_secs()))
        .hint("give it longer with --ssh-timeout")
}
