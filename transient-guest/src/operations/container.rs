//! Programs of the image, run in namespaces of their own with the image as their root.
//!
//! The process that is asked to run one ([`run_command`]) prepares the image and starts this program
//! again as the first process of a new PID namespace ([`container_init`]), which mounts what a program
//! expects, makes the image its root, and starts the program. When it ends, the kernel ends what the
//! program left behind.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};

use rustix::fs::Mode;
use rustix::mount::{MountFlags, MountPropagationFlags};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};
use rustix::thread::UnshareFlags;
use transient_guest::protocol::{EXIT_NOT_STARTED, IMAGE_ROOT};

use super::failure::{Doing, Failure};
use super::{inside, resolver, scratch};

const SHELL: &str = "/bin/sh";
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The mount points that a program needs for as long as it runs.
const MOUNT_POINTS: [&str; 3] = ["/dev", "/proc", "/sys"];

/// Runs `command` by the image's shell and returns its exit status, as a shell would tell it.
pub(crate) fn run_command(command: &OsStr) -> ExitCode {
    exit_code(in_container(SHELL.as_ref(), &["-c".as_ref(), command], Stdio::null()))
}

/// Runs an interactive shell of the image on this process's terminal.
pub(crate) fn inspect() -> ExitCode {
    exit_code(in_container(SHELL.as_ref(), &["-i".as_ref()], Stdio::inherit()))
}

fn exit_code(outcome: Result<ExitStatus, Failure>) -> ExitCode {
    match outcome {
        Ok(status) => {
            let code = status.code().or(status.signal().map(|signal| 128 + signal));
            ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX))
        }
        Err(failure) => not_started(&failure),
    }
}

fn not_started(failure: &Failure) -> ExitCode {
    eprintln!("{}", failure.message);
    ExitCode::from(u8::try_from(EXIT_NOT_STARTED).unwrap_or(u8::MAX))
}

/// Runs a program of the image and waits for its end; the image is left as only the program changed it.
fn in_container(program: &OsStr, arguments: &[&OsStr], stdin: Stdio) -> Result<ExitStatus, Failure> {
    let prepared = Prepared::new(Path::new(IMAGE_ROOT))?;
    let outcome = start(program, arguments, stdin, Stdio::inherit())
        .and_then(|mut child| child.wait().doing(|| "cannot wait for the command"));
    prepared.undo();
    outcome
}

/// An image in which a container can be started, and what is to be undone afterwards.
#[derive(Debug)]
pub(super) struct Prepared {
    root: OwnedFd,
    made: Vec<PathBuf>,
    placeholder: Option<resolver::Placeholder>,
}

impl Prepared {
    /// Makes the mount points that are missing.
    pub(super) fn new(image: &Path) -> Result<Self, Failure> {
        scratch::mount(image)?;
        let root = inside::root(image).doing(|| "cannot open the image's root")?;
        let mut made = Vec::new();
        for path in MOUNT_POINTS {
            inside::make_directory(&root, Path::new(path), &mut made)
                .doing(|| format!("cannot make {path} in the image"))?;
        }
        // A command may do without names, and an image may have an odd /etc: that is not worth failing for.
        let placeholder = resolver::has_network().then(|| resolver::prepare(&root).ok()).flatten();
        Ok(Self { root, made, placeholder })
    }

    /// Removes what was made, where nobody has put anything into it.
    pub(super) fn undo(self) {
        if let Some(placeholder) = self.placeholder {
            placeholder.remove(&self.root);
        }
        inside::remove_made(&self.root, &self.made);
    }
}

/// Starts `program` in a container; the child that is returned is the container's first process.
pub(super) fn start(
    program: &OsStr,
    arguments: &[&OsStr],
    stdin: Stdio,
    stdout: Stdio,
) -> Result<Child, Failure> {
    let namespaces = UnshareFlags::NEWPID | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
    unshare(namespaces).doing(|| "cannot make namespaces for the command")?;
    Command::new("/proc/self/exe")
        .arg("container")
        .arg(program)
        .args(arguments)
        .stdin(stdin)
        .stdout(stdout)
        .spawn()
        .doing(|| "cannot start the command's container")
}

#[expect(deprecated, reason = "its successor is unsafe for the sake of CLONE_FILES, which is not used here")]
fn unshare(flags: UnshareFlags) -> rustix::io::Result<()> {
    rustix::thread::unshare(flags)
}

/// The first process of a container: mounts, changes the root, runs `words` (a program and its
/// arguments), and ends with its exit status.
pub(crate) fn container_init(words: &[OsString]) -> ExitCode {
    let Some((program, arguments)) = words.split_first() else {
        return not_started(&Failure::other("no command was given"));
    };
    let outcome = enter(Path::new(IMAGE_ROOT)).and_then(|()| {
        let child = command(program, arguments).spawn().map_err(|error| cannot_start(program, &error))?;
        wait_for(&child).doing(|| "cannot wait for the command")
    });
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(failure) => not_started(&failure),
    }
}

