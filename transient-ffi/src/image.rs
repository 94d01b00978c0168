//! Images, lists of them, and their names.

use std::ffi::{CString, OsStr, c_char};

use transient_core::image::{format_bytes, parse_bytes};
use transient_core::{Image, ImageName, ImageSpec, Listing};

use crate::boundary::{Failure, Out, fallible, free, null, read};
use crate::error::transient_error;
use crate::status::transient_status;
use crate::text::{self, Strings, address, c_path, c_string};

/// An image. It never changes: several threads may read it at once.
#[derive(Debug)]
pub struct transient_image {
    name: CString,
    path: CString,
    virtual_size: u64,
    real_size: u64,
}

impl transient_image {
    pub(crate) fn new(image: &Image) -> Self {
        Self {
            name: c_string(&image.name),
            path: c_path(&image.path),
            virtual_size: image.virtual_size,
            real_size: image.real_size,
        }
    }

    /// Hands an image to a caller who wants it.
    pub(crate) fn give(image: &Image, image_out: *mut *mut Self) {
        if let Ok(out) = Out::new(image_out, "image_out") {
            out.give(Self::new(image));
        }
    }
}

/// Returns the name. Lives as long as the image.
#[unsafe(no_mangle)]
pub extern "C" fn transient_image_name(image: *const transient_image) -> *const c_char {
    read(image, |image| image.name.as_ptr())
}

/// Returns the path of the qcow2 file. Lives as long as the image.
#[unsafe(no_mangle)]
pub extern "C" fn transient_image_path(image: *const transient_image) -> *const c_char {
    read(image, |image| image.path.as_ptr())
}

/// Returns the size of the disk that a VM sees, in bytes.
#[unsafe(no_mangle)]
pub extern "C" fn transient_image_virtual_size(image: *const transient_image) -> u64 {
    read(image, |image| image.virtual_size)
}

/// Returns what the file occupies on the host's disk, in bytes.
#[unsafe(no_mangle)]
pub extern "C" fn transient_image_real_size(image: *const transient_image) -> u64 {
    read(image, |image| image.real_size)
}

/// Frees an image that a function handed over, not one that is in a list. NULL is ignored. The file stays.
#[unsafe(no_mangle)]
pub extern "C" fn transient_image_free(image: *mut transient_image) {
    free(image);
}

/// What a backend holds, or images that were asked for. It never changes: several threads may read it at once.
#[derive(Debug)]
pub struct transient_image_list {
    images: Vec<transient_image>,
    warnings: Strings,
}

impl transient_image_list {
    pub(crate) fn new(listing: &Listing) -> Self {
        Self { warnings: Strings::new(&listing.warnings), ..Self::of(&listing.images) }
    }

    pub(crate) fn of(images: &[Image]) -> Self {
        Self { images: images.iter().map(transient_image::new).collect(), warnings: Strings::default() }
    }
}

/// Returns how many images there are.
#[unsafe(no_mangle)]
pub extern "C" fn transient_image_list_len(list: *const transient_image_list) -> usize {
    read(list, |list| list.images.len())
}

/// Returns an image, in the order of their names or in that in which they were asked for; NULL behind the last. The
/// list owns it.
#[unsafe(no_mangle)]
pub extern "C" fn transient_image_list_get(
    list: *const transient_image_list,
    index: usize,
) -> *const transient_image {
    read(list, |list| list.images.get(index).map_or(std::ptr::null(), std::ptr::from_ref))
}

/// Returns how many files look like images and are none.
#[unsafe(no_mangle)]
pub extern "C" fn transient_image_list_warnings_len(list: *const transient_image_list) -> usize {
    read(list, |list| list.warnings.len())
}

/// Returns one sentence about a file that looks like an image and is none; NULL behind the last. Lives as long as
/// the list.
#[unsafe(no_mangle)]
pub extern "C" fn transient_image_list_warning(
    list: *const transient_image_list,
    index: usize,
) -> *const c_char {
    read(list, |list| list.warnings.get(index))
}

/// Frees a list with its images. NULL is ignored.
#[unsafe(no_mangle)]
pub extern "C" fn transient_image_list_free(list: *mut transient_image_list) {
    free(list);
}

/// Writes the name of the file that an image of this name has in a backend. The caller owns `*encoded_out`:
/// `transient_string_free`. Any thread may call this.
///
/// Fails with `TRANSIENT_STATUS_INVALID_IMAGE_NAME`.
#[unsafe(no_mangle)]
pub extern "C" fn transient_image_name_encode(
    name: *const c_char,
    encoded_out: *mut *mut c_char,
    error_out: *mut *mut transient_error,
) -> transient_status {
    fallible(error_out, || {
        let name = ImageName::new(text::string(name, "name")?)?;
        text::give(encoded_out, "encoded_out", c_string(name.encoded()))
    })
}

