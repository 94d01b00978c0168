//! The one error type, and its stable codes.

use std::error::Error as StdError;
use std::fmt;
use std::path::PathBuf;

use serde::ser::SerializeMap;

/// What went wrong, in kinds that programs can tell apart.
///
/// Numbers are stable and never reused: the 100s are what the caller passed in, the 200s the store,
/// the 300s the host, the 400s the builder VM, the 500s a build's own steps, the 900s the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u32)]
pub enum ErrorKind {
    /// An option has a value that cannot be used.
    InvalidArgument = 100,
    /// A text is no image name or image spec.
    InvalidImageName = 101,
    /// An Imagefile has errors; each is in [`Error::diagnostics`].
    InvalidImagefile = 110,
    /// The backend has no image of that name.
    ImageNotFound = 200,
    /// VMs have disks on the image; they are named in [`Error::vms`].
    ImageInUse = 201,
    /// A file is no valid disk image, or one that is refused because it points at other files.
    InvalidImage = 202,
    /// An image could not be brought in from its source.
    SourceFailed = 203,
    /// The backend has an image of that name already.
    ImageExists = 204,
    /// A file is there already that would have to be replaced.
    FileExists = 205,
    /// The VM store has no VM of that name.
    VmNotFound = 210,
    /// The VM store has a VM of that name already.
    VmExists = 211,
    /// Somebody else uses the VM.
    VmInUse = 212,
    /// No VM of that name runs, or none that SSH reaches.
    VmNotRunning = 213,
    /// A program that is needed is not installed.
    MissingProgram = 300,
    /// A program that is needed could not be run, or failed.
    ProgramFailed = 301,
    /// The disk of the host is full.
    HostDiskFull = 302,
    /// No appliance was found, and none could be assembled.
    ApplianceNotFound = 310,
    /// The appliance cannot be used, or could not be assembled.
    ApplianceInvalid = 311,
    /// QEMU did not start, or ended before its time.
    QemuFailed = 400,
    /// The builder VM did not answer in time.
    Timeout = 401,
    /// The guest's kernel panicked.
    GuestPanic = 402,
    /// The guest ran out of memory.
    GuestOutOfMemory = 403,
    /// KVM was asked for and does not work here.
    KvmUnusable = 404,
    /// The connection to the builder VM broke, or made no sense.
    ConnectionLost = 405,
    /// The guest does not let us in by SSH, or is another one than before.
    SshFailed = 406,
    /// A command of the image ended with a non-zero status, see [`Error::exit_status`].
    CommandFailed = 500,
    /// A step could not be carried out in the guest.
    StepFailed = 501,
    /// A source of COPY or ADD does not exist or cannot be read, or leaves the build directory.
    InvalidSource = 502,
    /// INSPECT needs a terminal, and there is none.
    NotATerminal = 503,
    /// The filesystem of the image is full.
    ImageFull = 504,
    /// An existing image has no filesystem that looks like a root.
    NoRootFilesystem = 505,
    /// Reading or writing a file failed.
    Io = 900,
    /// The call was cancelled.
    Cancelled = 901,
    /// The library is at fault.
    Internal = 999,
}

impl ErrorKind {
    /// All of them, in the order of their numbers.
    pub const ALL: &[Self] = &[
        Self::InvalidArgument,
        Self::InvalidImageName,
        Self::InvalidImagefile,
        Self::ImageNotFound,
        Self::ImageInUse,
        Self::InvalidImage,
        Self::SourceFailed,
        Self::ImageExists,
        Self::FileExists,
        Self::VmNotFound,
        Self::VmExists,
        Self::VmInUse,
        Self::VmNotRunning,
        Self::MissingProgram,
        Self::ProgramFailed,
        Self::HostDiskFull,
        Self::ApplianceNotFound,
        Self::ApplianceInvalid,
        Self::QemuFailed,
        Self::Timeout,
        Self::GuestPanic,
        Self::GuestOutOfMemory,
        Self::KvmUnusable,
        Self::ConnectionLost,
        Self::SshFailed,
        Self::CommandFailed,
        Self::StepFailed,
        Self::InvalidSource,
        Self::NotATerminal,
        Self::ImageFull,
        Self::NoRootFilesystem,
        Self::Io,
        Self::Cancelled,
        Self::Internal,
    ];

