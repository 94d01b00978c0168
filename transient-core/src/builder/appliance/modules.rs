//! Kernel modules: which ones the guest may need, and in what order they load.
//!
//! Dependencies are read from the modules themselves rather than from `modules.dep`, which an unpacked but
//! not installed kernel package does not have.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::{Error, ErrorKind};

/// A module in a group, and whether a kernel without it is useless.
type Wanted = (&'static str, bool);

/// The groups, and their modules beside dependencies.
const GROUPS: &[(&str, &[Wanted])] = &[
    ("boot", &[("virtio_mmio", true), ("virtio_pci", true), ("virtio_console", true)]),
    ("disk", &[("virtio_blk", true)]),
    ("net", &[("virtio_net", true), ("af_packet", false)]),
    ("lvm", &[("dm_mod", true), ("dm_snapshot", false), ("dm_mirror", false), ("dm_thin_pool", false)]),
    ("ext2", &[("ext4", true)]),
    ("ext3", &[("ext4", true)]),
    ("ext4", &[("ext4", true)]),
    ("xfs", &[("xfs", true)]),
    ("btrfs", &[("btrfs", true)]),
    (
        "vfat",
        &[
            ("vfat", true),
            ("nls_cp437", false),
            ("nls_iso8859_1", false),
            ("nls_ascii", false),
            ("nls_utf8", false),
        ],
    ),
    ("iso9660", &[("isofs", true)]),
    ("overlay", &[("overlay", true)]),
    ("loop", &[("loop", true)]),
];

/// The groups without which the guest does not reach its disk and the host.
const REQUIRED_GROUPS: [&str; 2] = ["boot", "disk"];

/// A module as it goes into the initramfs.
#[derive(Debug)]
pub(super) struct Module {
    pub(super) origin: PathBuf,
    /// Its ELF file, unpacked.
    pub(super) bytes: Vec<u8>,
}

/// The modules of an appliance.
#[derive(Debug, Default)]
pub(super) struct Selection {
    /// By name.
    pub(super) modules: BTreeMap<String, Module>,
    /// Names in load order, by group. A group that the kernel cannot do is absent.
    pub(super) groups: BTreeMap<String, Vec<String>>,
}

/// Reads all modules that the groups need from a `lib/modules/RELEASE` folder.
pub(super) fn select(folder: &Path) -> Result<Selection, Error> {
    let mut library = Library::open(folder)?;
    let mut groups = BTreeMap::new();
    for (group, wanted) in GROUPS {
        let mut order = Vec::new();
        let missing = library.resolve(wanted, &mut order)?;
        match missing {
            None => {
                groups.insert((*group).to_owned(), order);
            }
            Some(module) if REQUIRED_GROUPS.contains(group) => {
                return Err(invalid(format!(
                    "the kernel module {module} is neither in {} nor built in",
                    folder.display()
                ))
                .hint("choose another kernel; cloud kernels such as linux-image-cloud-amd64 have all that is needed"));
            }
            Some(module) => tracing::info!(group, module, "the kernel cannot do this"),
        }
    }
    let needed: BTreeSet<&String> = groups.values().flatten().collect();
    let modules = library.read.into_iter().filter(|(name, _)| needed.contains(name));
    Ok(Selection { modules: modules.map(|(name, read)| (name, read.module)).collect(), groups })
}

/// What a module says of itself in its section `.modinfo`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Info {
    depends: Vec<String>,
    /// The modules, or aliases of modules, that should be loaded before.
    soft_depends: Vec<String>,
    aliases: Vec<String>,
}

#[derive(Debug)]
struct Loaded {
    module: Module,
    info: Info,
}

/// A kernel's modules.
struct Library {
    files: BTreeMap<String, PathBuf>,
    builtin: BTreeSet<String>,
    /// Of the ciphers and checksums alone: nothing else is asked for by alias.
    aliases: BTreeMap<String, String>,
    read: BTreeMap<String, Loaded>,
}

impl Library {
    fn open(folder: &Path) -> Result<Self, Error> {
        let mut library = Self {
            files: BTreeMap::new(),
            builtin: BTreeSet::new(),
            aliases: BTreeMap::new(),
            read: BTreeMap::new(),
        };
        for entry in WalkDir::new(folder).sort_by_file_name() {
            let entry = entry.map_err(|error| {
                invalid(format!("the modules in {} cannot be read", folder.display())).caused_by(error)
            })?;
            if let Some(name) = module_name(entry.path()).filter(|_| entry.file_type().is_file()) {
                library.files.insert(name, entry.into_path());
            }
        }
        if let Ok(list) = fs::read_to_string(folder.join("modules.builtin")) {
            library.builtin = list.lines().filter_map(|line| module_name(Path::new(line))).collect();
        }
        if library.files.is_empty() && library.builtin.is_empty() {
            return Err(invalid(format!("there are no kernel modules in {}", folder.display())));
        }
        library.learn_aliases(folder)?;
        Ok(library)
    }

