//! The object that says why a call failed.

use std::error::Error as _;
use std::ffi::{CString, c_char};

use transient_core::Error;
use transient_core::imagefile::Diagnostic;

use crate::boundary::{Failure, free, read};
use crate::status::transient_status;
use crate::text::{Strings, address, c_path, c_string};

/// Why a call failed. It never changes: several threads may read it at once.
#[derive(Debug)]
pub struct transient_error {
    status: transient_status,
    message: CString,
    report: CString,
    report_colored: CString,
    causes: Strings,
    hints: Strings,
    file: Option<CString>,
    line: usize,
    column: usize,
    step: Option<CString>,
    exit_status: Option<u32>,
    output: Vec<u8>,
    vms: Strings,
    diagnostics: Vec<OwnedDiagnostic>,
}

/// One error of an Imagefile. Made by the library alone; later releases may add fields at the end.
#[derive(Debug)]
#[repr(C)]
pub struct transient_diagnostic {
    /// What is wrong, one line.
    pub message: *const c_char,
    /// The file, as it was named to the library.
    pub file: *const c_char,
    /// The line, counted from 1.
    pub line: usize,
    /// The column in characters, counted from 1.
    pub column: usize,
    /// The first byte of the place in the text.
    pub start: usize,
    /// The byte after the last.
    pub end: usize,
    /// The line itself, without its end.
    pub text: *const c_char,
    /// What was expected there, or what to do; NULL when that is not known.
    pub help: *const c_char,
}

#[derive(Debug)]
struct OwnedDiagnostic {
    view: transient_diagnostic,
    _strings: [Option<CString>; 4],
}

impl OwnedDiagnostic {
    fn new(diagnostic: &Diagnostic) -> Self {
        let strings = [
            Some(c_string(&diagnostic.message)),
            Some(c_path(&diagnostic.file)),
            Some(c_string(&diagnostic.text)),
            diagnostic.help.as_ref().map(c_string),
        ];
        let [message, file, text, help] = strings.each_ref().map(|text| address(text.as_ref()));
        let view = transient_diagnostic {
            message,
            file,
            line: diagnostic.line,
            column: diagnostic.column,
            start: diagnostic.span.start,
            end: diagnostic.span.end,
            text,
            help,
        };
        Self { view, _strings: strings }
    }
}

impl transient_error {
    pub(crate) fn new(failure: &Failure) -> Self {
        match failure {
            Failure::Core(error) => Self::from_core(error),
            Failure::Argument(message) => Self::plain(transient_status::InvalidArgument, message),
            Failure::ImageName(message) => Self::plain(transient_status::InvalidImageName, message),
            Failure::NoImage(name) => Self::plain(
                transient_status::ImageNotFound,
                &format!("No image in backend with name '{name}'"),
            ),
            Failure::Panic(message) => Self::plain(
                transient_status::Internal,
                &format!("the library stopped by a fault of its own: {message}"),
            ),
        }
    }

    pub(crate) fn status(&self) -> transient_status {
        self.status
    }

    fn plain(status: transient_status, message: &str) -> Self {
        Self {
            status,
            message: c_string(message),
            report: c_string(message),
            report_colored: c_string(message),
            causes: Strings::default(),
            hints: Strings::default(),
            file: None,
            line: 0,
            column: 0,
            step: None,
            exit_status: None,
            output: nul_terminated(""),
            vms: Strings::default(),
            diagnostics: Vec::new(),
        }
    }

    fn from_core(error: &Error) -> Self {
        let mut causes = Vec::new();
        let mut source = error.source();
        while let Some(cause) = source {
            causes.push(cause.to_string());
            source = cause.source();
        }
        let location = error.location();
        Self {
            status: error.kind().into(),
            message: c_string(error.to_string()),
            report: c_string(error.report()),
            report_colored: c_string(error.report_colored()),
            causes: Strings::new(causes),
            hints: Strings::new(error.hints()),
            file: location.map(|location| c_path(&location.file)),
            line: location.map_or(0, |location| location.line),
            column: location.map_or(0, |location| location.column),
            step: error.step().map(c_string),
            exit_status: error.exit_status(),
            output: nul_terminated(error.output()),
            vms: Strings::new(error.vms()),
            diagnostics: error.diagnostics().iter().map(OwnedDiagnostic::new).collect(),
        }
    }
}

/// Bytes that may hold a NUL, for which a length is given; a NUL behind them does no harm.
fn nul_terminated(text: &str) -> Vec<u8> {
    text.bytes().chain([0]).collect()
}

/// Frees an error and all strings that came from it. NULL is ignored.
#[unsafe(no_mangle)]
pub extern "C" fn transient_error_free(error: *mut transient_error) {
    free(error);
}

/// Returns the status that the call returned. NULL gives 0.
#[unsafe(no_mangle)]
pub extern "C" fn transient_error_status(error: *const transient_error) -> u32 {
    read(error, |error| error.status as u32)
}

