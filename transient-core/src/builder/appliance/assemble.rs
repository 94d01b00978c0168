//! Puts kernel, modules, tools and guest program together.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use transient_guest::protocol::{ApplianceManifest, IMAGE_ROOT, MANIFEST_PATH};

use super::archive::Archive;
use super::kernel::Kernel;
use super::modules::Selection;
use super::tools::{Copied, Found, TOOLS};
use super::{Description, GUEST, GUEST_SOURCES, IncludedFile};
use crate::{Error, ErrorKind};

/// Counts up whenever the same inputs give another appliance.
const FORMAT: u32 = 1;

const MODULE_FOLDER: &str = "/modules";

/// No daemon, no udev, no state between runs: the guest has none of them.
const LVM_CONF: &str = "\
activation { udev_sync = 0 udev_rules = 0 monitoring = 0 raid_region_size = 2048 }
backup { backup = 0 archive = 0 }
devices { obtain_device_list_from_udev = 0 use_devicesfile = 0 multipath_component_detection = 0 \
md_component_detection = 0 external_device_info_source = \"none\" }
global { locking_type = 1 use_lvmpolld = 0 use_lvmlockd = 0 event_activation = 0 locking_dir = \"/run/lock/lvm\" }
";

/// What is used where the host has no `/etc/mke2fs.conf`: the same as that of e2fsprogs in effect.
const MKE2FS_CONF: &str = "\
[defaults]
\tbase_features = sparse_super,large_file,filetype,resize_inode,dir_index,ext_attr
\tdefault_mntopts = acl,user_xattr
\tenable_periodic_fsck = 0
\tblocksize = 4096
\tinode_size = 256
\tinode_ratio = 16384
[fs_types]
\text3 = { features = has_journal }
\text4 = { features = has_journal,extent,huge_file,flex_bg,metadata_csum,64bit,dir_nlink,extra_isize }
\tsmall = { blocksize = 1024 inode_ratio = 4096 }
";

/// An appliance in memory.
pub(super) struct Assembled {
    pub(super) kernel: Vec<u8>,
    pub(super) initramfs: Vec<u8>,
    pub(super) description: Description,
}

/// The initramfs while it is filled.
#[derive(Default)]
struct Filling {
    archive: Archive,
    files: BTreeMap<PathBuf, IncludedFile>,
}

impl Filling {
    fn own(&mut self, path: &str, mode: u32, bytes: Vec<u8>) {
        self.file(path, mode, bytes, None);
    }

    fn copied(&mut self, path: &str, mode: u32, copied: Copied) {
        self.file(path, mode, copied.bytes, Some(copied.origin));
    }

    fn file(&mut self, path: &str, mode: u32, bytes: Vec<u8>, origin: Option<PathBuf>) {
        let size = bytes.len() as u64;
        self.files.insert(path.into(), IncludedFile { path: path.into(), size, origin });
        self.archive.file(path, mode, bytes);
    }
}

/// Assembles in memory; the same parts give the same bytes.
pub(super) fn assemble(kernel: Kernel, modules: Selection, tools: Found) -> Result<Assembled, Error> {
    let mut filling = Filling::default();
    let absent = tools.absent.iter().map(|name| (*name).to_owned()).collect();
    add_skeleton(&mut filling);
    filling.own("/init", 0o755, GUEST.to_vec());
    add_tools(&mut filling, tools);
    add_modules(&mut filling, &kernel.release, modules)?;

    let initramfs = filling
        .archive
        .to_bytes()
        .map_err(|error| invalid("the initramfs could not be written").caused_by(error))?;
    let mut key = blake3::Hasher::new();
    key.update(&FORMAT.to_le_bytes());
    for part in [&kernel.bytes, &initramfs] {
        key.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    let description = Description {
        key: key.finalize().to_hex().to_string(),
        guest: GUEST_SOURCES.to_owned(),
        kernel_release: kernel.release,
        boot: kernel.boot,
        absent,
        files: filling.files.into_values().collect(),
    };
    Ok(Assembled { kernel: kernel.bytes, initramfs, description })
}

fn add_skeleton(filling: &mut Filling) {
    let archive = &mut filling.archive;
    for folder in ["/proc", "/sys", "/dev", "/run", "/run/lock/lvm", "/etc/lvm", "/var", IMAGE_ROOT] {
        archive.directory(folder, 0o755);
    }
    archive.directory("/root", 0o700);
    archive.directory("/tmp", 0o1777);
    // One folder for programs and one for libraries, and every other usual name leads there.
    for (name, target) in [
        ("/sbin", "usr/sbin"),
        ("/bin", "usr/sbin"),
        ("/usr/bin", "sbin"),
        ("/lib", "usr/lib"),
        ("/lib64", "usr/lib"),
        ("/usr/lib64", "lib"),
        ("/usr/lib/x86_64-linux-gnu", "."),
        ("/var/run", "../run"),
        ("/etc/mtab", "../proc/self/mounts"),
    ] {
        archive.link(name, target);
    }
    archive.directory("/usr/sbin", 0o755);
    // The kernel opens the console before anything is mounted.
    archive.character_device("/dev/console", 0o600, 5, 1);
    archive.character_device("/dev/null", 0o666, 1, 3);
    filling.own("/etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\n".to_vec());
    filling.own("/etc/group", 0o644, b"root:x:0:\n".to_vec());
    filling.own("/etc/lvm/lvm.conf", 0o644, LVM_CONF.into());
}

fn add_tools(filling: &mut Filling, tools: Found) {
    let host = Path::new("/etc/mke2fs.conf");
    match fs::read(host) {
        Ok(bytes) => filling.file("/etc/mke2fs.conf", 0o644, bytes, Some(host.into())),
        Err(_) => filling.own("/etc/mke2fs.conf", 0o644, MKE2FS_CONF.into()),
    }
    for tool in TOOLS.iter().filter(|tool| tools.programs.contains_key(tool.name)) {
        for link in tool.links {
            filling.archive.link(format!("/usr/sbin/{link}"), tool.name);
        }
    }
    for (name, program) in tools.programs {
        filling.copied(&format!("/usr/sbin/{name}"), 0o755, program);
    }
    for (name, library) in tools.libraries {
        filling.copied(&format!("/usr/lib/{name}"), 0o755, library);
    }
    // Where a system keeps its interpreter elsewhere (Nix, Guix), programs name that place.
    let usual = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/lib/x86_64-linux-gnu"].map(Path::new);
    for interpreter in tools.interpreters {
        if let (Some(folder), Some(name)) = (interpreter.parent(), interpreter.file_name())
            && !usual.contains(&folder)
        {
            filling.archive.link(&interpreter, Path::new("/usr/lib").join(name));
        }
    }
}

fn add_modules(filling: &mut Filling, release: &str, selection: Selection) -> Result<(), Error> {
    let place = |name: &str| format!("{MODULE_FOLDER}/{name}.ko");
    let paths = |names: Vec<String>| names.iter().map(|name| place(name).into()).collect();
    let groups = selection.groups.into_iter().map(|(group, names)| (group, paths(names)));
    let manifest = ApplianceManifest { kernel: release.to_owned(), modules: groups.collect() };
    for (name, module) in selection.modules {
        filling.file(&place(&name), 0o644, module.bytes, Some(module.origin));
    }
    let text = serde_json::to_vec_pretty(&manifest)
        .map_err(|error| Error::new(ErrorKind::Internal, "the manifest is no JSON").caused_by(error))?;
    filling.own(MANIFEST_PATH, 0o644, text);
    Ok(())
}

fn invalid(message: &str) -> Error {
    Error::new(ErrorKind::ApplianceInvalid, message)
}
