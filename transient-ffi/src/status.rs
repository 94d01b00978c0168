//! The status that every fallible function returns.

use std::ffi::{CString, c_char};
use std::sync::OnceLock;

use transient_core::ErrorKind;

use crate::boundary::infallible;
use crate::text::{address, c_string};

/// What became of a call: 0, or the number of an error, the same in every language.
///
/// Numbers are never reused. The 100s are what the caller passed in, the 200s the store, the 300s the host, the
/// 400s VMs as they run, the 500s a build's own steps, the 900s the rest. Later releases may add some.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum transient_status {
    /// All went well.
    Ok = 0,
    /// An option has a value that cannot be used.
    InvalidArgument = 100,
    /// A text is no image name or image spec.
    InvalidImageName = 101,
    /// An Imagefile has errors; each is in transient_error_diagnostic().
    InvalidImagefile = 110,
    /// The backend has no image of that name.
    ImageNotFound = 200,
    /// VMs have disks on the image; they are named in transient_error_vm().
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
    /// The builder VM, or another one, did not answer in time, or what is done took too long.
    Timeout = 401,
    /// The guest's kernel panicked.
    GuestPanic = 402,
    /// The guest ran out of memory.
    GuestOutOfMemory = 403,
    /// KVM was asked for and does not work here.
    KvmUnusable = 404,
    /// The connection to the builder VM, or to another one, broke or made no sense.
    ConnectionLost = 405,
    /// The guest does not let us in by SSH, or is another one than before.
    SshFailed = 406,
    /// A command of the image ended with a non-zero status, see transient_error_exit_status().
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

impl From<ErrorKind> for transient_status {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::InvalidArgument => Self::InvalidArgument,
            ErrorKind::InvalidImageName => Self::InvalidImageName,
            ErrorKind::InvalidImagefile => Self::InvalidImagefile,
            ErrorKind::ImageNotFound => Self::ImageNotFound,
            ErrorKind::ImageInUse => Self::ImageInUse,
            ErrorKind::InvalidImage => Self::InvalidImage,
            ErrorKind::SourceFailed => Self::SourceFailed,
            ErrorKind::ImageExists => Self::ImageExists,
            ErrorKind::FileExists => Self::FileExists,
            ErrorKind::VmNotFound => Self::VmNotFound,
            ErrorKind::VmExists => Self::VmExists,
            ErrorKind::VmInUse => Self::VmInUse,
            ErrorKind::VmNotRunning => Self::VmNotRunning,
            ErrorKind::MissingProgram => Self::MissingProgram,
            ErrorKind::ProgramFailed => Self::ProgramFailed,
            ErrorKind::HostDiskFull => Self::HostDiskFull,
            ErrorKind::ApplianceNotFound => Self::ApplianceNotFound,
            ErrorKind::ApplianceInvalid => Self::ApplianceInvalid,
            ErrorKind::QemuFailed => Self::QemuFailed,
            ErrorKind::Timeout => Self::Timeout,
            ErrorKind::GuestPanic => Self::GuestPanic,
            ErrorKind::GuestOutOfMemory => Self::GuestOutOfMemory,
            ErrorKind::KvmUnusable => Self::KvmUnusable,
            ErrorKind::ConnectionLost => Self::ConnectionLost,
            ErrorKind::SshFailed => Self::SshFailed,
            ErrorKind::CommandFailed => Self::CommandFailed,
            ErrorKind::StepFailed => Self::StepFailed,
            ErrorKind::InvalidSource => Self::InvalidSource,
            ErrorKind::NotATerminal => Self::NotATerminal,
            ErrorKind::ImageFull => Self::ImageFull,
            ErrorKind::NoRootFilesystem => Self::NoRootFilesystem,
            ErrorKind::Io => Self::Io,
            ErrorKind::Cancelled => Self::Cancelled,
            _ => Self::Internal,
        }
    }
}

/// Returns the stable name of a status, for example `image-in-use`; `ok` for 0, NULL for a number that is none.
///
/// The string lives as long as the program. Any thread may call this.
#[unsafe(no_mangle)]
pub extern "C" fn transient_status_name(status: u32) -> *const c_char {
    static NAMES: OnceLock<Vec<(u32, CString)>> = OnceLock::new();
    infallible(|| {
        let names = NAMES.get_or_init(|| {
            let kinds = ErrorKind::ALL.iter().map(|kind| (kind.code(), c_string(kind.name())));
            std::iter::once((0, c_string("ok"))).chain(kinds).collect()
        });
        address(names.iter().find(|(code, _)| *code == status).map(|(_, name)| name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_core() {
        for kind in ErrorKind::ALL {
            assert_eq!(transient_status::from(*kind) as u32, kind.code(), "{}", kind.name());
            assert!(!transient_status_name(kind.code()).is_null());
        }
        assert!(transient_status_name(1).is_null());
    }
}
