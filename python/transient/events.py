"""What a long call tells while it works: give `on_event` a function that takes one of these.

>>> def on_event(event):
...     if isinstance(event, StepStarted):
...         print(f"{event.step}/{event.steps}: {event.instruction}")
>>> on_event(StepStarted(step=1, steps=3, instruction="FROM scratch", line=1))
1/3: FROM scratch
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Union

if TYPE_CHECKING:
    from pathlib import Path

    from .image import Image


@dataclass(frozen=True)
class StepStarted:
    """A step of a build begins."""

    step: int
    """Counted from 1."""
    steps: int
    """How many steps the build has."""
    instruction: str
    """The instruction, in its usual form."""
    line: int
    """The line of the Imagefile where it begins, counted from 1."""


@dataclass(frozen=True)
class StepFinished:
    """A step of a build is done."""

    step: int
    """Counted from 1."""
    elapsed: float
    """How many seconds it took."""
    cached: bool
    """Whether it was not carried out, because its result was in the cache."""


@dataclass(frozen=True)
class Difference:
    """Something that is not as in the last build of the same image."""

    kind: str
    """What differs: `instruction`, `base-image`, `appliance`, `network`, or of a file: `existence`,
    `file-type`, `mode`, `content`, `link-target`. Later releases may have more."""
    path: str | None
    """The file that it is about, from the build directory; `None` when it is about no file."""
    before: str | None
    """How it was: an instruction, a mode, a type or a digest, never contents; `None` when it is new."""
    now: str | None
    """How it is now; `None` when it is not there any more."""
    message: str
    """The same in words, in one line."""


@dataclass(frozen=True)
class Explanation:
    """Why steps are carried out and not taken from the cache.

    The first of them is compared with the last build of the same image. Only when that is asked for.
    """

    step: int | None
    """The first step that is carried out, counted from 1; `None` when all are in the cache."""
    reason: str
    """Why, in one sentence."""
    differences: tuple[Difference, ...]
    """What differs, or the first of it. Digests, never contents."""
    more: int
    """How many differences there are besides."""


@dataclass(frozen=True)
class StepFailed:
    """A step failed, and a shell opens in the state before it. The build ends with the error after that."""

    step: int
    """Counted from 1."""
    error: str
    """The whole error as a person needs to see it, over several lines."""


@dataclass(frozen=True)
class BuilderStarted:
    """The builder VM runs and takes commands."""

    accelerator: str
    """What runs its instructions: `kvm` or `tcg`."""
    elapsed: float
    """Seconds since the start of QEMU."""
    warm: bool
    """Whether it did not boot: it was restored from one that was saved."""


@dataclass(frozen=True)
class VmStarting:
    """Everything is in place, and a VM starts."""

    name: str
    """Its name."""
    image: str
    """The image that it starts from."""


@dataclass(frozen=True)
class SerialOutput:
    """The serial console of a VM showed something, before SSH was connected."""

    data: bytes
    """The bytes, as they came."""


@dataclass(frozen=True)
class Output:
    """A command of the image, or of the guest, wrote something."""

    stream: str
    """`stdout` or `stderr`."""
    data: bytes
    """The bytes, as they came."""


@dataclass(frozen=True)
class Progress:
    """Bytes were moved."""

    task: str
    """What is being done, for example `Copying rootfs.tar.xz`."""
    done: int
    """Bytes done so far."""
    total: int | None
    """Bytes in all, where that is known."""
    finished: bool
    """Whether this is the task's last progress."""


@dataclass(frozen=True)
class Warning:  # noqa: A001 - the name that it has in every language
    """Something that a person should know, but that is no failure."""

    message: str
    """What, in one sentence."""
    hint: str | None
    """What can be done about it."""


@dataclass(frozen=True)
class Note:
    """A detail of interest, for example an fstab entry that was skipped."""

    message: str
    """What, in one sentence."""


@dataclass(frozen=True)
class BuildFinished:
    """The image is whole, and others can see it."""

    image: Image
    """The image."""
    elapsed: float
    """Seconds since the start of the build."""


@dataclass(frozen=True)
class PullFinished:
    """An image is in the store, as was asked for."""

    image: Image
    """The image."""
    fetched: bool
    """Whether it was brought in; else it was there already."""
    elapsed: float
    """How many seconds it took."""


@dataclass(frozen=True)
class ExportFinished:
    """The file of an export is whole, and at its place."""

    path: Path
    """The file."""
    real_size: int
    """What it occupies, in bytes."""
    elapsed: float
    """How many seconds it took."""


Event = Union[
    StepStarted,
    StepFinished,
    Explanation,
    StepFailed,
    BuilderStarted,
    VmStarting,
    SerialOutput,
    Output,
    Progress,
    Warning,
    Note,
    BuildFinished,
    PullFinished,
    ExportFinished,
]
"""Any of them. Later releases may have more."""
