//! A VM that runs: a thread of its own owns QEMU, does what the VM's users ask for, and outlives QEMU.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitStatus;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, LocalSet};

use super::VmConfig;
use super::arguments::Drives;
use super::commands::Commands;
use super::console::Console;
use super::owner::Running;
use super::running::Order;
use super::ssh::{Connection, Identities, Target};
use super::stored::{StoredVm, TemporaryVm};
use crate::qemu::Watch;
use crate::store::Scratch;
use crate::{Error, ErrorKind};

/// How long a trouble may take to be noticed after something else failed because of it.
const TROUBLE_DELAY: Duration = Duration::from_millis(300);

/// What a VM keeps on the host's disk.
#[derive(Debug)]
pub(super) enum Keeps {
    Nothing,
    /// Its disks, until it has ended.
    #[expect(dead_code, reason = "it is removed when it is dropped")]
    Temporary(TemporaryVm),
    /// Its disks.
    Disks(Box<StoredVm>),
}

impl Keeps {
    pub(super) fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }
}

/// Everything that a VM is started with.
pub(super) struct Launching {
    pub(super) name: String,
    pub(super) image: String,
    pub(super) config: VmConfig,
    pub(super) drives: Drives,
    pub(super) keeps: Keeps,
    /// Whether its disks are needed when it has ended.
    pub(super) holds_disks: bool,
    pub(super) vmstore: PathBuf,
    /// The folder of the VMs that run.
    pub(super) running: PathBuf,
    pub(super) identities: Identities,
    /// Where it writes what is not kept, if it keeps nothing.
    pub(super) temporary: Option<Scratch>,
    /// Whether QEMU has this process's standard input and output, for a serial port of the user's.
    pub(super) inherits_stdio: bool,
}

type Work = Pin<Box<dyn Future<Output = ()>>>;
/// Work for a VM's own thread.
pub(super) type Job = Box<dyn FnOnce(Rc<Machine>) -> Work + Send>;

/// What the users of a VM know of it, from any thread.
pub(super) struct Shared {
    pub(super) name: String,
    pub(super) image: String,
    pub(super) qemu: u32,
    pub(super) ssh_port: Option<u16>,
    pub(super) console: Arc<Console>,
    pub(super) jobs: mpsc::UnboundedSender<Job>,
    pub(super) orders: mpsc::UnboundedSender<Order>,
    /// How it ended, when it has.
    pub(super) ended: watch::Receiver<Option<Ended>>,
    /// Its disks, as long as somebody needs them.
    pub(super) keeps: Mutex<Keeps>,
}

/// How a VM ended.
#[derive(Debug, Clone)]
pub(super) struct Ended {
    /// What QEMU ended with; `None` when it was killed.
    pub(super) status: Option<ExitStatus>,
}

/// What a VM's own thread works with.
pub(super) struct Machine {
    pub(super) config: VmConfig,
    pub(super) watch: Watch,
    pub(super) console: Arc<Console>,
    pub(super) commands: tokio::sync::Mutex<Commands>,
    pub(super) target: Option<Target>,
    /// The SSH connection that its users share.
    pub(super) connection: tokio::sync::Mutex<Option<Rc<Connection>>>,
    /// Whether somebody asked for its end.
    pub(super) stopping: Cell<bool>,
    /// What lives as long as the VM.
    servants: RefCell<JoinSet<()>>,
}

impl Machine {
    pub(super) fn new(
        config: VmConfig,
        watch: Watch,
        console: Arc<Console>,
        commands: Commands,
        target: Option<Target>,
    ) -> Self {
        Self {
            config,
            watch,
            console,
            commands: tokio::sync::Mutex::new(commands),
            target,
            connection: tokio::sync::Mutex::default(),
            stopping: Cell::default(),
            servants: RefCell::default(),
        }
    }

    /// Has something done as long as the VM runs.
    pub(super) fn serve(&self, work: impl Future<Output = ()> + 'static) {
        self.servants.borrow_mut().spawn_local(work);
    }

    /// Carries out work that needs the guest; a trouble of the machine ends it, and explains its failure.
    pub(super) async fn guard<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let error = tokio::select! {
            biased;
            error = self.watch.trouble() => error,
            result = work => match result {
                Err(error) if error.kind() == ErrorKind::ConnectionLost => error,
                result => return result,
            },
        };
        if self.stopping.get() {
            return Err(Error::new(ErrorKind::VmNotRunning, "the VM was stopped"));
        }
        // What explains it may come a moment later.
        tokio::time::sleep(TROUBLE_DELAY / 10).await;
        Err(tokio::time::timeout(TROUBLE_DELAY, self.watch.trouble()).await.unwrap_or(error))
    }
}

/// Starts QEMU on a thread of its own, which ends after it.
pub(super) fn start(launching: Launching) -> Result<(Arc<Shared>, std::thread::JoinHandle<()>), Error> {
    let (ready, started) = std::sync::mpsc::sync_channel(1);
    let thread = std::thread::Builder::new()
        .name("transient-vm".to_owned())
        .spawn(move || {
            crate::sys::block_broken_pipes();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = match runtime {
                Ok(runtime) => runtime,
                Err(error) => return drop(ready.send(Err(Error::io("cannot start an event loop", error)))),
            };
            LocalSet::new().block_on(&runtime, async {
                match Running::start(launching).await {
                    Ok((shared, running)) => {
                        let _ = ready.send(Ok(Arc::clone(&shared)));
                        running.supervise(&shared).await;
                    }
                    Err(error) => drop(ready.send(Err(error))),
                }
            });
        })
        .map_err(|error| Error::io("cannot start a thread", error))?;
    match started.recv() {
        Ok(Ok(shared)) => Ok((shared, thread)),
        Ok(Err(error)) => {
            let _ = thread.join();
            Err(error)
        }
        Err(_) => Err(Error::new(ErrorKind::Internal, "the work stopped by a fault of the library")),
    }
}
