//! Which VMs run: a locked file each in the runtime folder, and a socket over which their owners are told to stop.
//!
//! A file counts as long as its owner holds its lock and its QEMU lives, so that no crash leaves a ghost: the lock ends
//! with the owner, and QEMU too. (The lock alone would not do: children that were forked share it.)

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind};

/// Only their owner may enter the folder and read the files.
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// How the sockets' names end.
const SOCKET: &str = "socket";
/// How old a file without a name of its own must be for its maker to be dead.
const LONGEST_MAKING: Duration = Duration::from_secs(10);
/// What an end is waited for at least, and if it is not told how long it may take.
const SHORTEST_END: Duration = Duration::from_secs(10);
const LONGEST_END: Duration = Duration::from_secs(60);
/// A longer file is not ours.
const LONGEST: u64 = 1 << 16;

/// What is told of a VM that runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) name: String,
    pub(super) image: String,
    pub(super) vmstore: PathBuf,
    pub(super) stateless: bool,
    /// The process that it ends with.
    pub(super) owner: u32,
    pub(super) qemu: u32,
    /// When QEMU started, in ticks since the host's boot: a number of a process may be used again.
    pub(super) qemu_start: u64,
    /// Seconds since 1970.
    pub(super) started: f64,
    pub(super) ssh_port: Option<u16>,
    /// How long its end may take, in seconds.
    pub(super) patience: f64,
    /// The guest's SSH host key, once it is known.
    pub(super) host_key: Option<String>,
}

/// What the owner of a VM is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// The guest shuts down; if it does not, QEMU is ended.
    ShutDown,
    /// QEMU is killed.
    Kill,
}

impl Order {
    pub(super) fn to_byte(self) -> u8 {
        match self {
            Self::ShutDown => b's',
            Self::Kill => b'k',
        }
    }

    pub(super) fn from_byte(byte: u8) -> Option<Self> {
        [Self::ShutDown, Self::Kill].into_iter().find(|order| order.to_byte() == byte)
    }
}

/// A VM of ours in the list of those that run. Dropping it takes it off.
#[derive(Debug)]
pub(super) struct Registration {
    file: File,
    path: PathBuf,
    record: Record,
}

impl Registration {
    /// Puts a VM on the list.
    pub(super) fn make(folder: &Path, record: Record) -> Result<Self, Error> {
        make_folder(folder)?;
        let failed = |error| Error::io(format!("cannot write in '{}'", folder.display()), error);
        let id = uuid::Uuid::new_v4().simple().to_string();
        let hidden = folder.join(format!(".{id}"));
        let mut options = OpenOptions::new();
        let file =
            options.read(true).write(true).create_new(true).mode(FILE_MODE).open(&hidden).map_err(failed)?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|error| failed(error.into()))?;
        let mut registration = Self { file, path: hidden.clone(), record };
        registration.write().map_err(failed)?;
        let path = folder.join(id);
        fs::rename(&hidden, &path).map_err(failed)?;
        registration.path = path;
        Ok(registration)
    }

    /// Returns where its owner listens.
    pub(super) fn socket(&self) -> PathBuf {
        self.path.with_extension(SOCKET)
    }

    /// Notes the guest's SSH host key.
    pub(super) fn set_host_key(&mut self, key: &str) {
        self.record.host_key = Some(key.to_owned());
        if let Err(error) = self.write() {
            tracing::warn!("'{}' cannot be written: {error}", self.path.display());
        }
    }

    fn write(&mut self) -> io::Result<()> {
        use std::os::unix::fs::FileExt;
        let text = serde_json::to_vec(&self.record)?;
        // What a reader sees in between is no record, and it looks again.
        self.file.set_len(0)?;
        self.file.write_all_at(&text, 0)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.socket());
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!("'{}' could not be removed: {error}", self.path.display());
        }
        // A forked child may have the same open file.
        let _ = rustix::fs::flock(&self.file, FlockOperation::Unlock);
    }
}

/// A VM on the list.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) record: Record,
    path: PathBuf,
}

impl Listed {
    /// Tells the owner, and waits until the VM has ended, or as long as that may take.
    pub(super) fn order(&self, order: Order) -> Result<(), Error> {
        let failed = |error: io::Error| {
            let (name, owner) = (&self.record.name, self.record.owner);
            let message = format!("the owner of the VM '{name}' (process {owner}) does not answer");
            Error::new(ErrorKind::Timeout, message)
                .caused_by(error)
                .hint("`transient stop --kill` ends it all the same")
        };
        let connected = with_short_path(&self.path.with_extension(SOCKET), |path| UnixStream::connect(path));
        let mut stream = match connected {
            Ok(stream) => stream,
            // It ended meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        stream.write_all(&[order.to_byte()]).map_err(failed)?;
        let patience = Duration::try_from_secs_f64(self.record.patience).unwrap_or(LONGEST_END);
        stream.set_read_timeout(Some(patience.max(SHORTEST_END))).map_err(failed)?;
        let answer = loop {
            match stream.read(&mut [0]) {
                // By the end of a child; the system does not go on reading where there is a limit of time.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                answer => break answer,
            }
        };
        match answer {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                Err(failed(error))
            }
            // Its end is the end of the VM, whichever way it came.
            _ => Ok(()),
        }
    }

