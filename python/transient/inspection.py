"""What is known of an image, `Store.inspect`, and whether it is whole, `Store.check`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Union

if TYPE_CHECKING:
    from pathlib import Path

    from .image import Image


@dataclass(frozen=True)
class Parent:
    """The image that a build started from."""

    name: str
    """Its name at that time."""
    id: str | None
    """The `Provenance.id` that it had, if there was one."""
    length: int
    """The length of its file, in bytes."""
    modified: int
    """When its file was last written, in nanoseconds since 1970."""


@dataclass(frozen=True)
class Build:
    """An image was made from an Imagefile."""

    parent: Parent | None
    """The image that it started from; `None` is an empty disk."""
    accelerator: str
    """What ran the builder VM's instructions: `kvm` or `tcg`."""
    appliance: str
    """The key of the appliance that was the builder VM."""


@dataclass(frozen=True)
class Pull:
    """An image was brought in from a source."""

    spec: str
    """The spec, without what may be secret in a URL."""
    format: str
    """The format that the source had, for example `vmdk`."""
    compression: str | None
    """How the source was compressed, for example `xz`."""
    checksum: str | None
    """What the source was compared with, `sha256=...` for example."""


MadeBy = Union[Build, Pull, None]
"""What an image was made from; `None` is something that only a later release knows."""


@dataclass(frozen=True)
class HistoryStep:
    """One step of those that made an image."""

    image: str
    """The image that it was done for."""
    instruction: str
    """The instruction of the Imagefile, or `PULL` and the spec, without what may be secret in a URL."""
    finished: str
    """When it was done, as in RFC 3339, in UTC."""
    elapsed: float
    """How many seconds it took."""


@dataclass(frozen=True)
class Provenance:
    """How an image was made."""

    id: str
    """Tells this making from any other. The same image under another name has the same."""
    created: str
    """When the image was whole, as in RFC 3339, in UTC."""
    version: str
    """The release of transient that made it."""
    made_by: MadeBy
    """What it was made from."""
    steps: tuple[HistoryStep, ...]
    """Every step that led to it, the first one first; those of its parent too."""


@dataclass(frozen=True)
class Inspection:
    """What is known of an image."""

    image: Image
    """Its name, file and sizes."""
    format: Literal["qcow2"]
    """The format of the file."""
    created: str
    """When the file was last written, as in RFC 3339, in UTC."""
    compat: str
    """The release of QEMU that this version of qcow2 came with: `0.10` or `1.1`."""
    compression: str
    """How the clusters that are compressed are: `zlib` or `zstd`."""
    cluster_size: int
    """The size of a cluster, in bytes."""
    parent: str | None
    """The name of the image that it was built from, if that is known and it was one."""
    provenance: Provenance | None
    """How it was made, if that is known: it is not of what release 0.25 made."""
    vms: tuple[str, ...]
    """The VMs that have a disk on it, sorted."""

    @property
    def history(self) -> tuple[HistoryStep, ...]:
        """The steps that made the image and its parents, the newest first; none if nothing is known."""
        return self.provenance.steps[::-1] if self.provenance else ()


@dataclass(frozen=True)
class ImageCheck:
    """What was found out about an image's file."""

    name: str
    """The image's name."""
    path: Path
    """Its file."""
    refusal: str | None
    """Why it must not be used at all. No more is then looked at."""
    hint: str | None
    """What can be done about the refusal."""
    corruptions: int
    """How many places of it contradict one another: bytes of its disk are lost, or will be."""
    leaks: int
    """How many clusters are taken by nothing: they waste space, and do no other harm."""

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong with it."""
        return self.refusal is None and not self.corruptions and not self.leaks
