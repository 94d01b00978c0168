//! Writing an image of the backend to a file of the host.

mod format;
mod pack;

#[cfg(test)]
mod tests;

pub use format::ExportFormat;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use pack::Packing;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::call::call;
use crate::event::Reporter;
use crate::image::header::Format;
use crate::process::qemu_img;
use crate::store::Scratch;
use crate::{CancelToken, Error, ErrorKind, Event, ImageName, Store};

/// How the names of folders for work in progress begin, beside the file that is to be.
const SCRATCH: &str = ".transient-export-";

/// What to export, and where to.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ExportOptions {
    /// The image.
    pub name: ImageName,
    /// The file to make. A name that ends in `.gz`, `.xz` or `.zst` has it compressed as a whole.
    pub path: PathBuf,
    /// The format; `None` is [`ExportFormat::of_file`].
    pub format: Option<ExportFormat>,
    /// Use the format's own compression, which VMs can read: zstd in qcow2, the streamOptimized form of VMDK. The
    /// other formats have none.
    pub compress: bool,
    /// Replace the file if it is there.
    pub replace: bool,
}

impl ExportOptions {
    /// Returns options with the format that the path tells, that replace nothing.
    pub fn new(name: ImageName, path: impl Into<PathBuf>) -> Self {
        Self { name, path: path.into(), format: None, compress: false, replace: false }
    }
}

/// Writes an image to a file of the host. `listener` is called on the calling thread; it is told
/// [`Event::ExportFinished`] at the end.
///
/// The file is there when it is whole, and not before. Until then, the work is in a hidden folder beside it; what a
/// process leaves there that is killed, the next export into that folder removes.
///
/// ```no_run
/// use transient_core::{CancelToken, ExportOptions, ImageName, Locations, Store, export};
///
/// let options = ExportOptions::new(ImageName::new("web")?, "web.vmdk");
/// export(&Store::new(Locations::from_env()?), &options, &mut |_| {}, &CancelToken::new())?;
/// # Ok::<(), transient_core::Error>(())
/// ```
///
/// # Errors
///
/// [`ErrorKind::ImageNotFound`]; [`ErrorKind::FileExists`] when the file is there, unless
/// [`ExportOptions::replace`]; [`ErrorKind::InvalidArgument`] when no such file can be made;
/// [`ErrorKind::ProgramFailed`] when `qemu-img` cannot write the format; [`ErrorKind::HostDiskFull`].
pub fn export(
    store: &Store,
    options: &ExportOptions,
    listener: &mut dyn FnMut(Event),
    cancel: &CancelToken,
) -> Result<(), Error> {
    call("transient-export", listener, cancel, |reporter, cancel| run(store, options, reporter, cancel))
}

fn run(
    store: &Store,
    options: &ExportOptions,
    reporter: &Reporter,
    cancel: &CancelToken,
) -> Result<(), Error> {
    let started = Instant::now();
    let format = options.format.unwrap_or_else(|| ExportFormat::of_file(&options.path));
    let target = format.target(options.compress)?;
    let destination = Destination::check(store, options)?;
    let (image, header) = store.open(&options.name)?;

    let scratch = Scratch::make_clean(&destination.folder, SCRATCH)?;
    // Some formats keep the name that they are written under.
    let mut whole = scratch.path().join(&destination.file);
    let task = format!("Exporting {}", options.name);
    let meter = Meter { task, total: header.virtual_size, reporter };
    qemu_img::convert_to(&image, Format::Qcow2, target, &whole, &mut |part| meter.part(part), cancel)
        .map_err(|error| explained(error, options, format))?;
    meter.finish();
    if let Some(packing) = Packing::of_file(&options.path) {
        let packed = scratch.path().join("packed");
        let total = fs::metadata(&whole).map_err(|error| failed(&whole, error))?.len();
        let meter = Meter { task: format!("Compressing {}", options.path.display()), total, reporter };
        packing.pack(&whole, &packed, &mut |done| meter.done(done), cancel)?;
        meter.finish();
        whole = packed;
    }
    let real_size = destination.put(&whole, options.replace)?;
    let (path, elapsed) = (options.path.clone(), started.elapsed());
    reporter.send_blocking(Event::ExportFinished { path, real_size, elapsed });
    Ok(())
}