    fn learn_aliases(&mut self, folder: &Path) -> Result<(), Error> {
        let ciphers = self.files.iter().filter(|(_, path)| path.iter().any(|part| part == "crypto"));
        for name in ciphers.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            let aliases = self.read(&name)?.info.aliases.clone();
            // One that is for certain processors fails to load on others.
            if aliases.iter().any(|alias| alias.starts_with("cpu:")) {
                continue;
            }
            for alias in aliases {
                self.aliases.entry(alias).or_insert_with(|| name.clone());
            }
        }
        if let Ok(info) = fs::read(folder.join("modules.builtin.modinfo")) {
            self.builtin.extend(builtin_aliases(&info));
        }
        Ok(())
    }

    /// Appends modules and what they depend on to `order`; returns the first required one that is missing.
    fn resolve(&mut self, wanted: &[Wanted], order: &mut Vec<String>) -> Result<Option<String>, Error> {
        for (name, required) in wanted {
            let before = order.len();
            if let Some(missing) = self.append(name, order, &mut Vec::new())? {
                order.truncate(before);
                if *required {
                    return Ok(Some(missing));
                }
            }
        }
        Ok(None)
    }

    fn append(
        &mut self,
        name: &str,
        order: &mut Vec<String>,
        above: &mut Vec<String>,
    ) -> Result<Option<String>, Error> {
        let name = name.replace('-', "_");
        let circular = above.contains(&name);
        if circular || order.contains(&name) || self.builtin.contains(&name) {
            return Ok(None);
        }
        if !self.files.contains_key(&name) {
            return Ok(Some(name));
        }
        let (hard, soft) = {
            let info = &self.read(&name)?.info;
            (info.depends.clone(), info.soft_depends.clone())
        };
        above.push(name.clone());
        for dependency in soft {
            // A missing one is no failure, by the meaning of a soft dependency.
            let before = order.len();
            if !self.builtin.contains(&dependency) {
                let module = self.aliases.get(&dependency).cloned().unwrap_or(dependency);
                if self.append(&module, order, above)?.is_some() {
                    order.truncate(before);
                }
            }
        }
        for dependency in hard {
            if let Some(missing) = self.append(&dependency, order, above)? {
                above.pop();
                return Ok(Some(missing));
            }
        }
        above.pop();
        order.push(name);
        Ok(None)
    }

    fn read(&mut self, name: &str) -> Result<&Loaded, Error> {
        if !self.read.contains_key(name) {
            let path = self.files.get(name).cloned().unwrap_or_default();
            let broken = |error: io::Error| {
                invalid(format!("the kernel module {} cannot be used", path.display())).caused_by(error)
            };
            let bytes = unpack(&path).map_err(broken)?;
            let info = info(&bytes).map_err(broken)?;
            self.read.insert(name.to_owned(), Loaded { module: Module { origin: path, bytes }, info });
        }
        self.read.get(name).ok_or_else(|| Error::new(ErrorKind::Internal, "a module was lost"))
    }
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::ApplianceInvalid, message)
}

/// Returns the name of a module by that of its file; the kernel takes `-` and `_` for the same.
fn module_name(path: &Path) -> Option<String> {
    let file = path.file_name()?.to_str()?;
    let (stem, extension) = file.split_once(".ko")?;
    matches!(extension, "" | ".gz" | ".xz" | ".zst").then(|| stem.replace('-', "_"))
}

fn unpack(path: &Path) -> io::Result<Vec<u8>> {
    let bytes = fs::read(path)?;
    let mut unpacked = Vec::new();
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("gz") => flate2::read::MultiGzDecoder::new(&*bytes).read_to_end(&mut unpacked)?,
        Some("xz") => liblzma::read::XzDecoder::new_multi_decoder(&*bytes).read_to_end(&mut unpacked)?,
        Some("zst") => zstd::Decoder::new(&*bytes)?.read_to_end(&mut unpacked)?,
        _ => return Ok(bytes),
    };
    Ok(unpacked)
}

fn info(module: &[u8]) -> io::Result<Info> {
    let elf = goblin::elf::Elf::parse(module).map_err(io::Error::other)?;
    let mut sections = elf.section_headers.iter();
    let section = sections.find(|header| elf.shdr_strtab.get_at(header.sh_name) == Some(".modinfo"));
    let bytes = section.and_then(|header| header.file_range()).and_then(|range| module.get(range));
    let bytes = bytes.ok_or_else(|| io::Error::other("it has no section .modinfo"))?;
    Ok(parse_info(bytes))
}

fn parse_info(section: &[u8]) -> Info {
    let mut info = Info::default();
    for (key, value) in pairs(section) {
        match key {
            "depends" => {
                info.depends.extend(value.split(',').filter(|name| !name.is_empty()).map(str::to_owned));
            }
            "softdep" => info.soft_depends.extend(pre_dependencies(value)),
            "alias" => info.aliases.push(value.to_owned()),
            _ => {}
        }
    }
    info
}

/// `pre: a b post: c` names modules to load before and after; those after are not needed by a mount.
fn pre_dependencies(value: &str) -> Vec<String> {
    let mut before = false;
    let mut names = Vec::new();
    for word in value.split_whitespace() {
        match word {
            "pre:" => before = true,
            "post:" => before = false,
            name if before => names.push(name.to_owned()),
            _ => {}
        }
    }
    names
}

/// The aliases in `modules.builtin.modinfo`, whose keys are `MODULE.KEY`.
fn builtin_aliases(info: &[u8]) -> impl Iterator<Item = String> {
    pairs(info).filter(|(key, _)| key.ends_with(".alias")).map(|(_, value)| value.to_owned())
}

fn pairs(section: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    section.split(|byte| *byte == 0).filter_map(|text| std::str::from_utf8(text).ok()?.split_once('='))
}

#[cfg(test)]
mod tests;
