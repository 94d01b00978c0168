//! Building an image.

use std::ffi::{c_char, c_int, c_void};

use transient_core::{BuildOptions, CompressionType, OnFailure, build};

use crate::boundary::{Failure, Out, borrow, borrow_mut, fallible, free};
use crate::builder;
use crate::cancel::{token, transient_cancel_token};
use crate::duration;
use crate::error::transient_error;
use crate::event::{Listener, transient_event_callback, transient_finalizer};
use crate::image::transient_image;
use crate::status::transient_status;
use crate::store::{image_name, transient_store};
use crate::terminal::terminal;
use crate::text;

/// What happens when a step fails, before the build does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum transient_on_failure {
    /// Nothing more.
    Stop = 0,
    /// The terminal gets a shell in the state before the step, in a VM of its own. Nothing that is done in it is kept.
    Shell = 1,
}

/// How the clusters of an image are compressed, which VMs read as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum transient_compression {
    /// Not at all.
    None = 0,
    /// With zlib, which every QEMU reads.
    Zlib = 1,
    /// With zstd, faster, and smaller; QEMU 5.1 and later read it.
    Zstd = 2,
}

/// What to build, and how. It may be used for several builds, also at once; it must not be changed meanwhile.
#[derive(Debug)]
pub struct transient_build_options(BuildOptions);

/// Makes options with all defaults. `directory` is the build directory, where sources of COPY and ADD are looked
/// for; `name` is the name of the new image. Both are copied. The caller owns `*options_out`:
/// `transient_build_options_free`. Any thread may call this.
///
/// Fails with `TRANSIENT_STATUS_INVALID_IMAGE_NAME`.
#[unsafe(no_mangle)]
pub extern "C" fn transient_build_options_new(
    directory: *const c_char,
    name: *const c_char,
    options_out: *mut *mut transient_build_options,
    error_out: *mut *mut transient_error,
) -> transient_status {
    fallible(error_out, || {
        let out = Out::new(options_out, "options_out")?;
        let options = BuildOptions::new(text::path(directory, "directory")?, image_name(name)?);
        out.give(transient_build_options(options));
        Ok(())
    })
}

/// Frees options, once no build uses them. NULL is ignored.
#[unsafe(no_mangle)]
pub extern "C" fn transient_build_options_free(options: *mut transient_build_options) {
    free(options);
}

fn change(
    options: *mut transient_build_options,
    error_out: *mut *mut transient_error,
    body: impl FnOnce(&mut BuildOptions) -> Result<(), Failure>,
) -> transient_status {
    fallible(error_out, || body(&mut borrow_mut(options, "options")?.0))
}

/// Sets the Imagefile; NULL is `Imagefile` in the build directory, the default. `path` is copied.
#[unsafe(no_mangle)]
pub extern "C" fn transient_build_options_set_file(
    options: *mut transient_build_options,
    path: *const c_char,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(options, error_out, |options| {
        options.file = text::optional_path(path, "path")?;
        Ok(())
    })
}

/// Sets whether the image goes into the build directory, as `NAME.qcow2`, and not into the backend. The default is
/// false.
#[unsafe(no_mangle)]
pub extern "C" fn transient_build_options_set_local(
    options: *mut transient_build_options,
    local: bool,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(options, error_out, |options| {
        options.local = local;
        Ok(())
    })
}

/// Sets how the clusters of the image are compressed, a `transient_compression`. The default is
/// `TRANSIENT_COMPRESSION_NONE`.
#[unsafe(no_mangle)]
pub extern "C" fn transient_build_options_set_compress(
    options: *mut transient_build_options,
    compression: u32,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(options, error_out, |options| {
        options.compress = compression_type(compression)?;
        Ok(())
    })
}

/// Reads a `transient_compression`.
pub(crate) fn compression_type(compression: u32) -> Result<Option<CompressionType>, Failure> {
    match compression {
        0 => Ok(None),
        1 => Ok(Some(CompressionType::Zlib)),
        2 => Ok(Some(CompressionType::Zstd)),
        other => Err(Failure::Argument(format!("there is no compression {other}"))),
    }
}