/// Writes the name of the image that a backend keeps in a file of this name. The caller owns `*name_out`:
/// `transient_string_free`. Any thread may call this.
///
/// Fails with `TRANSIENT_STATUS_INVALID_IMAGE_NAME` when such a file is no image.
#[unsafe(no_mangle)]
pub extern "C" fn transient_image_name_decode(
    encoded: *const c_char,
    name_out: *mut *mut c_char,
    error_out: *mut *mut transient_error,
) -> transient_status {
    fallible(error_out, || {
        let encoded = text::string(encoded, "encoded")?;
        let name = match ImageName::from_encoded(OsStr::new(encoded)) {
            Some(name) => name,
            // No image has that name on disk: where the name itself is at fault, that error says more.
            None => {
                ImageName::new(encoded)?;
                let message = format!("no image is kept in a file named '{encoded}'");
                return Err(Failure::ImageName(message));
            }
        };
        text::give(name_out, "name_out", c_string(name.as_str()))
    })
}

/// An image spec, `NAME` or `NAME,PROTOCOL=SOURCE`, with or without a checksum behind it, taken apart. It never
/// changes.
#[derive(Debug)]
pub struct transient_image_spec {
    name: CString,
    protocol: Option<CString>,
    source: Option<CString>,
    checksum: Option<CString>,
}

impl transient_image_spec {
    pub(crate) fn new(spec: &ImageSpec) -> Self {
        let source = spec.source.as_ref();
        Self {
            name: c_string(spec.name.as_str()),
            protocol: source.map(|(protocol, _)| c_string(protocol.name())),
            source: source.map(|(_, source)| c_string(source)),
            checksum: spec.checksum.as_ref().map(|checksum| c_string(checksum.to_string())),
        }
    }
}

/// Takes an image spec apart. The caller owns `*spec_out`: `transient_image_spec_free`. Any thread may call this.
///
/// Fails with `TRANSIENT_STATUS_INVALID_IMAGE_NAME`.
#[unsafe(no_mangle)]
pub extern "C" fn transient_image_spec_parse(
    text: *const c_char,
    spec_out: *mut *mut transient_image_spec,
    error_out: *mut *mut transient_error,
) -> transient_status {
    fallible(error_out, || {
        let out = Out::new(spec_out, "spec_out")?;
        let spec: ImageSpec = text::string(text, "text")?.parse()?;
        out.give(transient_image_spec::new(&spec));
        Ok(())
    })
}

/// Returns the image's name in the backend. Lives as long as the spec.
#[unsafe(no_mangle)]
pub extern "C" fn transient_image_spec_name(spec: *const transient_image_spec) -> *const c_char {
    read(spec, |spec| spec.name.as_ptr())
}

/// Returns `file`, `http` or `vagrant`; NULL when the spec has no source. Lives as long as the spec.
#[unsafe(no_mangle)]
pub extern "C" fn transient_image_spec_protocol(spec: *const transient_image_spec) -> *const c_char {
    read(spec, |spec| address(spec.protocol.as_ref()))
}

/// Returns where the image comes from; NULL when the spec has no source. Lives as long as the spec.
#[unsafe(no_mangle)]
pub extern "C" fn transient_image_spec_source(spec: *const transient_image_spec) -> *const c_char {
    read(spec, |spec| address(spec.source.as_ref()))
}

/// Returns what the bytes of the source must add up to, for example `sha256=` and 64 hexadecimal digits; NULL when
/// the spec does not say. Lives as long as the spec.
#[unsafe(no_mangle)]
pub extern "C" fn transient_image_spec_checksum(spec: *const transient_image_spec) -> *const c_char {
    read(spec, |spec| address(spec.checksum.as_ref()))
}

/// Frees a spec. NULL is ignored.
#[unsafe(no_mangle)]
pub extern "C" fn transient_image_spec_free(spec: *mut transient_image_spec) {
    free(spec);
}

/// Reads a size: plain bytes, or a whole number with a unit, all of them binary (`512M`, `2 GB`, `2GiB`).
/// Any thread may call this.
///
/// Fails with `TRANSIENT_STATUS_INVALID_ARGUMENT`.
#[unsafe(no_mangle)]
pub extern "C" fn transient_parse_bytes(
    text: *const c_char,
    bytes_out: *mut u64,
    error_out: *mut *mut transient_error,
) -> transient_status {
    fallible(error_out, || {
        let bytes = parse_bytes(text::string(text, "text")?)?;
        if bytes_out.is_null() {
            return Err(null("bytes_out"));
        }
        // SAFETY: not null, and by contract a valid place.
        unsafe { bytes_out.write(bytes) };
        Ok(())
    })
}

/// Returns a size for people, in binary units with two decimals, for example `40.00 GiB`. The caller owns the
/// string: `transient_string_free`. Any thread may call this.
#[unsafe(no_mangle)]
pub extern "C" fn transient_format_bytes(bytes: u64) -> *mut c_char {
    crate::boundary::infallible(|| c_string(format_bytes(bytes)).into_raw())
}