    /// Returns the stable number.
    pub fn code(self) -> u32 {
        self as u32
    }

    /// Returns the stable name, as in `--format json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidArgument => "invalid-argument",
            Self::InvalidImageName => "invalid-image-name",
            Self::InvalidImagefile => "invalid-imagefile",
            Self::ImageNotFound => "image-not-found",
            Self::ImageInUse => "image-in-use",
            Self::InvalidImage => "invalid-image",
            Self::SourceFailed => "source-failed",
            Self::ImageExists => "image-exists",
            Self::FileExists => "file-exists",
            Self::VmNotFound => "vm-not-found",
            Self::VmExists => "vm-exists",
            Self::VmInUse => "vm-in-use",
            Self::VmNotRunning => "vm-not-running",
            Self::MissingProgram => "missing-program",
            Self::ProgramFailed => "program-failed",
            Self::HostDiskFull => "host-disk-full",
            Self::ApplianceNotFound => "appliance-not-found",
            Self::ApplianceInvalid => "appliance-invalid",
            Self::QemuFailed => "qemu-failed",
            Self::Timeout => "timeout",
            Self::GuestPanic => "guest-panic",
            Self::GuestOutOfMemory => "guest-out-of-memory",
            Self::KvmUnusable => "kvm-unusable",
            Self::ConnectionLost => "connection-lost",
            Self::SshFailed => "ssh-failed",
            Self::CommandFailed => "command-failed",
            Self::StepFailed => "step-failed",
            Self::InvalidSource => "invalid-source",
            Self::NotATerminal => "not-a-terminal",
            Self::ImageFull => "image-full",
            Self::NoRootFilesystem => "no-root-filesystem",
            Self::Io => "io",
            Self::Cancelled => "cancelled",
            Self::Internal => "internal",
        }
    }
}

/// What helps where the disk is full that the cache is on.
pub(crate) const CACHE_IS_FULL: &str = "free some space where the cache is, for example by `transient cache prune`, or have \
    TRANSIENT_CACHE name another place";

/// A place in an Imagefile.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Location {
    /// The file, as it was named to the library.
    pub file: PathBuf,
    /// The line, counted from 1.
    pub line: usize,
    /// The column in characters, counted from 1.
    pub column: usize,
}

