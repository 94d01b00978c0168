//! A tiny system that boots on its own in seconds, for the tests of VMs.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::SystemTime;

use crate::disk::Disk;
use crate::harness::{Sandbox, host};

/// Its name in the backend.
pub(crate) const TINY_VM: &str = "tiny/vm";
const ON_DISK: &str = "tiny%2Fvm";

/// Returns a sandbox whose backend holds the system as [`TINY_VM`].
pub(crate) fn with_tiny_vm() -> Sandbox {
    let sandbox = Sandbox::new();
    add_tiny_vm(&sandbox);
    sandbox
}

/// Adds the system to a sandbox's backend, as a hard link where that can be.
pub(crate) fn add_tiny_vm(sandbox: &Sandbox) {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let built = BUILT.get_or_init(build);
    fs::create_dir_all(sandbox.backend()).unwrap();
    let image = sandbox.backend().join(ON_DISK);
    if fs::hard_link(built, &image).is_err() {
        fs::copy(built, &image).unwrap();
    }
}

/// Builds it, unless another process has done so with the same program from the same files.
fn build() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let image = folder.join("tiny-vm.qcow2");
    let lock = File::create(folder.join("tiny-vm.lock")).unwrap();
    lock.lock().unwrap();
    if modified(&image) < newest_origin() {
        let sandbox = Sandbox::new();
        host([script().as_os_str(), sandbox.path("build").as_os_str()]);
        let _ = sandbox.run(sandbox.build_arguments(TINY_VM, &[])).exits(0);
        let next = folder.join("tiny-vm.new");
        fs::copy(sandbox.backend().join(ON_DISK), &next).unwrap();
        fs::rename(next, &image).unwrap();
    }
    image
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/tiny-vm.sh")
}

/// When the latest of what it is made from was changed.
fn newest_origin() -> SystemTime {
    let files = fs::read_dir(script().with_extension("")).unwrap().map(|entry| entry.unwrap().path());
    let origins = files.chain([script(), env!("CARGO_BIN_EXE_transient").into()]);
    origins.map(|origin| modified(&origin)).max().unwrap()
}

fn modified(file: &Path) -> SystemTime {
    fs::metadata(file).and_then(|found| found.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// What the other tests rely on, without our help: it boots without a network card and what goes with it, has its
/// SSH server, and powers off with a clean filesystem.
#[test]
fn boots_on_its_own() {
    let sandbox = with_tiny_vm();
    let image = sandbox.path("image");
    fs::copy(sandbox.backend().join(ON_DISK), &image).unwrap();
    fs::set_permissions(&image, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let mut qemu = Command::new("qemu-system-x86_64")
        .args([
            "-m", "256", "-nic", "none", "-display", "none", "-monitor", "none", "-serial", "stdio", "-drive",
        ])
        .arg(format!("file={},format=qcow2", image.display()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut keyboard = qemu.stdin.take().unwrap();
    let mut screen = BufReader::new(qemu.stdout.take().unwrap());
    let mut shown = Vec::new();
    while !shown.ends_with(b"tiny# ") {
        assert_ne!(screen.read_until(b' ', &mut shown).unwrap(), 0, "{}", String::from_utf8_lossy(&shown));
    }
    let commands = "hostname; sudo -u vagrant sudo -n id -u -n; \
                    until nc 127.0.0.1 22 </dev/null | grep -q ^SSH-; do usleep 10000; done; poweroff\n";
    keyboard.write_all(commands.as_bytes()).unwrap();
    let rest: Vec<String> = screen.lines().map_while(Result::ok).collect();
    assert!(qemu.wait().unwrap().success());
    for line in ["tiny", "root"] {
        assert!(rest.iter().any(|shown| shown.trim_end() == line), "{line}: {rest:#?}");
    }
    let root = Disk::open(&image).ext(1);
    assert!(root.has("/etc/dropbear/dropbear_ed25519_host_key"), "it was made at boot");
}
