//! What the library logs.

use std::ffi::{c_char, c_void};
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

use crate::boundary::{Failure, fallible};
use crate::error::transient_error;
use crate::event::transient_finalizer;
use crate::status::transient_status;
use crate::text::c_string;

/// How much a record matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum transient_log_level {
    /// Something failed.
    Error = 1,
    /// Something is not as it should be.
    Warn = 2,
    /// What is done.
    Info = 3,
    /// How it is done.
    Debug = 4,
    /// Every detail.
    Trace = 5,
}

/// Is told of log records. `level` is a `transient_log_level`, `target` the part of the library; both strings are
/// valid during the call only. It may be called on any thread, but never on two at once.
pub type transient_log_callback = Option<
    unsafe extern "C" fn(user_data: *mut c_void, level: u32, target: *const c_char, message: *const c_char),
>;

/// The one callback of the process.
struct Sink {
    callback: transient_log_callback,
    user_data: *mut c_void,
    finalizer: transient_finalizer,
}

// SAFETY: by contract the callback, its data and the finalizer may be used on any thread.
unsafe impl Send for Sink {}

impl Drop for Sink {
    fn drop(&mut self) {
        if let Some(finalizer) = self.finalizer {
            // SAFETY: by contract it may be called once with the caller's own data.
            unsafe { finalizer(self.user_data) };
        }
    }
}

static SINK: Mutex<Option<Sink>> = Mutex::new(None);

/// Sends the library's log records to a callback; without one, they go nowhere.
///
/// `max_level` is the least important `transient_log_level` that is told of. A callback that was set before is
/// never called again once this function has returned, and its finalizer was called. `callback` NULL ends
/// logging. The callback must not call this function, and must not unwind. Any thread may call this.
///
/// Fails with `TRANSIENT_STATUS_INVALID_ARGUMENT` when `max_level` is none, or when the program has a `tracing`
/// subscriber of its own, which then gets the records. `finalizer`, which may be NULL, is called also then.
#[unsafe(no_mangle)]
pub extern "C" fn transient_log_set(
    callback: transient_log_callback,
    max_level: u32,
    user_data: *mut c_void,
    finalizer: transient_finalizer,
    error_out: *mut *mut transient_error,
) -> transient_status {
    let sink = Sink { callback, user_data, finalizer };
    fallible(error_out, || {
        let level = match (sink.callback.is_some(), max_level) {
            (false, _) => LevelFilter::OFF,
            (true, 1) => LevelFilter::ERROR,
            (true, 2) => LevelFilter::WARN,
            (true, 3) => LevelFilter::INFO,
            (true, 4) => LevelFilter::DEBUG,
            (true, 5) => LevelFilter::TRACE,
            (true, other) => return Err(Failure::Argument(format!("there is no log level {other}"))),
        };
        install(level)?;
        let old = SINK.lock().unwrap_or_else(PoisonError::into_inner).replace(sink);
        drop(old);
        Ok(())
    })
}

/// Makes the records come to [`SINK`], from now on up to this level.
fn install(level: LevelFilter) -> Result<(), Failure> {
    use std::sync::OnceLock;
    static INSTALLED: OnceLock<bool> = OnceLock::new();
    MAX_LEVEL.store(level_number(level), std::sync::atomic::Ordering::Relaxed);
    let installed = *INSTALLED.get_or_init(|| {
        tracing::subscriber::set_global_default(tracing_subscriber::registry().with(ToSink)).is_ok()
    });
    tracing::callsite::rebuild_interest_cache();
    if installed {
        return Ok(());
    }
    Err(Failure::Argument("the program has a tracing subscriber of its own".to_owned()))
}

static MAX_LEVEL: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);

fn level_number(level: LevelFilter) -> u32 {
    level.into_level().map_or(0, |level| number(level) as u32)
}

fn number(level: tracing::Level) -> transient_log_level {
    match level {
        tracing::Level::ERROR => transient_log_level::Error,
        tracing::Level::WARN => transient_log_level::Warn,
        tracing::Level::INFO => transient_log_level::Info,
        tracing::Level::DEBUG => transient_log_level::Debug,
        tracing::Level::TRACE => transient_log_level::Trace,
    }
}

/// Passes the library's own records on; those of the crates that it stands on are none of the caller's business.
struct ToSink;

impl<S: tracing::Subscriber> Layer<S> for ToSink {
    fn enabled(&self, metadata: &tracing::Metadata<'_>, _: Context<'_, S>) -> bool {
        let wanted = MAX_LEVEL.load(std::sync::atomic::Ordering::Relaxed);
        metadata.target().starts_with("transient") && number(*metadata.level()) as u32 <= wanted
    }

    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut text = Text::default();
        event.record(&mut text);
        let (target, message) = (c_string(event.metadata().target()), c_string(text.0));
        let sink = SINK.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Sink { callback: Some(callback), user_data, .. }) = &*sink else { return };
        let level = number(*event.metadata().level()) as u32;
        // SAFETY: by contract it may be called on any thread with the caller's own data.
        unsafe { callback(*user_data, level, target.as_ptr(), message.as_ptr()) };
    }
}

/// A record as one line: the message, then `name=value` of each field.
#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if !self.0.is_empty() {
            self.0.push(' ');
        }
        // Writing to a string cannot fail.
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            name => write!(self.0, "{name}={value:?}"),
        };
    }
}