/// Returns what went wrong, in one line. Lives as long as the error.
#[unsafe(no_mangle)]
pub extern "C" fn transient_error_message(error: *const transient_error) -> *const c_char {
    read(error, |error| error.message.as_ptr())
}

/// Returns all that a person needs to see, over several lines: message, causes, the marked lines of an Imagefile,
/// the end of a command's output, hints. Lives as long as the error.
#[unsafe(no_mangle)]
pub extern "C" fn transient_error_report(error: *const transient_error) -> *const c_char {
    read(error, |error| error.report.as_ptr())
}

/// Returns the report with the colours of a terminal. Lives as long as the error.
#[unsafe(no_mangle)]
pub extern "C" fn transient_error_report_colored(error: *const transient_error) -> *const c_char {
    read(error, |error| error.report_colored.as_ptr())
}

/// Returns how many causes there are.
#[unsafe(no_mangle)]
pub extern "C" fn transient_error_causes_len(error: *const transient_error) -> usize {
    read(error, |error| error.causes.len())
}

/// Returns a cause, the nearest first; NULL behind the last. Lives as long as the error.
#[unsafe(no_mangle)]
pub extern "C" fn transient_error_cause(error: *const transient_error, index: usize) -> *const c_char {
    read(error, |error| error.causes.get(index))
}

/// Returns how many hints there are.
#[unsafe(no_mangle)]
pub extern "C" fn transient_error_hints_len(error: *const transient_error) -> usize {
    read(error, |error| error.hints.len())
}

/// Returns something that can be done about it; NULL behind the last. Lives as long as the error.
#[unsafe(no_mangle)]
pub extern "C" fn transient_error_hint(error: *const transient_error, index: usize) -> *const c_char {
    read(error, |error| error.hints.get(index))
}

/// Returns the Imagefile that it is about, or NULL. Lives as long as the error.
#[unsafe(no_mangle)]
pub extern "C" fn transient_error_file(error: *const transient_error) -> *const c_char {
    read(error, |error| address(error.file.as_ref()))
}

/// Returns the line of the Imagefile, counted from 1; 0 when it is about none.
#[unsafe(no_mangle)]
pub extern "C" fn transient_error_line(error: *const transient_error) -> usize {
    read(error, |error| error.line)
}

/// Returns the column in characters, counted from 1; 0 when it is about none.
#[unsafe(no_mangle)]
pub extern "C" fn transient_error_column(error: *const transient_error) -> usize {
    read(error, |error| error.column)
}

/// Returns the instruction that failed, or NULL. Lives as long as the error.
#[unsafe(no_mangle)]
pub extern "C" fn transient_error_step(error: *const transient_error) -> *const c_char {
    read(error, |error| address(error.step.as_ref()))
}

/// Returns whether a command of the image failed, and if so writes its exit status (128 + n for signal n).
/// `status_out` may be NULL.
#[unsafe(no_mangle)]
pub extern "C" fn transient_error_exit_status(error: *const transient_error, status_out: *mut u32) -> bool {
    read(error, |error| {
        if let (Some(status), false) = (error.exit_status, status_out.is_null()) {
            // SAFETY: not null, and by contract a valid place.
            unsafe { status_out.write(status) };
        }
        error.exit_status.is_some()
    })
}

/// Returns the end of what the failed command or program printed, and writes its length in bytes, which does not
/// count the NUL behind it. `length_out` may be NULL. Lives as long as the error.
#[unsafe(no_mangle)]
pub extern "C" fn transient_error_output(
    error: *const transient_error,
    length_out: *mut usize,
) -> *const c_char {
    read(error, |error| {
        if !length_out.is_null() {
            // SAFETY: not null, and by contract a valid place.
            unsafe { length_out.write(error.output.len() - 1) };
        }
        error.output.as_ptr().cast()
    })
}

/// Returns how many VMs have a disk on the image.
#[unsafe(no_mangle)]
pub extern "C" fn transient_error_vms_len(error: *const transient_error) -> usize {
    read(error, |error| error.vms.len())
}

/// Returns the name of a VM that has a disk on the image; NULL behind the last. Lives as long as the error.
#[unsafe(no_mangle)]
pub extern "C" fn transient_error_vm(error: *const transient_error, index: usize) -> *const c_char {
    read(error, |error| error.vms.get(index))
}

/// Returns how many errors the Imagefile has.
#[unsafe(no_mangle)]
pub extern "C" fn transient_error_diagnostics_len(error: *const transient_error) -> usize {
    read(error, |error| error.diagnostics.len())
}

/// Returns an error of the Imagefile, in the order of their places; NULL behind the last. Lives as long as the
/// error.
#[unsafe(no_mangle)]
pub extern "C" fn transient_error_diagnostic(
    error: *const transient_error,
    index: usize,
) -> *const transient_diagnostic {
    read(error, |error| {
        error.diagnostics.get(index).map_or(std::ptr::null(), |diagnostic| &raw const diagnostic.view)
    })
}
