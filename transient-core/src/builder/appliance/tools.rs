//! The filesystem tools of the host, with the shared libraries that they name.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use goblin::elf::Elf;

use crate::{Error, ErrorKind};

/// A program that the guest runs.
#[derive(Debug)]
pub(super) struct Tool {
    pub(super) name: &'static str,
    /// The Debian package that brings it.
    pub(super) package: &'static str,
    /// Whether there can be no appliance without it.
    required: bool,
    /// Other names under which it is called.
    pub(super) links: &'static [&'static str],
}

pub(super) const TOOLS: &[Tool] = &[
    Tool {
        name: "mke2fs",
        package: "e2fsprogs",
        required: true,
        links: &["mkfs.ext2", "mkfs.ext3", "mkfs.ext4"],
    },
    Tool { name: "blkid", package: "util-linux", required: true, links: &[] },
    Tool { name: "mkswap", package: "util-linux", required: true, links: &[] },
    Tool { name: "mkfs.xfs", package: "xfsprogs", required: false, links: &[] },
    Tool { name: "mkfs.vfat", package: "dosfstools", required: false, links: &["mkfs.fat"] },
    Tool { name: "mkfs.btrfs", package: "btrfs-progs", required: false, links: &[] },
    Tool {
        name: "lvm",
        package: "lvm2",
        required: false,
        links: &["pvscan", "vgscan", "vgchange", "lvs", "pvs", "vgs"],
    },
];

const PROGRAM_FOLDERS: &[&str] = &["usr/sbin", "sbin", "usr/bin", "bin"];
const LIBRARY_FOLDERS: &[&str] =
    &["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "lib64", "usr/lib64", "lib", "usr/lib"];

/// What was found on the host.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Programs, by name.
    pub(super) programs: BTreeMap<&'static str, Copied>,
    /// Shared libraries and program interpreters, by file name.
    pub(super) libraries: BTreeMap<String, Copied>,
    /// Paths at which programs look for their interpreter.
    pub(super) interpreters: Vec<PathBuf>,
    /// The tools that the host does not have.
    pub(super) absent: Vec<&'static str>,
}

/// A file of the host.
#[derive(Debug)]
pub(super) struct Copied {
    pub(super) origin: PathBuf,
    pub(super) bytes: Vec<u8>,
}

/// Reads the tools and their libraries from a root filesystem, `/` but for tests.
pub(super) fn collect(root: &Path) -> Result<Found, Error> {
    let search = Search::new(root);
    let mut found = Found::default();
    for tool in TOOLS {
        let Some(origin) = program(root, tool.name) else {
            if tool.required {
                return Err(Error::new(
                    ErrorKind::MissingProgram,
                    format!("Required program '{}' is not installed", tool.name),
                )
                .hint(format!("install the package {}", tool.package)));
            }
            found.absent.push(tool.name);
            continue;
        };
        let program = read(origin)?;
        search.add_libraries(&program, &mut found)?;
        found.programs.insert(tool.name, program);
    }
    found.interpreters.sort();
    found.interpreters.dedup();
    Ok(found)
}

/// Returns where a program lies.
pub(super) fn program(root: &Path, name: &str) -> Option<PathBuf> {
    PROGRAM_FOLDERS.iter().map(|folder| root.join(folder).join(name)).find(|path| path.is_file())
}

fn read(origin: PathBuf) -> Result<Copied, Error> {
    match fs::read(&origin) {
        Ok(bytes) => Ok(Copied { origin, bytes }),
        Err(error) => Err(Error::io(format!("could not read {}", origin.display()), error)),
    }
}

/// What an ELF file needs to run.
#[derive(Debug, Default, PartialEq, Eq)]
struct Needs {
    libraries: Vec<String>,
    interpreter: Option<PathBuf>,
    /// Folders that the file itself names.
    folders: Vec<String>,
}