/// Sets whether every step is carried out, also those whose result is in the cache; the cache gets the new ones. The
/// default is false.
#[unsafe(no_mangle)]
pub extern "C" fn transient_build_options_set_no_cache(
    options: *mut transient_build_options,
    no_cache: bool,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(options, error_out, |options| {
        options.no_cache_from = no_cache.then_some(1);
        Ok(())
    })
}

/// Sets the first step, counted from 1, that is carried out though its result may be in the cache, with all that follow;
/// the cache gets the new ones. 0 takes from the cache what is there, the default; 1 is the same as
/// `transient_build_options_set_no_cache`. A build that has not so many steps fails with
/// `TRANSIENT_STATUS_INVALID_ARGUMENT`.
#[unsafe(no_mangle)]
pub extern "C" fn transient_build_options_set_no_cache_from(
    options: *mut transient_build_options,
    step: usize,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(options, error_out, |options| {
        options.no_cache_from = (step != 0).then_some(step);
        Ok(())
    })
}

/// Sets whether a `TRANSIENT_EVENT_KIND_EXPLANATION` tells why the first step that is carried out is not taken from the
/// cache. The default is false.
#[unsafe(no_mangle)]
pub extern "C" fn transient_build_options_set_explain(
    options: *mut transient_build_options,
    explain: bool,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(options, error_out, |options| {
        options.explain = explain;
        Ok(())
    })
}

/// Sets how many bytes the layers in the cache may occupy after the build, those in use aside. The default is 20 GiB.
#[unsafe(no_mangle)]
pub extern "C" fn transient_build_options_set_cache_limit(
    options: *mut transient_build_options,
    bytes: u64,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(options, error_out, |options| {
        options.cache_limit = bytes;
        Ok(())
    })
}

/// Sets what happens when a step fails, before the build does, a `transient_on_failure`. The default is
/// `TRANSIENT_ON_FAILURE_STOP`; `TRANSIENT_ON_FAILURE_SHELL` needs `transient_build_options_set_terminal`.
#[unsafe(no_mangle)]
pub extern "C" fn transient_build_options_set_on_failure(
    options: *mut transient_build_options,
    on_failure: u32,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(options, error_out, |options| {
        options.on_failure = match on_failure {
            0 => OnFailure::Stop,
            1 => OnFailure::Shell,
            other => return Err(Failure::Argument(format!("there is nothing {other} to do on failure"))),
        };
        Ok(())
    })
}

/// Sets the name of an image, which must be free, that is made in the backend of the state before a step that fails; the
/// build fails all the same, and a hint of its error names the image. NULL makes none, the default. `name` is copied.
///
/// Fails with `TRANSIENT_STATUS_INVALID_IMAGE_NAME`.
#[unsafe(no_mangle)]
pub extern "C" fn transient_build_options_set_keep_failed(
    options: *mut transient_build_options,
    name: *const c_char,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(options, error_out, |options| {
        options.keep_failed = if name.is_null() { None } else { Some(image_name(name)?) };
        Ok(())
    })
}

/// Sets the memory of the builder VM, in bytes; 0 is 2 GiB or what the host can spare, the default.
#[unsafe(no_mangle)]
pub extern "C" fn transient_build_options_set_memory(
    options: *mut transient_build_options,
    bytes: u64,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(options, error_out, |options| builder::set_memory(&mut options.vm, bytes))
}

/// Sets the virtual CPUs of the builder VM, at most 255; 0 is all that the host has, up to 4, the default.
#[unsafe(no_mangle)]
pub extern "C" fn transient_build_options_set_cpus(
    options: *mut transient_build_options,
    cpus: u32,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(options, error_out, |options| builder::set_cpus(&mut options.vm, cpus))
}

