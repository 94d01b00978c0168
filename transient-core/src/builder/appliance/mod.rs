//! The appliance: a Linux kernel and an initramfs with the guest program and the filesystem tools.

mod archive;
mod assemble;
mod cache;
mod host;
mod kernel;
mod modules;
mod tools;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, Locations};

/// The program that becomes `/init`, built by `build.rs`.
static GUEST: &[u8] = include_bytes!(env!("TRANSIENT_GUEST"));
/// The hash of its sources. Of the program itself it would depend on the compiler, and packages that carry an
/// appliance are built from source too.
const GUEST_SOURCES: &str = env!("TRANSIENT_GUEST_SOURCES");

/// An appliance on disk: a folder with `kernel`, `initramfs` and `appliance.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Appliance {
    /// The folder.
    pub folder: PathBuf,
    /// The kernel file.
    pub kernel: PathBuf,
    /// The initramfs file.
    pub initramfs: PathBuf,
    /// What `appliance.json` says.
    pub description: Description,
}

/// What an appliance says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Description {
    /// The hash of everything that went into it.
    pub key: String,
    /// The hash of the guest program's sources, which must be those that the library was built with.
    pub guest: String,
    /// The kernel's release, as `uname -r` prints it.
    pub kernel_release: String,
    /// How QEMU can start the kernel.
    pub boot: BootProtocol,
    /// Tools that the host did not have, so that their filesystems cannot be made.
    pub absent: Vec<String>,
    /// The files of the initramfs.
    pub files: Vec<IncludedFile>,
}

/// How QEMU can start a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BootProtocol {
    /// An ELF file with a PVH entry point: the fastest.
    Pvh,
    /// A bzImage.
    Linux,
}

/// A file of the initramfs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct IncludedFile {
    /// Its path in the guest.
    pub path: PathBuf,
    /// In bytes.
    pub size: u64,
    /// Where it was copied from; `None` for what the library makes itself.
    pub origin: Option<PathBuf>,
}

/// What to assemble an appliance from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inputs {
    /// The kernel; `None` is the newest readable one of the host.
    pub kernel: Option<PathBuf>,
    /// The folder of its modules (`.../lib/modules/RELEASE`); `None` is the host's for this kernel.
    pub modules: Option<PathBuf>,
}

const KERNEL: &str = "kernel";
const INITRAMFS: &str = "initramfs";
const DESCRIPTION: &str = "appliance.json";

impl Inputs {
    /// Returns inputs that name a kernel; its modules are looked for beside it and on the host.
    pub fn with_kernel(kernel: impl Into<PathBuf>) -> Self {
        Self { kernel: Some(kernel.into()), modules: None }
    }
}

impl Appliance {
    /// Reads an appliance's description.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::ApplianceNotFound`] when the folder has none, [`ErrorKind::ApplianceInvalid`] when it
    /// is broken. Whether it fits this library, [`Appliance::is_current`] tells.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, Error> {
        let folder = folder.into();
        let file = folder.join(DESCRIPTION);
        let text = fs::read(&file).map_err(|error| {
            let kind = match error.kind() {
                std::io::ErrorKind::NotFound => ErrorKind::ApplianceNotFound,
                _ => ErrorKind::ApplianceInvalid,
            };
            Error::new(kind, format!("there is no appliance in {}", folder.display())).caused_by(error)
        })?;
        let broken = |why: String| {
            Error::new(ErrorKind::ApplianceInvalid, format!("the appliance in {} {why}", folder.display()))
                .hint(REBUILD)
        };
        let description = serde_json::from_slice(&text)
            .map_err(|error| broken(format!("has a bad description: {error}")))?;
        let (kernel, initramfs) = (folder.join(KERNEL), folder.join(INITRAMFS));
        if let Some(missing) = [&kernel, &initramfs].into_iter().find(|file| !file.is_file()) {
            return Err(broken(format!("is not whole: {} is missing", missing.display())));
        }
        Ok(Self { folder, kernel, initramfs, description })
    }

    /// Tells whether the guest program in it is the one that this library speaks with.
    pub fn is_current(&self) -> bool {
        self.description.guest == GUEST_SOURCES
    }
}

const REBUILD: &str =
    "assemble it anew with `transient appliance build` (in a source checkout: `make appliance`)";

