//! Giving an image another name.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD};

use super::{Store, failure};
use crate::call::call;
use crate::event::Reporter;
use crate::image::Image;
use crate::{CancelToken, Error, Event, ImageName};

/// The bits of a file's mode by which somebody may write to it.
const WRITABLE: u32 = 0o222;
/// How much is copied before a cancel is looked for.
const CHUNK: u64 = 16 << 20;

/// Gives an image another name, by which it can be used and removed on its own. `listener` is called on the calling
/// thread.
///
/// Both are one read-only file, which takes no more space. Where that cannot be, for example on a filesystem without
/// hard links or where the image can be written to, the new image is a copy. A name that another process is at work on
/// is waited for.
///
/// ```no_run
/// use transient_core::{CancelToken, ImageName, Locations, Store, tag};
///
/// let store = Store::new(Locations::from_env()?);
/// let (source, name) = (ImageName::new("web:2")?, ImageName::new("web:latest")?);
/// tag(&store, &source, &name, true, &mut |_| {}, &CancelToken::new())?;
/// # Ok::<(), transient_core::Error>(())
/// ```
///
/// # Errors
///
/// [`crate::ErrorKind::ImageNotFound`]; [`crate::ErrorKind::ImageExists`] when the new name is taken, unless
/// `replace`; [`crate::ErrorKind::ImageInUse`] when a VM has a disk on what would be replaced.
pub fn tag(
    store: &Store,
    source: &ImageName,
    name: &ImageName,
    replace: bool,
    listener: &mut dyn FnMut(Event),
    cancel: &CancelToken,
) -> Result<Image, Error> {
    call("transient-tag", listener, cancel, |reporter, cancel| {
        // Before anything is made, and before waiting.
        store.open(source)?;
        let reservation = store.reserve_new(name, replace, reporter, cancel)?;
        let (file, image) = store.open(source)?;
        let new = reservation.folder().join("image.qcow2");
        let linked = link(&file, &new).map_err(|error| failure("cannot read", &image.path, error))?;
        let tagged = match linked {
            true => reservation.commit_link(&new)?,
            false => {
                copy(&file, &image, &new, reporter, cancel)?;
                reservation.commit(&new)?
            }
        };
        // The image is there; that nothing is known of it is no failure.
        if let Err(error) = store.copy_provenance(source, name) {
            reporter.send_blocking(Event::Warning { message: error.to_string(), hint: None });
        }
        Ok(tagged)
    })
}

/// Whether somebody may write to a file. Other than by root, one that nobody may write to does not change.
pub(super) fn is_writable(file: &Metadata) -> bool {
    file.mode() & WRITABLE != 0
}

/// Makes a hard link to an open file, whatever has its name by now. Returns whether that can be.
pub(super) fn link(file: &File, new: &Path) -> io::Result<bool> {
    if is_writable(&file.metadata()?) {
        return Ok(false);
    }
    let open = format!("/proc/self/fd/{}", file.as_raw_fd());
    let linked = rustix::fs::linkat(CWD, open, CWD, new, AtFlags::SYMLINK_FOLLOW);
    if let Err(error) = linked {
        tracing::info!("'{}' cannot be a link, and is a copy: {error}", new.display());
    }
    Ok(linked.is_ok())
}

/// Copies a file; where the filesystem can, both share their blocks.
fn copy(
    file: &File,
    image: &Image,
    new: &Path,
    reporter: &Reporter,
    cancel: &CancelToken,
) -> Result<(), Error> {
    let failed = |error| failure("cannot copy the image to", new, error);
    let target = File::create_new(new).map_err(failed)?;
    if rustix::fs::ioctl_ficlone(&target, file).is_ok() {
        return Ok(());
    }
    let (task, total) = (format!("Copying {}", image.name), Some(file.metadata().map_err(failed)?.len()));
    let (mut source, mut done) = (file, 0);
    source.rewind().map_err(failed)?;
    loop {
        cancel.check()?;
        let length = io::copy(&mut source.take(CHUNK), &mut &target).map_err(failed)?;
        if length == 0 {
            break;
        }
        done += length;
        reporter.progress(&task, done, total);
    }
    reporter.send_blocking(Event::Progress { task, done, total, finished: true });
    Ok(())
}
