//! What PID 1 does before it serves the host, and how it ends.

use std::ffi::CStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;
use std::thread::JoinHandle;

use rustix::mount::{MountFlags, mount};
use rustix::system::{RebootCommand, finit_module, reboot};
use rustix::time::{ClockId, Timespec, clock_settime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use transient_guest::protocol::{
    ApplianceManifest, CONTROL_PORT, DATA_PORT, MANIFEST_PATH, Preamble, SETTLE,
};

use crate::operations::modules;
use crate::{disk, port, server, sys};

/// The first argument of the program that the kernel runs to load a module.
pub(crate) const MODPROBE_FLAG: &str = "-q";

/// Boots, serves one session, and ends the VM.
pub(crate) fn boot() -> ExitCode {
    if let Err(error) = boot_and_serve() {
        // The host reads the console and shows what stands there last.
        eprintln!("transient-guest: {error}");
    }
    rustix::fs::sync();
    // With QEMU's -no-reboot this ends QEMU.
    let _ = reboot(RebootCommand::Restart);
    ExitCode::FAILURE
}

fn boot_and_serve() -> io::Result<()> {
    mount_pseudo_filesystems()?;
    load_boot_modules().map_err(|error| explain("cannot load the modules of the appliance", &error))?;
    // It takes some tenths of a second, emulated, in which the host is talked with already.
    let processors = std::thread::spawn(start_processors);
    fs::write("/proc/sys/kernel/modprobe", std::env::current_exe()?.as_os_str().as_bytes())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let control = port::find(CONTROL_PORT).await?;
        let data = port::find(DATA_PORT).await?;
        let mut control = port::Port::open(&control).await?;
        let preamble = read_preamble(&mut control, processors).await?;
        seed(&preamble)?;
        disk::attach()?;
        server::serve(control, &preamble, data).await
    })
}

fn explain(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

fn mount_pseudo_filesystems() -> io::Result<()> {
    let safe = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let mounts: [(&CStr, &str, MountFlags, &CStr); 5] = [
        (c"devtmpfs", "/dev", MountFlags::NOSUID, c"mode=0755"),
        (c"proc", "/proc", safe, c""),
        (c"sysfs", "/sys", safe, c""),
        (c"tmpfs", "/run", MountFlags::NOSUID | MountFlags::NODEV, c"mode=0755"),
        (c"tmpfs", "/tmp", MountFlags::NOSUID | MountFlags::NODEV, c"mode=1777"),
    ];
    for (kind, target, flags, options) in mounts {
        fs::create_dir_all(target)?;
        match mount(kind, target, kind, flags, options) {
            // The kernel may have mounted devtmpfs already.
            Ok(()) | Err(rustix::io::Errno::BUSY) => {}
            Err(error) => return Err(explain(&format!("cannot mount {target}"), &error.into())),
        }
    }
    fs::create_dir_all("/dev/pts")?;
    mount(
        c"devpts",
        "/dev/pts",
        c"devpts",
        MountFlags::NOSUID | MountFlags::NOEXEC,
        c"mode=0620,gid=5,ptmxmode=0666",
    )?;
    Ok(())
}

fn load_boot_modules() -> io::Result<()> {
    let manifest: ApplianceManifest = serde_json::from_reader(File::open(MANIFEST_PATH)?)?;
    for module in manifest.modules.get("boot").into_iter().flatten() {
        load_module(module).map_err(|error| explain(&module.display().to_string(), &error))?;
    }
    Ok(())
}

/// Loads what most builds need, for those that go on from here.
fn load_likely_module() {
    if let Err(failure) = modules::load("ext4") {
        eprintln!("transient-guest: {}", failure.message);
    }
}

fn load_module(path: &Path) -> io::Result<()> {
    match finit_module(File::open(path)?, c"", 0) {
        // Loaded already, or for hardware that is not here: its absence shows soon enough.
        Ok(()) | Err(rustix::io::Errno::EXIST | rustix::io::Errno::NODEV) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Starts the processors that the host told the kernel to leave alone until the devices are set up.
fn start_processors() {
    for processor in fs::read_dir("/sys/devices/system/cpu").into_iter().flatten().flatten() {
        let online = processor.path().join("online");
        if fs::read(&online).is_ok_and(|state| state.starts_with(b"0"))
            && let Err(error) = fs::write(&online, "1")
        {
            eprintln!("transient-guest: {} does not start: {error}", processor.path().display());
        }
    }
}

/// Reads the preamble. A host that wants to save this guest before is told when nothing is left to do.
async fn read_preamble(control: &mut port::Port, processors: JoinHandle<()>) -> io::Result<Preamble> {
    let mut processors = Some(processors);
    let mut magic = [0; SETTLE.len()];
    loop {
        control.read_exact(&mut magic).await?;
        if magic != *SETTLE {
            break;
        }
        // Nothing else happens meanwhile.
        processors.take().map(JoinHandle::join);
        load_likely_module();
        control.write_all(SETTLE).await?;
    }
    let mut rest = [0; Preamble::REST];
    control.read_exact(&mut rest).await?;
    Preamble::from_bytes(&magic, &rest)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the host does not speak this protocol"))
}

/// Gives the kernel the host's entropy and clock. Guests that were restored from one state are different from here on.
fn seed(preamble: &Preamble) -> io::Result<()> {
    let mut random = File::options().write(true).open("/dev/urandom")?;
    random.write_all(&preamble.entropy)?;
    sys::reseed(&random)?;
    let seconds = i64::try_from(preamble.clock / 1_000_000_000).unwrap_or(0);
    let nanoseconds = i64::try_from(preamble.clock % 1_000_000_000).unwrap_or(0);
    clock_settime(ClockId::Realtime, Timespec { tv_sec: seconds, tv_nsec: nanoseconds })?;
    Ok(())
}