/// Assembles an appliance into a folder, replacing what is there when all is whole.
///
/// Needs neither root nor a shell. The same inputs give the same bytes.
///
/// # Errors
///
/// [`ErrorKind::ApplianceInvalid`] when an input is missing or cannot be used,
/// [`ErrorKind::MissingProgram`] when the host lacks a tool that the guest must have,
/// [`ErrorKind::ApplianceNotFound`] when no kernel is named and the host has none that can be read.
pub fn build(inputs: &Inputs, folder: &Path) -> Result<Appliance, Error> {
    let (kernel, modules) = host::locate(inputs, Path::new("/"))?;
    let assembled = load(&kernel, &modules)?;
    write(&assembled, folder)?;
    Appliance::open(folder)
}

fn load(kernel: &Path, modules: &Path) -> Result<assemble::Assembled, Error> {
    let file = fs::read(kernel).map_err(|error| {
        Error::new(ErrorKind::ApplianceInvalid, format!("the kernel {} cannot be read", kernel.display()))
            .caused_by(error)
    })?;
    let image = kernel::read(file)
        .map_err(|why| Error::new(ErrorKind::ApplianceInvalid, format!("{} {why}", kernel.display())))?;
    let modules = modules::select(modules)?;
    assemble::assemble(image, modules, tools::collect(Path::new("/"))?)
}

/// Writes beside the folder, then puts the new one in its place.
fn write(assembled: &assemble::Assembled, folder: &Path) -> Result<(), Error> {
    let failed = |error| Error::io(format!("could not write the appliance {}", folder.display()), error);
    let absolute = std::path::absolute(folder).map_err(failed)?;
    let parent = absolute.parent().unwrap_or(Path::new("/"));
    if absolute.is_dir() && !absolute.join(DESCRIPTION).exists() && !is_empty(&absolute) {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            format!("{} exists and is no appliance", folder.display()),
        )
        .hint("name a folder that does not exist yet"));
    }
    fs::create_dir_all(parent).map_err(failed)?;
    let new = tempfile::Builder::new().prefix(".appliance-").tempdir_in(parent).map_err(failed)?;
    let description = serde_json::to_vec_pretty(&assembled.description)
        .map_err(|error| Error::new(ErrorKind::Internal, "the description is no JSON").caused_by(error))?;
    for (name, bytes) in
        [(KERNEL, &assembled.kernel), (INITRAMFS, &assembled.initramfs), (DESCRIPTION, &description)]
    {
        let mut file = fs::File::create_new(new.path().join(name)).map_err(failed)?;
        file.write_all(bytes).map_err(failed)?;
    }
    // A temporary folder is private; an appliance may be installed for everyone.
    let everyone = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(new.path(), everyone).map_err(failed)?;
    let old = tempfile::Builder::new().prefix(".appliance-").tempdir_in(parent).map_err(failed)?;
    if absolute.exists() {
        fs::rename(&absolute, old.path().join("old")).map_err(failed)?;
    }
    fs::rename(new.path(), &absolute).map_err(failed)
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
}

/// Returns the appliance that builds use: `locations.appliance` if it is named, else the first of
/// `locations.appliances` that fits this library, else the one in the cache, which is assembled from the
/// newest readable kernel of the host when it is missing.
///
/// An appliance whose guest program is of another version is passed over with a warning; the named
/// one is an error then.
///
/// # Errors
///
/// [`ErrorKind::ApplianceNotFound`] when there is none and none can be assembled,
/// [`ErrorKind::ApplianceInvalid`] when the named one cannot be used.
pub fn find(locations: &Locations) -> Result<Appliance, Error> {
    if let Some(named) = &locations.appliance {
        let appliance = Appliance::open(named)?;
        return if appliance.is_current() { Ok(appliance) } else { Err(outdated(named)) };
    }
    let mut looked_at = Vec::new();
    for folder in &locations.appliances {
        match Appliance::open(folder) {
            Ok(appliance) if appliance.is_current() => return Ok(appliance),
            Ok(_) => {
                let error = outdated(folder);
                tracing::warn!("{error}");
                looked_at.push(error.to_string());
            }
            Err(error) => {
                if error.kind() != ErrorKind::ApplianceNotFound {
                    tracing::warn!("{}", error.report());
                }
                looked_at.push(error.to_string());
            }
        }
    }
    cache::find(&locations.cache.join("appliance"), Path::new("/"))
        .map_err(|error| looked_at.into_iter().rev().fold(error, |error, place| error.hint(place)))
}

fn outdated(folder: &Path) -> Error {
    Error::new(
        ErrorKind::ApplianceInvalid,
        format!("the appliance in {} was assembled by another version", folder.display()),
    )
    .hint(REBUILD)
}

#[cfg(test)]
mod tests;
