//! What the builds of the tests are made from.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, EntryType, Header};

use crate::harness::Sandbox;

/// The commands of the tiny system.
const APPLETS: &[&str] = &[
    "sh", "ls", "cat", "echo", "grep", "true", "false", "sleep", "test", "id", "stat", "mkdir", "touch",
    "wc", "dd", "readlink", "nslookup", "wget", "kill", "ps", "head", "tail", "seq", "mount", "chmod", "ln",
    "sync",
];

/// The Imagefile of the tiny system.
pub(crate) const TINY: &str = "\
FROM scratch
DISK 256 MB MBR
PARTITION 1 FORMAT ext4 MOUNT / FLAGS boot
ADD rootfs.tar.gz /
";

/// Writes the tiny system, a static busybox, as `build/rootfs.tar.gz`.
pub(crate) fn rootfs(sandbox: &Sandbox) {
    let file = File::create(sandbox.path("build/rootfs.tar.gz")).unwrap();
    let mut archive = Builder::new(GzEncoder::new(file, Compression::fast()));
    for folder in ["bin", "dev", "etc", "mnt", "proc", "root", "run", "sys", "usr", "var"] {
        append(&mut archive, folder, EntryType::Directory, 0o755, "", b"");
    }
    append(&mut archive, "tmp", EntryType::Directory, 0o1777, "", b"");
    append(&mut archive, "bin/busybox", EntryType::Regular, 0o755, "", &fs::read("/bin/busybox").unwrap());
    for applet in APPLETS {
        append(&mut archive, &format!("bin/{applet}"), EntryType::Symlink, 0o777, "busybox", b"");
    }
    append(&mut archive, "etc/passwd", EntryType::Regular, 0o644, "", b"root:x:0:0:root:/root:/bin/sh\n");
    append(&mut archive, "etc/group", EntryType::Regular, 0o644, "", b"root:x:0:\n");
    append(&mut archive, "etc/fstab", EntryType::Regular, 0o644, "", b"# nothing but the root\n");
    archive.into_inner().unwrap().finish().unwrap();
}

/// Appends an entry owned by root, whose path is taken as it is, however hostile.
pub(crate) fn append(
    archive: &mut Builder<impl Write>,
    path: &str,
    kind: EntryType,
    mode: u32,
    link: &str,
    content: &[u8],
) {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_600_000_000);
    header.set_size(content.len() as u64);
    header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
    header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
    header.set_cksum();
    archive.append(&header, content).unwrap();
}

/// Returns a sandbox whose backend holds the tiny system as `tiny`. It is built once in a test run.
pub(crate) fn with_tiny() -> Sandbox {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let sandbox = Sandbox::new();
        rootfs(&sandbox);
        let _ = sandbox.build("tiny", TINY, &["--local"]).exits(0);
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("tiny-{}.qcow2", std::process::id()));
        fs::copy(sandbox.path("build/tiny.qcow2"), &kept).unwrap();
        kept
    });
    let sandbox = Sandbox::new();
    fs::create_dir_all(sandbox.backend()).unwrap();
    fs::copy(built, sandbox.backend().join("tiny")).unwrap();
    sandbox
}

/// Returns bytes that no compression makes fewer, the same each time.
pub(crate) fn random(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..length.div_ceil(8)).flat_map(|_| next()).take(length).collect()
}
