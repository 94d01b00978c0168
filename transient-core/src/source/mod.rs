//! Bringing images into the backend.

use crate::event::Reporter;
use crate::image::Image;
use crate::{CancelToken, Error, ImageSpec, Store};

/// Returns the image of a spec, bringing it in if the backend lacks it. Blocks.
pub(crate) fn bring_in(
    store: &Store,
    spec: &ImageSpec,
    reporter: &Reporter,
    cancel: &CancelToken,
) -> Result<Image, Error> {
    let _ = (store, spec, reporter, cancel);
    Err(Error::new(crate::ErrorKind::Internal, "not written yet"))
}