/// Why a call failed: a message of one line, and whatever more is known.
///
/// `Display` is the message alone; the chain of causes is behind [`StdError::source`]. [`Error::report`]
/// puts all of it into one readable block.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
    hints: Vec<String>,
    location: Option<Location>,
    step: Option<String>,
    exit_status: Option<u32>,
    output: String,
    vms: Vec<String>,
    diagnostics: Vec<crate::imagefile::Diagnostic>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            source: None,
            hints: Vec::new(),
            location: None,
            step: None,
            exit_status: None,
            output: String::new(),
            vms: Vec::new(),
            diagnostics: Vec::new(),
        }))
    }

    pub(crate) fn cancelled() -> Self {
        Self::new(ErrorKind::Cancelled, "cancelled")
    }

    /// An error of the operating system about `what`; a full disk is told apart.
    pub(crate) fn io(what: impl Into<String>, source: std::io::Error) -> Self {
        let full =
            matches!(source.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded);
        let kind = if full { ErrorKind::HostDiskFull } else { ErrorKind::Io };
        Self::new(kind, what).caused_by(source)
    }

    #[must_use]
    pub(crate) fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hints.push(hint.into());
        self
    }

    #[must_use]
    pub(crate) fn at(mut self, location: Location) -> Self {
        self.0.location.get_or_insert(location);
        self
    }

    #[must_use]
    pub(crate) fn in_step(mut self, step: impl Into<String>) -> Self {
        self.0.step.get_or_insert(step.into());
        self
    }

    #[must_use]
    pub(crate) fn with_exit_status(mut self, status: u32) -> Self {
        self.0.exit_status = Some(status);
        self
    }

    #[must_use]
    pub(crate) fn with_output(mut self, output: impl Into<String>) -> Self {
        self.0.output = output.into();
        self
    }

    #[must_use]
    pub(crate) fn with_vms(mut self, vms: Vec<String>) -> Self {
        self.0.vms = vms;
        self
    }

    #[must_use]
    pub(crate) fn with_diagnostics(mut self, diagnostics: Vec<crate::imagefile::Diagnostic>) -> Self {
        self.0.diagnostics = diagnostics;
        self
    }

    /// Returns the kind, whose code and name are stable.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns what can be done about it.
    pub fn hints(&self) -> &[String] {
        &self.0.hints
    }

    /// Returns the place in the Imagefile that it is about.
    pub fn location(&self) -> Option<&Location> {
        self.0.location.as_ref()
    }

    /// Returns the instruction that failed.
    pub fn step(&self) -> Option<&str> {
        self.0.step.as_deref()
    }

    /// Returns the exit status of the command that failed (128 + n for signal n).
    pub fn exit_status(&self) -> Option<u32> {
        self.0.exit_status
    }

    /// Returns the end of what the failed command or program printed.
    pub fn output(&self) -> &str {
        &self.0.output
    }

    /// Returns the VMs that have a disk on the image.
    pub fn vms(&self) -> &[String] {
        &self.0.vms
    }

    /// Returns the errors of an Imagefile, in the order of their places.
    pub fn diagnostics(&self) -> &[crate::imagefile::Diagnostic] {
        &self.0.diagnostics
    }

    /// Returns everything that a person needs to see, over several lines, without a final newline.
    pub fn report(&self) -> String {
        self.render(false)
    }

    /// Returns the [`Self::report`] with the colours of a terminal.
    pub fn report_colored(&self) -> String {
        self.render(true)
    }

    fn render(&self, color: bool) -> String {
        let mut report = self.0.message.clone();
        let mut source = self.source();
        while let Some(cause) = source {
            report.push_str(": ");
            report.push_str(&cause.to_string());
            source = cause.source();
        }
        if !self.0.diagnostics.is_empty() {
            report.push_str("\n\n");
            report.push_str(&crate::imagefile::render(&self.0.diagnostics, color));
        } else if let Some(location) = &self.0.location {
            report.push_str(&format!(
                "\n  --> {}:{}:{}",
                location.file.display(),
                location.line,
                location.column
            ));
            if let Some(step) = &self.0.step {
                report.push_str(&format!("\n   |  {}", step.lines().next().unwrap_or_default()));
            }
        }
        if !self.0.output.is_empty() {
            report.push_str("\nthe end of its output:");
            for line in self.0.output.lines() {
                report.push_str("\n    ");
                report.push_str(line);
            }
        }
        for hint in &self.0.hints {
            report.push_str("\nhint: ");
            report.push_str(hint);
        }
        report
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Error({}, {:?})", self.0.kind.name(), self.report())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

impl serde::Serialize for Error {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut causes = Vec::new();
        let mut source = self.source();
        while let Some(cause) = source {
            causes.push(cause.to_string());
            source = cause.source();
        }
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("code", &self.kind().code())?;
        map.serialize_entry("kind", self.kind().name())?;
        map.serialize_entry("message", &self.0.message)?;
        map.serialize_entry("causes", &causes)?;
        map.serialize_entry("hints", &self.0.hints)?;
        map.serialize_entry("location", &self.0.location)?;
        map.serialize_entry("step", &self.0.step)?;
        map.serialize_entry("exit_status", &self.0.exit_status)?;
        map.serialize_entry("output", &self.0.output)?;
        map.serialize_entry("vms", &self.0.vms)?;
        map.serialize_entry("diagnostics", &self.0.diagnostics)?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_kind_is_listed_once() {
        let names: HashSet<_> = ErrorKind::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(names.len(), ErrorKind::ALL.len());
        assert!(ErrorKind::ALL.is_sorted_by_key(|kind| kind.code()));
        // The compiler does not count variants; the source does.
        let (_, source) =
            include_str!("error.rs").split_once("pub enum ErrorKind {").expect("the enumeration");
        let numbered =
            source.lines().take_while(|line| *line != "}").filter(|line| line.contains(" = ")).count();
        assert_eq!(numbered, ErrorKind::ALL.len());
    }
}
