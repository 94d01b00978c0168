"""The exceptions: `Error`, and one subclass for each kind."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class Diagnostic:
    """One error of an Imagefile."""

    message: str
    """What is wrong, one line."""
    file: str
    """The file, as it was named."""
    line: int
    """Counted from 1."""
    column: int
    """In characters, counted from 1."""
    text: str
    """The line itself."""
    help: str | None
    """What was expected there, or what to do."""


class Error(Exception):
    """Why a call failed. `str()` has all that a person needs to see."""

    code: ClassVar[int] = 0
    """The stable number, the same in every language."""
    kind: ClassVar[str] = ""
    """The stable name, the same in every language."""

    message: str = ""
    """What went wrong, one line."""
    causes: tuple[str, ...] = ()
    """Why, the nearest cause first."""
    hints: tuple[str, ...] = ()
    """What can be done about it."""
    file: str | None = None
    """The Imagefile that it is about."""
    line: int | None = None
    """The line of the Imagefile, counted from 1."""
    column: int | None = None
    """The column in characters, counted from 1."""
    step: str | None = None
    """The instruction that failed."""
    exit_status: int | None = None
    """The exit status of the command that failed (128 + n for signal n)."""
    output: str = ""
    """The end of what the failed command or program printed."""
    vms: tuple[str, ...] = ()
    """The VMs that have a disk on the image."""
    diagnostics: tuple[Diagnostic, ...] = ()
    """The errors of an Imagefile, in the order of their places."""
    colored: str = ""
    """What `str()` has, with the colours of a terminal."""

    def __init__(self, report: str, fields: dict[str, Any] | None = None) -> None:
        """Make an error of its report; `fields` are those of the JSON form."""
        super().__init__(report)
        self._fields = fields
        if fields is None:
            return
        self.message = fields["message"]
        self.causes = tuple(fields["causes"])
        self.hints = tuple(fields["hints"])
        location = fields["location"] or {}
        self.file, self.line, self.column = (location.get(key) for key in ("file", "line", "column"))
        self.step = fields["step"]
        self.exit_status = fields["exit_status"]
        self.output = fields["output"]
        self.vms = tuple(fields["vms"])
        self.diagnostics = tuple(
            Diagnostic(**{key: value for key, value in found.items() if key != "span"})
            for found in fields["diagnostics"]
        )

    def __str__(self) -> str:
        """Return the whole report, over several lines."""
        return str(self.args[0]) if self.args else ""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle with all fields, as processes pass exceptions to each other."""
        return type(self), (str(self), self._fields), {"colored": self.colored}


class InvalidArgument(Error, ValueError):
    """An option has a value that cannot be used."""

    code = 100
    kind = "invalid-argument"


class InvalidImageName(Error, ValueError):
    """A text is no image name or image spec."""

    code = 101
    kind = "invalid-image-name"


class InvalidImagefile(Error, ValueError):
    """An Imagefile has errors; each is in `diagnostics`."""

    code = 110
    kind = "invalid-imagefile"


class ImageNotFound(Error, LookupError):
    """The backend has no image of that name."""

    code = 200
    kind = "image-not-found"


class ImageInUse(Error):
    """VMs have disks on the image; they are named in `vms`."""

    code = 201
    kind = "image-in-use"


class InvalidImage(Error):
    """A file is no valid disk image, or one that is refused because it points at other files."""

    code = 202
    kind = "invalid-image"


class SourceFailed(Error):
    """An image could not be brought in from its source."""

    code = 203
    kind = "source-failed"


class ImageExists(Error):
    """The backend has an image of that name already."""

    code = 204
    kind = "image-exists"


class FileExists(Error, FileExistsError):
    """A file is there already that would have to be replaced."""

    code = 205
    kind = "file-exists"


class VmNotFound(Error, LookupError):
    """The VM store has no VM of that name."""

    code = 210
    kind = "vm-not-found"


class VmExists(Error):
    """The VM store has a VM of that name already."""

    code = 211
    kind = "vm-exists"


class VmInUse(Error):
    """Somebody else uses the VM."""

    code = 212
    kind = "vm-in-use"


class VmNotRunning(Error):
    """No VM of that name runs, or none that SSH reaches."""

    code = 213
    kind = "vm-not-running"


class MissingProgram(Error):
    """A program that is needed is not installed."""

    code = 300
    kind = "missing-program"


class ProgramFailed(Error):
    """A program that is needed could not be run, or failed."""

    code = 301
    kind = "program-failed"


class HostDiskFull(Error, OSError):
    """The disk of the host is full."""

    code = 302
    kind = "host-disk-full"


class ApplianceNotFound(Error):
    """No appliance was found, and none could be assembled."""

    code = 310
    kind = "appliance-not-found"


class ApplianceInvalid(Error):
    """The appliance cannot be used, or could not be assembled."""

    code = 311
    kind = "appliance-invalid"


class QemuFailed(Error):
    """QEMU did not start, or ended before its time."""

    code = 400
    kind = "qemu-failed"


class TimedOut(Error, TimeoutError):
    """A VM did not answer in time, or a command took too long."""

    code = 401
    kind = "timeout"


class GuestPanic(Error):
    """The guest's kernel panicked."""

    code = 402
    kind = "guest-panic"


class GuestOutOfMemory(Error):
    """The guest ran out of memory."""

    code = 403
    kind = "guest-out-of-memory"


class KvmUnusable(Error):
    """KVM was asked for and does not work here."""

    code = 404
    kind = "kvm-unusable"


class ConnectionLost(Error):
    """The connection to the builder VM broke, or made no sense."""

    code = 405
    kind = "connection-lost"


class SshFailed(Error):
    """The guest does not let us in by SSH, or is another one than before."""

    code = 406
    kind = "ssh-failed"


class CommandFailed(Error):
    """A command of the image ended with a non-zero status, see `exit_status`."""

    code = 500
    kind = "command-failed"


class StepFailed(Error):
    """A step could not be carried out in the guest."""

    code = 501
    kind = "step-failed"


class InvalidSource(Error, ValueError):
    """A source of COPY or ADD does not exist or cannot be read, or leaves the build directory."""

    code = 502
    kind = "invalid-source"


class NotATerminal(Error):
    """INSPECT needs a terminal, and there is none."""

    code = 503
    kind = "not-a-terminal"


class ImageFull(Error):
    """The filesystem of the image is full."""

    code = 504
    kind = "image-full"


class NoRootFilesystem(Error):
    """An existing image has no filesystem that looks like a root."""

    code = 505
    kind = "no-root-filesystem"


class IoError(Error, OSError):
    """Reading or writing a file failed."""

    code = 900
    kind = "io"


class Cancelled(Error):
    """The call was cancelled."""

    code = 901
    kind = "cancelled"


class Internal(Error):
    """The library is at fault."""

    code = 999
    kind = "internal"


BY_KIND: dict[str, type[Error]] = {subclass.kind: subclass for subclass in Error.__subclasses__()}
"""The class of each kind."""


def _from_core(report: str, colored: str, fields: str) -> Error:
    """Make the exception of an error of the core, which gives itself as JSON."""
    parsed = json.loads(fields)
    error = BY_KIND.get(parsed["kind"], Error)(report, parsed)
    error.colored = colored
    return error