fn needs(file: &Copied) -> Result<Needs, Error> {
    let elf = Elf::parse(&file.bytes).map_err(|error| {
        invalid(format!("{} is not a program or library of this machine", file.origin.display()))
            .caused_by(error)
    })?;
    let paths = elf.rpaths.iter().chain(&elf.runpaths).flat_map(|path| path.split(':'));
    Ok(Needs {
        libraries: elf.libraries.iter().map(|name| (*name).to_owned()).collect(),
        interpreter: elf.interpreter.map(|path| PathBuf::from(path.trim_end_matches('\0'))),
        folders: paths.filter(|path| !path.is_empty()).map(str::to_owned).collect(),
    })
}

/// Where the host's dynamic linker looks.
struct Search<'a> {
    root: &'a Path,
    folders: Vec<PathBuf>,
}

impl<'a> Search<'a> {
    fn new(root: &'a Path) -> Self {
        let configured = configured_folders(root);
        let default = LIBRARY_FOLDERS.iter().map(|folder| root.join(folder));
        Self { root, folders: configured.into_iter().chain(default).collect() }
    }

    fn add_libraries(&self, program: &Copied, found: &mut Found) -> Result<(), Error> {
        let mut pending = vec![(program.origin.clone(), needs(program)?)];
        while let Some((origin, needs)) = pending.pop() {
            if let Some(interpreter) = needs.interpreter {
                let library = self.add(&file_name(&interpreter), &in_root(self.root, &interpreter), found)?;
                pending.extend(library);
                found.interpreters.push(interpreter);
            }
            for name in needs.libraries {
                // A name with a slash is a path, which would not be found in the guest.
                let path = self.find(&name, &origin, &needs.folders).ok_or_else(|| {
                    invalid(format!("the library {name}, which {} needs, is not there", origin.display()))
                })?;
                pending.extend(self.add(&name, &path, found)?);
            }
        }
        Ok(())
    }

    /// Adds a library, and returns what it needs in turn unless it was there already.
    fn add(&self, name: &str, path: &Path, found: &mut Found) -> Result<Option<(PathBuf, Needs)>, Error> {
        if found.libraries.contains_key(name) {
            return Ok(None);
        }
        let library = read(path.to_owned())?;
        let mut needs = needs(&library)?;
        // libc.so is a program too; only what the kernel starts has its interpreter looked up.
        needs.interpreter = None;
        found.libraries.insert(name.to_owned(), library);
        Ok(Some((path.to_owned(), needs)))
    }

    fn find(&self, name: &str, origin: &Path, named: &[String]) -> Option<PathBuf> {
        let beside = origin.parent().unwrap_or(Path::new("/")).to_string_lossy();
        let named = named.iter().map(|folder| {
            let expanded = folder.replace("${ORIGIN}", &beside).replace("$ORIGIN", &beside);
            if folder.contains("ORIGIN") { expanded.into() } else { in_root(self.root, Path::new(&expanded)) }
        });
        named
            .chain(self.folders.iter().cloned())
            .map(|folder: PathBuf| folder.join(name))
            .find(|path| !name.contains('/') && is_usable(path))
    }
}

/// A library for another kind of machine is passed over, as the dynamic linker does.
fn is_usable(path: &Path) -> bool {
    use std::io::Read;
    let mut header = [0; 20];
    let read = fs::File::open(path).and_then(|mut file| file.read_exact(&mut header));
    let is_x86_64 = header[18..] == goblin::elf::header::EM_X86_64.to_le_bytes();
    read.is_ok() && header.starts_with(goblin::elf::header::ELFMAG) && is_x86_64
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn in_root(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// The folders of `/etc/ld.so.conf` and of the files that it includes.
fn configured_folders(root: &Path) -> Vec<PathBuf> {
    let mut files = vec![root.join("etc/ld.so.conf")];
    if let Ok(entries) = fs::read_dir(root.join("etc/ld.so.conf.d")) {
        let mut included: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        included.retain(|path| path.extension().is_some_and(|extension| extension == "conf"));
        included.sort();
        files.extend(included);
    }
    let texts: Vec<String> = files.iter().filter_map(|file| fs::read_to_string(file).ok()).collect();
    let lines = texts.iter().flat_map(|text| text.lines()).map(str::trim);
    lines.filter(|line| line.starts_with('/')).map(|line| in_root(root, Path::new(line))).collect()
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::ApplianceInvalid, message)
}

#[cfg(test)]
mod tests;
