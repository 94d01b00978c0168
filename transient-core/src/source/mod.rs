//! Bringing images into the backend.

mod candidate;
mod decompress;
mod file;
mod unpack;

#[cfg(test)]
mod tests;

pub(crate) use decompress::decompress;

use crate::event::Reporter;
use crate::image::{Image, Protocol};
use crate::{CancelToken, Error, ErrorKind, Event, ImageSpec, Store};

/// Returns the image of a spec, bringing it in if the backend lacks it. Blocks.
///
/// # Errors
///
/// [`ErrorKind::ImageNotFound`] when the spec names no source that can be used; [`ErrorKind::SourceFailed`]
/// when the source cannot be read; [`ErrorKind::InvalidImage`] when it is damaged, or points at other files.
pub(crate) fn bring_in(
    store: &Store,
    spec: &ImageSpec,
    reporter: &Reporter,
    cancel: &CancelToken,
) -> Result<Image, Error> {
    if let Some(image) = store.image(&spec.name)? {
        return Ok(image);
    }
    match &spec.source {
        Some((Protocol::File, path)) => {
            let message = format!("Unable to find image '{}' in backend", spec.name.as_str());
            reporter.send_blocking(Event::Note { message });
            file::bring_in(store, &spec.name, path.as_ref(), reporter, cancel)
        }
        Some((Protocol::Http, _)) => Err(not_fetched(store, spec, "downloading it over http")),
        Some((Protocol::Vagrant, _)) | None => {
            Err(not_fetched(store, spec, "downloading it as a vagrant box"))
        }
    }
}

fn not_fetched(store: &Store, spec: &ImageSpec, how: &str) -> Error {
    let name = spec.name.as_str();
    let backend = store.locations().backend.display();
    Error::new(ErrorKind::ImageNotFound, format!("Unable to find image '{name}' in backend"))
        .caused_by(format!("it is not in '{backend}', and {how} is not supported in this release"))
        .hint(format!("download the image yourself, then name the file: FROM {name},file=PATH"))
}