fn command(program: &OsStr, arguments: &[OsString]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir("/").env_clear().envs([
        ("PATH", PATH),
        ("HOME", "/root"),
        ("USER", "root"),
        ("LOGNAME", "root"),
        ("SHELL", SHELL),
    ]);
    if let Some(terminal) = std::env::var_os("TERM").filter(|_| rustix::termios::isatty(io::stdin())) {
        command.env("TERM", terminal);
    }
    command
}

fn cannot_start(program: &OsStr, error: &io::Error) -> Failure {
    let program = program.display();
    let hint = match error.kind() {
        io::ErrorKind::NotFound => {
            " (the image has no such program, or not the loader or interpreter that it names)"
        }
        io::ErrorKind::PermissionDenied => " (it is not executable)",
        _ => "",
    };
    Failure::other(format!("cannot start {program} in the image: {error}{hint}"))
}

/// Mounts what programs expect in the image at `image`, and makes it this process's root.
fn enter(image: &Path) -> Result<(), Failure> {
    // Should the process outside be killed, this one must not stay, nor anything in the container.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .doing(|| "cannot tie the container to its parent")?;
    unshare(UnshareFlags::NEWNS).doing(|| "cannot make a mount namespace")?;
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .doing(|| "cannot make the mounts private")?;
    let root = inside::root(image).doing(|| "cannot open the image's root")?;
    mount_pseudo(&root)?;
    if resolver::has_network()
        && let Err(error) = resolver::cover(&root)
    {
        eprintln!("note: the image's resolver could not be set up: {error}");
    }
    // As switch_root does: the image is the root of the namespace, not only of this process.
    rustix::process::chdir(image)
        .and_then(|()| rustix::mount::mount_move(".", "/"))
        .and_then(|()| rustix::process::chroot("."))
        .and_then(|()| rustix::process::chdir("/"))
        .doing(|| "cannot make the image the root")
}

fn mount_pseudo(root: &OwnedFd) -> Result<(), Failure> {
    let strict = MountFlags::NOSUID | MountFlags::NOEXEC | MountFlags::NODEV;
    mount_in(root, "/dev", "devtmpfs", MountFlags::NOSUID, c"mode=0755")?;
    let device_folder = inside::directory(root, Path::new("/dev")).doing(|| "cannot open /dev")?;
    complete_devices(&device_folder);
    // Not an instance of its own: a terminal that the container inherits has its name in this one.
    bind_in(root, "/dev/pts")?;
    mount_in(root, "/dev/shm", "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, c"mode=1777")?;
    mount_in(root, "/proc", "proc", strict, c"")?;
    mount_in(root, "/sys", "sysfs", strict | MountFlags::RDONLY, c"")
}

fn mount_in(
    root: &OwnedFd,
    path: &str,
    kind: &str,
    flags: MountFlags,
    options: &std::ffi::CStr,
) -> Result<(), Failure> {
    let doing = || format!("cannot mount {path}");
    let place = inside::directory(root, Path::new(path)).doing(doing)?;
    rustix::mount::mount(kind, inside::path_of(&place), kind, flags, options).doing(doing)
}

/// Shows a directory of the guest in the image.
fn bind_in(root: &OwnedFd, path: &str) -> Result<(), Failure> {
    let doing = || format!("cannot mount {path}");
    let place = inside::directory(root, Path::new(path)).doing(doing)?;
    rustix::mount::mount_bind(path, inside::path_of(&place)).doing(doing)
}

/// Adds what is usually made at boot; the kernel's device filesystem holds only the devices.
fn complete_devices(folder: impl AsFd) {
    let folder = folder.as_fd();
    for name in ["pts", "shm"] {
        let _ = rustix::fs::mkdirat(folder, name, Mode::from_raw_mode(0o755));
    }
    let links = [("/proc/self/fd", "fd"), ("fd/0", "stdin"), ("fd/1", "stdout"), ("fd/2", "stderr")];
    for (target, name) in links {
        let _ = rustix::fs::symlinkat(target, folder, name);
    }
}

/// Reaps every process of the container until `main` has ended; returns its status as a shell tells it.
fn wait_for(main: &Child) -> io::Result<u8> {
    let main = i32::try_from(main.id()).ok().and_then(Pid::from_raw);
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if Some(pid) == main => return Ok(status_code(status)),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn status_code(status: WaitStatus) -> u8 {
    let code = status.exit_status().or(status.terminating_signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}
