//! A VM that runs: a thread of its own owns QEMU, does what the VM's users ask for, and outlives QEMU.

use std::fs::File;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitStatus;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::AsyncReadExt;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet, LocalSet};
use tokio::time::Instant;

use super::VmConfig;
use super::arguments::{self, ABOUT_FD, COMMANDS_FD, CONSOLE_FD, Drives, MONITOR_FD};
use super::commands::Commands;
use super::console::Console;
use super::host_key::HostKey;
use super::legacy::{self, About};
use super::running::{self, Order, Record, Registration};
use super::ssh::{Connection, Identities, Target};
use super::stored::{StoredVm, TemporaryVm};
use crate::qemu::process::{self, Launch};
use crate::qemu::{Monitor, Watch, nonblocking, pair};
use crate::{Error, ErrorKind};

/// How long QEMU may take to end after it was told to.
const QUIT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long work may go on that the end of QEMU ends too.
const WORK_TIMEOUT: Duration = Duration::from_secs(2);

/// What a VM keeps on the host's disk.
#[derive(Debug)]
pub(super) enum Keeps {
    Nothing,
    /// Its disks, until it has ended.
    #[expect(dead_code, reason = "it is removed when it is dropped")]
    Temporary(TemporaryVm),
    /// Its disks.
    Disks(StoredVm),
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
    /// What lives as long as the VM.
    pub(super) servants: std::cell::RefCell<JoinSet<()>>,
}

