"""What a build will do, known before anything boots: `Imagefile.plan`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from .instructions import Instruction


@dataclass(frozen=True)
class PlacedPartition:
    """A partition of a new disk, in its place."""

    number: int
    """Its number in the table."""
    start: int
    """Its first byte on the disk, a multiple of 1 MiB."""
    size: int | None
    """In bytes; `None` is all that is left."""
    boot: bool
    """MBR: active; GPT: the attribute "legacy BIOS bootable"."""
    kind: Literal["linux", "swap", "efi-system", "bios-boot"]
    """What its type says that it holds."""


@dataclass(frozen=True)
class Mount:
    """A filesystem that is mounted during the build."""

    partition: int
    """The partition's number."""
    path: str
    """An absolute path in the image."""
    filesystem: str
    """The filesystem that is on it, for example `ext4`."""


@dataclass(frozen=True)
class DiskLayout:
    """A new disk, its partitions placed."""

    size: int
    """In bytes."""
    label: Literal["GPT", "MBR"]
    """The kind of the partition table."""
    partitions: tuple[PlacedPartition, ...]
    """In the order of the Imagefile."""
    mounts: tuple[Mount, ...]
    """What is mounted where, `/` before what lies in it."""


@dataclass(frozen=True)
class Plan:
    r"""What a build will do, in order.

    >>> import transient
    >>> text = "FROM scratch\nDISK 1 GB MBR\nPARTITION 1 FORMAT ext4 MOUNT / FLAGS boot\nRUN true\n"
    >>> plan = transient.Imagefile.parse(text).plan
    >>> plan.disk.partitions
    (PlacedPartition(number=1, start=1048576, size=None, boot=True, kind='linux'),)
    >>> [step.text for step in plan.steps][-1]
    'RUN true'
    """

    base: str | None
    """The image that it starts from, as `FROM` has it; `None` is `scratch`, an empty disk."""
    disk: DiskLayout | None
    """The disk to make, for a build from scratch."""
    steps: tuple[Instruction, ...]
    """One for each instruction, `FROM` included; step numbers of events count them from 1."""