/// Reports the progress of one task.
struct Meter<'a> {
    task: String,
    total: u64,
    reporter: &'a Reporter,
}

impl Meter<'_> {
    fn part(&self, part: f64) {
        self.done((part * self.total as f64) as u64);
    }

    fn done(&self, done: u64) {
        self.reporter.progress(&self.task, done, Some(self.total));
    }

    fn finish(&self) {
        let (task, done, total) = (self.task.clone(), self.total, Some(self.total));
        self.reporter.send_blocking(Event::Progress { task, done, total, finished: true });
    }
}

/// Where the file will be.
struct Destination {
    path: PathBuf,
    folder: PathBuf,
    file: PathBuf,
}

impl Destination {
    /// Finds the mistakes that can be known before anything is made.
    fn check(store: &Store, options: &ExportOptions) -> Result<Self, Error> {
        let path = options.path.clone();
        let refused = |why: &str| {
            Error::new(
                ErrorKind::InvalidArgument,
                format!("cannot export to '{}': {why}", options.path.display()),
            )
        };
        let file = path.file_name().map(PathBuf::from).ok_or_else(|| refused("it names no file"))?;
        match fs::symlink_metadata(&path) {
            Ok(there) if there.is_dir() => {
                return Err(refused("it is a folder").hint("name the file to make in it"));
            }
            Ok(there) if !there.is_file() => return Err(refused("it is there, and is no regular file")),
            Ok(_) if !options.replace => return Err(exists(&path)),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(&path, error)),
        }
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        let id = |folder: &Path| fs::metadata(folder).map(|found| (found.dev(), found.ino()));
        let own = id(&folder).map_err(|error| failed(&path, error))?;
        if id(&store.locations().backend).is_ok_and(|backend| backend == own) {
            return Err(refused("that is the backend, whose images are not overwritten")
                .hint("`transient image tag` gives an image another name"));
        }
        Ok(Self { path, folder, file })
    }

    /// Moves a whole file here, and returns what it occupies.
    fn put(&self, whole: &Path, replace: bool) -> Result<u64, Error> {
        let failed = |error| failed(&self.path, error);
        let file = File::open(whole).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        let flags = if replace { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
        match renameat_with(CWD, whole, CWD, &self.path, flags) {
            Err(Errno::EXIST) if !replace => return Err(exists(&self.path)),
            // Not every filesystem can do it in one step.
            Err(Errno::INVAL | Errno::NOSYS) => {
                if !replace && fs::symlink_metadata(&self.path).is_ok() {
                    return Err(exists(&self.path));
                }
                fs::rename(whole, &self.path).map_err(failed)?;
            }
            renamed => renamed.map_err(|error| failed(error.into()))?,
        }
        // The file is there whether or not this succeeds: it only matters for a crash of the host.
        if let Err(error) = File::open(&self.folder).and_then(|folder| folder.sync_all()) {
            tracing::warn!("'{}' could not be synced: {error}", self.folder.display());
        }
        Ok(file.metadata().map_err(failed)?.blocks() * 512)
    }
}

fn exists(path: &Path) -> Error {
    Error::new(ErrorKind::FileExists, format!("'{}' already exists", path.display()))
        .hint("choose another file, or have it replaced by force")
}

fn failed(path: &Path, error: io::Error) -> Error {
    Error::io(format!("cannot export to '{}'", path.display()), error)
}

/// Says what `qemu-img` was asked for, and what its commonest complaints mean.
fn explained(error: Error, options: &ExportOptions, format: ExportFormat) -> Error {
    if error.kind() != ErrorKind::ProgramFailed {
        return error;
    }
    let report = error.report();
    let message = format!("cannot write the image '{}' as {}", options.name, format.name());
    let explained = Error::new(ErrorKind::ProgramFailed, message).caused_by(report.clone());
    if report.contains("Unknown file format") || report.contains("Unknown driver") {
        explained.hint("this `qemu-img` was built without that format; choose another one")
    } else if report.contains("compression_type") || report.contains("compression-type") {
        explained.hint("this `qemu-img` was built without zstd; export without compression, or to a file that ends in .zst")
    } else {
        explained
    }
}