impl Machine {
    /// Carries out work that needs the guest; a trouble of the machine ends it, and explains its failure.
    pub(super) async fn guard<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        /// How long a trouble may take to be noticed after something else failed because of it.
        const DELAY: Duration = Duration::from_millis(300);
        let error = tokio::select! {
            biased;
            error = self.watch.trouble() => error,
            result = work => match result {
                Err(error) if error.kind() == ErrorKind::ConnectionLost => error,
                result => return result,
            },
        };
        // What explains it may come a moment later.
        tokio::time::sleep(DELAY / 10).await;
        Err(tokio::time::timeout(DELAY, self.watch.trouble()).await.unwrap_or(error))
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

/// The owner of a QEMU process.
struct Running {
    machine: Rc<Machine>,
    monitor: Rc<Monitor>,
    process: JoinHandle<Option<ExitStatus>>,
    kill: Option<oneshot::Sender<()>>,
    registration: Rc<std::cell::RefCell<Option<Registration>>>,
    /// Who asked for the end, and waits for it.
    waiting: mpsc::UnboundedReceiver<tokio::net::UnixStream>,
    jobs: mpsc::UnboundedReceiver<Job>,
    orders: mpsc::UnboundedReceiver<Order>,
    ended: watch::Sender<Option<Ended>>,
    holds_disks: bool,
}

impl Running {
    async fn start(launching: Launching) -> Result<(Arc<Shared>, Self), Error> {
        let (monitor_ours, monitor_theirs) = pair()?;
        let (commands_ours, commands_theirs) = pair()?;
        let (console_ours, console_theirs) = pair()?;
        let about = legacy::file().map_err(|error| Error::io("cannot make a file in memory", error))?;
        let about_theirs = about.try_clone().map_err(|error| Error::io("cannot pass a file on", error))?;
        let has_console = !arguments::brings_serial(&launching.config);
        let mut descriptors = vec![
            (MONITOR_FD, monitor_theirs.into()),
            (COMMANDS_FD, commands_theirs.into()),
            (ABOUT_FD, about_theirs),
        ];
        if has_console {
            descriptors.push((CONSOLE_FD, console_theirs.into()));
        }
        let child = process::spawn(Launch {
            program: launching.config.qemu(),
            arguments: arguments::arguments(&launching.name, &launching.config, &launching.drives),
            descriptors,
            environment: legacy::environment(),
            // What is written to disks that are kept must not be torn.
            death_signal: if launching.keeps.is_nothing() { Signal::KILL } else { Signal::TERM },
            background: false,
            inherits_stdio: launching.inherits_stdio,
        })?;
        let qemu = child.id().unwrap_or_default();
        let watch = Watch::of_vm();
        let (kill, killed) = oneshot::channel();
        let mut process = tokio::spawn(process::watch(child, killed, watch.clone()));
        let console_stream = if has_console { Some(nonblocking(console_ours)?) } else { None };
        let console = Console::new(console_stream, watch.clone());

        let timeout = launching.config.qmp_timeout();
        let stream = nonblocking(monitor_ours)?;
        let connecting = async {
            let monitor = Monitor::connect(stream, timeout, watch.clone()).await?;
            let port = if launching.config.has_ssh() { monitor.ssh_port().await? } else { None };
            Ok((monitor, port))
        };
        let connected = tokio::select! {
            biased;
            error = watch.trouble() => Err(error),
            connected = connecting => match connected {
                // QEMU's own words may come a moment later.
                Err(error) => Err(tokio::time::timeout(Duration::from_millis(500), watch.trouble()).await.unwrap_or(error)),
                connected => connected,
            },
        };
        let registered = connected.and_then(|(monitor, port)| {
            let record = record(&launching, qemu, port);
            let registration = Registration::make(&launching.running, record)?;
            Ok((monitor, port, registration))
        });
        let (monitor, port, registration) = match registered {
            Ok(registered) => registered,
            Err(error) => {
                drop(kill);
                let _ = (&mut process).await;
                return Err(error);
            }
        };
        let told = About {
            name: launching.name.clone(),
            vmstore: launching.vmstore.clone(),
            primary_image: launching.image.clone(),
            stateless: launching.keeps.is_nothing(),
            transient_pid: std::process::id(),
            ssh_port: port,
        };
        if let Err(error) = legacy::tell(&File::from(about), &told) {
            tracing::warn!("release 0.25 is not told of the VM: {error}");
        }
        let (orders_sender, orders) = mpsc::unbounded_channel();
        let (waiting_sender, waiting) = mpsc::unbounded_channel();
        listen(registration.socket(), orders_sender.clone(), waiting_sender);
        let registration = Rc::new(std::cell::RefCell::new(Some(registration)));
        let (host_keys, learned) = mpsc::unbounded_channel();
        tokio::task::spawn_local(note_host_key(learned, Rc::clone(&registration)));
        let config_path = match &launching.keeps {
            Keeps::Disks(vm) => Some(vm.config_path()),
            Keeps::Temporary(_) | Keeps::Nothing => None,
        };
        let on_learn = move |key: &str| drop(host_keys.send(key.to_owned()));
        let target = port.map(|port| Target {
            port,
            options: launching.config.ssh_options(),
            host_key: Arc::new(HostKey::new(None, config_path, Some(Box::new(on_learn)))),
            identities: launching.identities.clone(),
        });
        let (jobs_sender, jobs) = mpsc::unbounded_channel();
        let (ended, ended_receiver) = watch::channel(None);
        let shared = Arc::new(Shared {
            name: launching.name,
            image: launching.image,
            qemu,
            ssh_port: port,
            console: Arc::clone(&console),
            jobs: jobs_sender,
            orders: orders_sender,
            ended: ended_receiver,
            keeps: Mutex::new(launching.keeps),
        });
        let machine = Rc::new(Machine {
            config: launching.config,
            watch,
            console,
            commands: tokio::sync::Mutex::new(Commands::new(nonblocking(commands_ours)?)),
            target,
            connection: tokio::sync::Mutex::default(),
            servants: std::cell::RefCell::default(),
        });
        let monitor = Rc::new(monitor);
        let holds_disks = launching.holds_disks;
        let running = Self {
            machine,
            monitor,
            process,
            kill: Some(kill),
            registration,
            waiting,
            jobs,
            orders,
            ended,
            holds_disks,
        };
        Ok((shared, running))
    }

