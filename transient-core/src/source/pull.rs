//! Bringing images in without building anything.

use std::time::Instant;

use super::bring_in;
use crate::call::call;
use crate::event::Reporter;
use crate::image::Image;
use crate::{CancelToken, Error, Event, ImageSpec, Store};

/// Brings images into the backend, those that it lacks, one after the other. `listener` is called on the calling
/// thread; it is told [`Event::PullFinished`] of each.
///
/// An image that another process is bringing in is waited for.
///
/// # Errors
///
/// [`crate::ErrorKind::ImageNotFound`], [`crate::ErrorKind::SourceFailed`], [`crate::ErrorKind::InvalidImage`], and
/// what else can go wrong on the host. Images that were pulled before that stay.
pub fn pull(
    store: &Store,
    specs: &[ImageSpec],
    listener: &mut dyn FnMut(Event),
    cancel: &CancelToken,
) -> Result<Vec<Image>, Error> {
    call("transient-pull", listener, cancel, |reporter, cancel| {
        specs.iter().map(|spec| pull_one(store, spec, reporter, cancel)).collect()
    })
}

fn pull_one(
    store: &Store,
    spec: &ImageSpec,
    reporter: &Reporter,
    cancel: &CancelToken,
) -> Result<Image, Error> {
    let started = Instant::now();
    cancel.check()?;
    let (image, fetched) = match store.image(&spec.name)? {
        Some(image) => (image, false),
        None => (bring_in(store, spec, reporter, cancel)?, true),
    };
    let finished = Event::PullFinished { image: image.clone(), fetched, elapsed: started.elapsed() };
    reporter.send_blocking(finished);
    Ok(image)
}
