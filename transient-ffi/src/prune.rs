//! Removing what nobody needs.

use std::time::Duration;

use transient_core::{PruneOptions, Pruned};

use crate::boundary::{Failure, Out, borrow, fallible, free, read};
use crate::error::transient_error;
use crate::image::transient_image_list;
use crate::status::transient_status;
use crate::store::{transient_name_list, transient_store};

/// What was removed, or would be. It never changes: several threads may read it at once.
#[derive(Debug)]
pub struct transient_pruned {
    images: transient_image_list,
    leftovers: transient_name_list,
    warnings: transient_name_list,
    freed: u64,
}

/// Removes abandoned work, of processes that were killed; with `all` also images that no VM has a disk on, if
/// `older_than` is not 0 only those that were made more seconds ago. With `dry_run`, nothing is removed. Never waits:
/// what somebody is at work on is needed. The caller owns `*pruned_out`: `transient_pruned_free`. Any thread may call
/// this.
///
/// Fails with `TRANSIENT_STATUS_IO` when the backend or the VM store cannot be read, or an image cannot be removed.
#[unsafe(no_mangle)]
pub extern "C" fn transient_store_prune(
    store: *const transient_store,
    all: bool,
    older_than: f64,
    dry_run: bool,
    pruned_out: *mut *mut transient_pruned,
    error_out: *mut *mut transient_error,
) -> transient_status {
    fallible(error_out, || {
        let out = Out::new(pruned_out, "pruned_out")?;
        let store = &borrow(store, "store")?.store;
        let mut options = PruneOptions::default();
        (options.all, options.older_than, options.dry_run) = (all, age(older_than)?, dry_run);
        out.give(transient_pruned::new(&store.prune(&options)?));
        Ok(())
    })
}

fn age(seconds: f64) -> Result<Option<Duration>, Failure> {
    let age = Duration::try_from_secs_f64(seconds)
        .map_err(|error| Failure::Argument(format!("{seconds} seconds are no age: {error}")))?;
    Ok((!age.is_zero()).then_some(age))
}

impl transient_pruned {
    fn new(pruned: &Pruned) -> Self {
        Self {
            images: transient_image_list::of(&pruned.images),
            leftovers: transient_name_list::new(&pruned.leftovers),
            warnings: transient_name_list::new(&pruned.warnings),
            freed: pruned.freed,
        }
    }
}

/// Returns the images. Lives as long as `pruned`.
#[unsafe(no_mangle)]
pub extern "C" fn transient_pruned_images(pruned: *const transient_pruned) -> *const transient_image_list {
    read(pruned, |pruned| std::ptr::from_ref(&pruned.images))
}

/// Returns the paths of files and folders of work that was abandoned. Lives as long as `pruned`.
#[unsafe(no_mangle)]
pub extern "C" fn transient_pruned_leftovers(pruned: *const transient_pruned) -> *const transient_name_list {
    read(pruned, |pruned| std::ptr::from_ref(&pruned.leftovers))
}

/// Returns a sentence for each file that looks like an image and is none, or that could not be removed. Lives as long
/// as `pruned`.
#[unsafe(no_mangle)]
pub extern "C" fn transient_pruned_warnings(pruned: *const transient_pruned) -> *const transient_name_list {
    read(pruned, |pruned| std::ptr::from_ref(&pruned.warnings))
}

/// Returns how many bytes of the host's disk are free now that were not. An image that has another name still frees
/// none.
#[unsafe(no_mangle)]
pub extern "C" fn transient_pruned_freed(pruned: *const transient_pruned) -> u64 {
    read(pruned, |pruned| pruned.freed)
}

/// Frees what `transient_store_prune` gave, with its lists. NULL is ignored.
#[unsafe(no_mangle)]
pub extern "C" fn transient_pruned_free(pruned: *mut transient_pruned) {
    free(pruned);
}
