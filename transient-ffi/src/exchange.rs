//! Images under other names, from files, and to files.

use std::ffi::{c_char, c_void};

use transient_core::image::Checksum;
use transient_core::{ExportFormat, ExportOptions, ImageName, ImportOptions, export, import, tag};

use crate::boundary::{Failure, borrow, fallible};
use crate::cancel::{token, transient_cancel_token};
use crate::error::transient_error;
use crate::event::{Listener, transient_event_callback, transient_finalizer};
use crate::image::transient_image;
use crate::status::transient_status;
use crate::store::{image_name, transient_store};
use crate::text;

/// The format of an exported file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum transient_export_format {
    /// What the file's name ends in, whether or not `.gz`, `.xz` or `.zst` follows; raw for `.img`, else qcow2.
    Auto = 0,
    /// QEMU's own.
    Qcow2 = 1,
    /// The disk byte by byte, with holes where it is empty.
    Raw = 2,
    /// VMware's, in one file.
    Vmdk = 3,
    /// Hyper-V's, growing.
    Vhdx = 4,
    /// VirtualBox's, growing.
    Vdi = 5,
}

/// Gives an image another name, by which it can be used and removed on its own. Both are one read-only file, which
/// takes no more space; where that cannot be, the new image is a copy. With `replace`, an image that has the name
/// goes. A name that another process is at work on is waited for.
///
/// `on_event`, `user_data`, `finalizer` and `cancel` are as of `transient_pull`. `image_out` may be NULL; else on
/// success the caller owns `*image_out`: `transient_image_free`. Any thread may call this, and several at once.
///
/// Fails with `TRANSIENT_STATUS_IMAGE_NOT_FOUND`, `TRANSIENT_STATUS_IMAGE_EXISTS` without `replace`, and
/// `TRANSIENT_STATUS_IMAGE_IN_USE` when a VM has a disk on what would be replaced.
#[unsafe(no_mangle)]
pub extern "C" fn transient_tag(
    store: *const transient_store,
    source: *const c_char,
    name: *const c_char,
    replace: bool,
    on_event: transient_event_callback,
    user_data: *mut c_void,
    finalizer: transient_finalizer,
    cancel: *const transient_cancel_token,
    image_out: *mut *mut transient_image,
    error_out: *mut *mut transient_error,
) -> transient_status {
    // Outside: it must also be finalized when a pointer is bad.
    let listener = Listener::new(on_event, user_data, finalizer);
    fallible(error_out, || {
        let store = &borrow(store, "store")?.store;
        let (source, name) = (image_name(source)?, image_name(name)?);
        let image = tag(store, &source, &name, replace, &mut |event| listener.tell(&event), &token(cancel))?;
        drop(listener);
        transient_image::give(&image, image_out);
        Ok(())
    })
}

/// Makes a file of the host an image of the backend. `path` is an image in any format that `qemu-img` reads, as it is
/// or compressed with gzip, bzip2, xz or zstd; or a pipe, such as `/dev/stdin`. `name` may be NULL: the image is then
/// named as the file, without its extensions. `sha256` may be NULL; else it is what `sha256sum` prints for the file,
/// and another file is refused. With `replace`, an image that has the name goes.
///
/// `on_event`, `user_data`, `finalizer` and `cancel` are as of `transient_pull`. `image_out` may be NULL; else on
/// success the caller owns `*image_out`: `transient_image_free`. Any thread may call this, and several at once.
///
/// Fails with `TRANSIENT_STATUS_IMAGE_EXISTS` without `replace`, `TRANSIENT_STATUS_IMAGE_IN_USE` when a VM has a disk
/// on what would be replaced, `TRANSIENT_STATUS_SOURCE_FAILED`, `TRANSIENT_STATUS_INVALID_IMAGE`, and what else can
/// go wrong on the host.
#[unsafe(no_mangle)]
pub extern "C" fn transient_import(
    store: *const transient_store,
    path: *const c_char,
    name: *const c_char,
    sha256: *const c_char,
    replace: bool,
    on_event: transient_event_callback,
    user_data: *mut c_void,
    finalizer: transient_finalizer,
    cancel: *const transient_cancel_token,
    image_out: *mut *mut transient_image,
    error_out: *mut *mut transient_error,
) -> transient_status {
    // Outside: it must also be finalized when a pointer is bad.
    let listener = Listener::new(on_event, user_data, finalizer);
    fallible(error_out, || {
        let store = &borrow(store, "store")?.store;
        let path = text::path(path, "path")?;
        let name = match text::optional_string(name, "name")? {
            Some(name) => ImageName::new(name)?,
            None => ImageName::of_file(&path)?,
        };
        let mut options = ImportOptions::new(path, name);
        options.checksum = text::optional_string(sha256, "sha256")?.map(Checksum::sha256).transpose()?;
        options.replace = replace;
        let image = import(store, &options, &mut |event| listener.tell(&event), &token(cancel))?;
        drop(listener);
        transient_image::give(&image, image_out);
        Ok(())
    })
}

/// Writes an image to a file of the host, which is there when it is whole, and not before. `format` is a
/// `transient_export_format`. A `path` that ends in `.gz`, `.xz` or `.zst` has the file compressed as a whole;
/// `compress` uses the compression of the format itself, which qcow2 and VMDK have. With `replace`, a file that is
/// there goes.
///
/// `on_event`, `user_data`, `finalizer` and `cancel` are as of `transient_pull`. Any thread may call this, and several
/// at once.
///
/// Fails with `TRANSIENT_STATUS_IMAGE_NOT_FOUND`, `TRANSIENT_STATUS_FILE_EXISTS` without `replace`,
/// `TRANSIENT_STATUS_INVALID_ARGUMENT` when no such file can be made, and what else can go wrong on the host.
#[unsafe(no_mangle)]
pub extern "C" fn transient_export(
    store: *const transient_store,
    name: *const c_char,
    path: *const c_char,
    format: u32,
    compress: bool,
    replace: bool,
    on_event: transient_event_callback,
    user_data: *mut c_void,
    finalizer: transient_finalizer,
    cancel: *const transient_cancel_token,
    error_out: *mut *mut transient_error,
) -> transient_status {
    // Outside: it must also be finalized when a pointer is bad.
    let listener = Listener::new(on_event, user_data, finalizer);
    fallible(error_out, || {
        let store = &borrow(store, "store")?.store;
        let mut options = ExportOptions::new(image_name(name)?, text::path(path, "path")?);
        options.format = export_format(format)?;
        options.compress = compress;
        options.replace = replace;
        export(store, &options, &mut |event| listener.tell(&event), &token(cancel))?;
        drop(listener);
        Ok(())
    })
}

fn export_format(format: u32) -> Result<Option<ExportFormat>, Failure> {
    Ok(Some(match format {
        0 => return Ok(None),
        1 => ExportFormat::Qcow2,
        2 => ExportFormat::Raw,
        3 => ExportFormat::Vmdk,
        4 => ExportFormat::Vhdx,
        5 => ExportFormat::Vdi,
        other => return Err(Failure::Argument(format!("there is no export format {other}"))),
    }))
}