/// Sets what runs the guest's instructions, a `transient_accelerator`. The default is
/// `TRANSIENT_ACCELERATOR_AUTO`.
#[unsafe(no_mangle)]
pub extern "C" fn transient_build_options_set_accelerator(
    options: *mut transient_build_options,
    accelerator: u32,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(options, error_out, |options| builder::set_accelerator(&mut options.vm, accelerator))
}

/// Sets the guest's network, a `transient_network`. The default is `TRANSIENT_NETWORK_USER`.
#[unsafe(no_mangle)]
pub extern "C" fn transient_build_options_set_network(
    options: *mut transient_build_options,
    network: u32,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(options, error_out, |options| builder::set_network(&mut options.vm, network))
}

/// Sets whether a builder VM that was saved when it had booted is restored, which is faster than to boot; where there is
/// none, one is saved. Only without KVM. The default is true.
#[unsafe(no_mangle)]
pub extern "C" fn transient_build_options_set_warm_start(
    options: *mut transient_build_options,
    warm_start: bool,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(options, error_out, |options| {
        options.vm.warm_start = warm_start;
        Ok(())
    })
}

/// Sets the QEMU program, a name or a path. The default is `qemu-system-x86_64`. `program` is copied.
#[unsafe(no_mangle)]
pub extern "C" fn transient_build_options_set_qemu(
    options: *mut transient_build_options,
    program: *const c_char,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(options, error_out, |options| builder::set_qemu(&mut options.vm, program))
}

/// Sets how many seconds QEMU may take to answer; 0 is the default, 10.
#[unsafe(no_mangle)]
pub extern "C" fn transient_build_options_set_qmp_timeout(
    options: *mut transient_build_options,
    seconds: f64,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(options, error_out, |options| {
        options.vm.qmp_timeout = duration::optional(seconds)?;
        Ok(())
    })
}

/// Sets how many seconds the guest may take to answer; 0 is the default, 90, and three times that under TCG.
#[unsafe(no_mangle)]
pub extern "C" fn transient_build_options_set_ssh_timeout(
    options: *mut transient_build_options,
    seconds: f64,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(options, error_out, |options| {
        options.vm.ssh_timeout = duration::optional(seconds)?;
        Ok(())
    })
}

/// Sets what INSPECT and a shell on failure talk to; without it, these are errors. `input` must be a terminal, where keys are read
/// from; it is set to raw mode while the shell runs. The shell's output goes to `output`. Both are duplicated.
/// `term` is the value of `TERM`, for example `xterm-256color`; it is copied.
#[unsafe(no_mangle)]
pub extern "C" fn transient_build_options_set_terminal(
    options: *mut transient_build_options,
    input: c_int,
    output: c_int,
    term: *const c_char,
    error_out: *mut *mut transient_error,
) -> transient_status {
    change(options, error_out, |options| {
        options.terminal = Some(terminal(input, output, text::string(term, "term")?)?);
        Ok(())
    })
}

/// Builds an image, and returns when it is whole and others can see it, or when it has failed and the store is as
/// it was.
///
/// `on_event` may be NULL; else it is called on the calling thread, with `user_data`, for each event, and never
/// again once this function has returned. It must not unwind. `finalizer` may be NULL; else it is called once
/// with `user_data` on the calling thread before this function returns, whatever the outcome.
///
/// `cancel` may be NULL. Any thread may cancel; the build then cleans up and fails with
/// `TRANSIENT_STATUS_CANCELLED`.
///
/// `image_out` may be NULL; else on success the caller owns `*image_out`: `transient_image_free`.
///
/// Any thread may call this, and several at once. No handle that it was given may be freed meanwhile.
///
/// Fails with any status.
#[unsafe(no_mangle)]
pub extern "C" fn transient_build(
    store: *const transient_store,
    options: *const transient_build_options,
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
        let store = borrow(store, "store")?;
        let options = borrow(options, "options")?;
        let image = build(&store.store, &options.0, &mut |event| listener.tell(&event), &token(cancel))?;
        drop(listener);
        transient_image::give(&image, image_out);
        Ok(())
    })
}
