//! The owner of a QEMU process: does what a VM's users ask for, takes orders, and sees to its end.

use std::cell::RefCell;
use std::path::Path;
use std::process::ExitStatus;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use super::host_key::HostKey;
use super::launch::launch;
use super::machine::{Ended, Job, Keeps, Launching, Machine, Shared};
use super::running::{self, Order, Record, Registration};
use super::ssh::Target;
use crate::Error;
use crate::qemu::Monitor;
use crate::store::Scratch;

/// How long QEMU may take to end after it was told to.
const QUIT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long work may go on that the end of QEMU ends too.
const WORK_TIMEOUT: Duration = Duration::from_secs(2);

/// The VM in the list of those that run, until it has ended.
type Listing = Rc<RefCell<Option<Registration>>>;

/// The owner of a QEMU process.
pub(super) struct Running {
    machine: Rc<Machine>,
    monitor: Rc<Monitor>,
    process: JoinHandle<Option<ExitStatus>>,
    kill: Option<oneshot::Sender<()>>,
    registration: Listing,
    /// Who asked for the end, and waits for it.
    waiting: mpsc::UnboundedReceiver<tokio::net::UnixStream>,
    jobs: mpsc::UnboundedReceiver<Job>,
    orders: mpsc::UnboundedReceiver<Order>,
    ended: watch::Sender<Option<Ended>>,
    holds_disks: bool,
    temporary: Option<Scratch>,
}

impl Running {
    pub(super) async fn start(launching: Launching) -> Result<(Arc<Shared>, Self), Error> {
        let launched = launch(&launching).await?;
        let record = record(&launching, launched.pid, launched.ssh_port);
        let registration = match Registration::make(&launching.running, record) {
            Ok(registration) => registration,
            Err(error) => {
                launched.discard().await;
                return Err(error);
            }
        };
        launched.tell(&launching);
        let (orders_sender, orders) = mpsc::unbounded_channel();
        let (waiting_sender, waiting) = mpsc::unbounded_channel();
        listen(&registration.socket(), orders_sender.clone(), waiting_sender);
        let registration = Rc::new(RefCell::new(Some(registration)));
        let target = launched.ssh_port.map(|port| Target {
            port,
            options: launching.config.ssh_options(),
            host_key: Arc::new(host_key(&launching, &registration)),
            identities: launching.identities.clone(),
        });
        let (jobs_sender, jobs) = mpsc::unbounded_channel();
        let (ended, ended_receiver) = watch::channel(None);
        let shared = Arc::new(Shared {
            name: launching.name,
            image: launching.image,
            qemu: launched.pid,
            ssh_port: launched.ssh_port,
            console: Arc::clone(&launched.console),
            jobs: jobs_sender,
            orders: orders_sender,
            ended: ended_receiver,
            keeps: Mutex::new(launching.keeps),
        });
        let running = Self {
            machine: Rc::new(Machine::new(
                launching.config,
                launched.watch,
                launched.console,
                launched.commands,
                target,
            )),
            monitor: Rc::new(launched.monitor),
            process: launched.process,
            kill: Some(launched.kill),
            registration,
            waiting,
            jobs,
            orders,
            ended,
            holds_disks: launching.holds_disks,
            temporary: launching.temporary,
        };
        Ok((shared, running))
    }

    /// Does what is asked for, until QEMU has ended.
    pub(super) async fn supervise(mut self, shared: &Shared) {
        let mut work = JoinSet::new();
        let mut ending = Ending::default();
        let status = loop {
            tokio::select! {
                status = &mut self.process => break status.ok().flatten(),
                Some(job) = self.jobs.recv() => drop(work.spawn_local(job(Rc::clone(&self.machine)))),
                Some(_) = work.join_next() => {}
                Some(order) = self.orders.recv() => {
                    self.machine.stopping.set(true);
                    match order {
                        Order::Kill => drop(self.kill.take()),
                        Order::ShutDown => self.shut_down(&mut ending),
                    }
                }
                () = ending.due() => self.go_further(&mut ending),
            }
        };
        // What was at work notices, and says why.
        let finishing = async { while work.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(WORK_TIMEOUT, finishing).await;
        drop(self.registration.borrow_mut().take());
        drop(self.temporary.take());
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
        patience: (launching.config.shutdown_timeout() + 3 * QUIT_TIMEOUT).as_secs_f64(),
        host_key: None,
    }
}

/// Takes orders of other processes, whose connections are kept to the end.
fn listen(
    socket: &Path,
    orders: mpsc::UnboundedSender<Order>,
    waiting: mpsc::UnboundedSender<tokio::net::UnixStream>,
) {
    let listener = match running::with_short_path(socket, |path| UnixListener::bind(path)) {
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

/// Returns what is known of the guest's host key; when it is learned, the list of those that run has it too.
fn host_key(launching: &Launching, registration: &Listing) -> HostKey {
    let (sender, mut learned) = mpsc::unbounded_channel::<String>();
    let registration = Rc::clone(registration);
    tokio::task::spawn_local(async move {
        while let Some(key) = learned.recv().await {
            if let Some(registration) = registration.borrow_mut().as_mut() {
                registration.set_host_key(&key);
            }
        }
    });
    let config = match &launching.keeps {
        Keeps::Disks(vm) => Some(vm.config_path()),
        Keeps::Temporary(_) | Keeps::Nothing => None,
    };
    let on_learn = move |key: &str| drop(sender.send(key.to_owned()));
    HostKey::new(None, config, Some(Box::new(on_learn)))
}