    /// Does what is asked for, until QEMU has ended.
    async fn supervise(mut self, shared: &Shared) {
        let mut work = JoinSet::new();
        let mut ending = Ending::default();
        let status = loop {
            tokio::select! {
                status = &mut self.process => break status.ok().flatten(),
                Some(job) = self.jobs.recv() => drop(work.spawn_local(job(Rc::clone(&self.machine)))),
                Some(_) = work.join_next() => {}
                Some(order) = self.orders.recv() => match order {
                    Order::Kill => drop(self.kill.take()),
                    Order::ShutDown => self.shut_down(&mut ending),
                },
                () = ending.due() => self.go_further(&mut ending),
            }
        };
        // What was at work notices, and says why.
        let finishing = async { while work.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(WORK_TIMEOUT, finishing).await;
        drop(self.registration.borrow_mut().take());
        if !self.holds_disks
            && let Ok(mut keeps) = shared.keeps.lock()
        {
            *keeps = Keeps::Nothing;
        }
        let _ = self.ended.send(Some(Ended { status }));
        self.waiting.close();
        while self.waiting.recv().await.is_some() {}
    }

    /// Asks the guest to shut down, unless that makes no sense.
    fn shut_down(&mut self, ending: &mut Ending) {
        if ending.due.is_some() {
            return;
        }
        let patience = self.machine.config.shutdown_timeout();
        // A guest whose kernel panicked hears nothing any more.
        if patience.is_zero() || self.machine.watch.is_in_trouble() {
            return self.go_further(ending);
        }
        let monitor = Rc::clone(&self.monitor);
        tokio::task::spawn_local(async move { monitor.power_down().await });
        ending.due = Some(Instant::now() + patience);
    }

    /// Ends QEMU: at first in order, then not.
    fn go_further(&mut self, ending: &mut Ending) {
        if ending.quitting {
            self.kill.take();
        } else {
            ending.quitting = true;
            let monitor = Rc::clone(&self.monitor);
            tokio::task::spawn_local(async move { monitor.quit().await });
        }
        ending.due = Some(Instant::now() + QUIT_TIMEOUT);
    }
}

/// How far the end of a VM has come.
#[derive(Default)]
struct Ending {
    /// When the next means is used; `None` as long as nobody wants its end.
    due: Option<Instant>,
    quitting: bool,
}

impl Ending {
    async fn due(&self) {
        match self.due {
            Some(due) => tokio::time::sleep_until(due).await,
            None => std::future::pending().await,
        }
    }
}

fn record(launching: &Launching, qemu: u32, port: Option<u16>) -> Record {
    Record {
        name: launching.name.clone(),
        image: launching.image.clone(),
        vmstore: launching.vmstore.clone(),
        stateless: launching.keeps.is_nothing(),
        owner: std::process::id(),
        qemu,
        qemu_start: running::start_of(qemu).unwrap_or_default(),
        started: running::now(),
        ssh_port: port,
        ssh_user: launching.config.ssh_options().user,
        host_key: None,
    }
}

/// Takes orders of other processes, whose connections are kept to the end.
fn listen(
    socket: PathBuf,
    orders: mpsc::UnboundedSender<Order>,
    waiting: mpsc::UnboundedSender<tokio::net::UnixStream>,
) {
    let listener = match UnixListener::bind(&socket) {
        Ok(listener) => listener,
        Err(error) => {
            return tracing::warn!(
                "the VM cannot be stopped from elsewhere: '{}': {error}",
                socket.display()
            );
        }
    };
    tokio::task::spawn_local(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (orders, waiting) = (orders.clone(), waiting.clone());
            tokio::task::spawn_local(async move {
                if let Some(order) = stream.read_u8().await.ok().and_then(Order::from_byte) {
                    let _ = waiting.send(stream);
                    let _ = orders.send(order);
                }
            });
        }
    });
}

async fn note_host_key(
    mut learned: mpsc::UnboundedReceiver<String>,
    registration: Rc<std::cell::RefCell<Option<Registration>>>,
) {
    while let Some(key) = learned.recv().await {
        if let Some(registration) = registration.borrow_mut().as_mut() {
            registration.set_host_key(&key);
        }
    }
}