    /// Kills QEMU, whose owner is then told by the kernel.
    pub(super) fn kill(&self) {
        let pid = rustix::process::Pid::from_raw(self.record.qemu.cast_signed());
        if let Some(pid) = pid.filter(|_| is_alive(self.record.qemu, self.record.qemu_start)) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

/// Does something with a socket's path, which the system wants to be short (unix(7)).
pub(super) fn with_short_path<T>(path: &Path, work: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return work(path) };
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    let folder = rustix::fs::open(folder, flags, rustix::fs::Mode::empty())?;
    work(&Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name))
}

/// Returns the VMs that run, in the order of their start. What is left of others is cleared away.
pub(super) fn list(folder: &Path) -> Result<Vec<Listed>, Error> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io(format!("cannot read '{}'", folder.display()), error)),
    };
    check_own(folder)?;
    let mut listed = Vec::new();
    for path in entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_none_or(|end| end != SOCKET))
    {
        if let Some(record) = look(&path) {
            listed.push(Listed { record, path });
        }
    }
    listed.sort_by(|one, other| one.record.started.total_cmp(&other.record.started));
    Ok(listed)
}

/// Returns what a file says of a VM that runs; removes one that says nothing any more.
fn look(path: &Path) -> Option<Record> {
    let mut file = OpenOptions::new().read(true).write(true).open(path).ok()?;
    let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    let age = file.metadata().ok()?.modified().ok()?.elapsed().unwrap_or_default();
    if hidden && age < LONGEST_MAKING {
        return None;
    }
    if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
        clear_away(path);
        return None;
    }
    let mut text = Vec::new();
    // It may be about to be written.
    for _ in 0..10 {
        text.clear();
        io::Seek::rewind(&mut file).ok()?;
        (&mut file).take(LONGEST).read_to_end(&mut text).ok()?;
        match serde_json::from_slice::<Record>(&text) {
            Ok(record) if is_alive(record.qemu, record.qemu_start) => return Some(record),
            Ok(record) if !Path::new("/proc").join(record.owner.to_string()).exists() => {
                clear_away(path);
                return None;
            }
            Ok(_) => return None,
            Err(_) => std::thread::sleep(Duration::from_millis(2)),
        }
    }
    None
}

fn clear_away(path: &Path) {
    let _ = fs::remove_file(path.with_extension(SOCKET));
    let _ = fs::remove_file(path);
}

fn make_folder(folder: &Path) -> Result<(), Error> {
    let failed = |error| Error::io(format!("cannot make the folder '{}'", folder.display()), error);
    match fs::create_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(folder).map_err(failed)?;
            fs::set_permissions(folder, Permissions::from_mode(FOLDER_MODE)).map_err(failed)?;
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => {
            made.map_err(failed)?;
            fs::set_permissions(folder, Permissions::from_mode(FOLDER_MODE)).map_err(failed)?;
        }
    }
    check_own(folder)
}

/// The folder may be in /tmp, where anybody may have made it before.
fn check_own(folder: &Path) -> Result<(), Error> {
    let metadata = fs::symlink_metadata(folder)
        .map_err(|error| Error::io(format!("cannot read '{}'", folder.display()), error))?;
    let own = metadata.is_dir()
        && metadata.uid() == rustix::process::geteuid().as_raw()
        && metadata.permissions().mode() & 0o022 == 0;
    if own {
        return Ok(());
    }
    let message = format!("'{}' is no folder that belongs to this user alone", folder.display());
    Err(Error::new(ErrorKind::Io, message)
        .hint("remove it, or have XDG_RUNTIME_DIR name a folder of your own"))
}

/// Returns when a process started, in ticks since the host's boot; `None` when there is none, or it has ended.
pub(super) fn start_of(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program, in parentheses, may hold anything (proc_pid_stat(5)).
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?;
    let start = fields.nth(18)?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some(start)
}

fn is_alive(pid: u32, start: u64) -> bool {
    start_of(pid) == Some(start)
}

/// Returns the time in seconds since 1970.
pub(super) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(qemu: u32) -> Record {
        Record {
            name: "vm".into(),
            image: "image".into(),
            vmstore: "/v".into(),
            stateless: true,
            owner: std::process::id(),
            qemu,
            qemu_start: start_of(qemu).unwrap_or(1),
            started: now(),
            ssh_port: Some(2222),
            patience: 30.0,
            host_key: None,
        }
    }

    #[test]
    fn a_vm_is_listed_as_long_as_its_qemu_and_its_owner_live() {
        let parent = tempfile::tempdir().expect("a folder");
        let folder = parent.path().join("transient");
        assert!(list(&folder).expect("none").is_empty());
        let mut qemu = std::process::Command::new("sleep").arg("60").spawn().expect("runs");
        let mut registration = Registration::make(&folder, record(qemu.id())).expect("made");
        registration.set_host_key("ssh-ed25519 A");
        let listed = list(&folder).expect("listed");
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].record.host_key.as_deref(), Some("ssh-ed25519 A"));
        qemu.kill().expect("killed");
        qemu.wait().expect("reaped");
        assert!(list(&folder).expect("listed").is_empty());
        drop(registration);
        assert_eq!(fs::read_dir(&folder).expect("readable").count(), 0);
    }

    #[test]
    fn what_a_killed_owner_left_is_cleared_away() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("a"), serde_json::to_vec(&record(1)).expect("JSON")).expect("written");
        fs::write(folder.path().join("a.socket"), "").expect("written");
        fs::write(folder.path().join(".being-made"), "").expect("written");
        assert!(list(folder.path()).expect("listed").is_empty());
        assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 1);
    }

    #[test]
    fn a_folder_of_others_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).expect("set");
        let error = list(folder.path()).expect_err("refused");
        assert!(error.to_string().contains("belongs to this user alone"), "{error}");
    }
}
