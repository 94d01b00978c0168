"""The instructions of an Imagefile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Union


@dataclass(frozen=True)
class _Instruction:
    line: int
    """The line where it begins, counted from 1."""
    text: str
    """The instruction in its usual form, on one line."""


@dataclass(frozen=True)
class From(_Instruction):
    """What an image is built from."""

    name: str | None
    """The image's name in the store; `None` is `scratch`, an empty disk."""
    protocol: str | None
    """`file`, `http` or `vagrant`, if a source is named."""
    source: str | None
    """Where the image comes from, if a source is named."""
    checksum: str | None = None
    """What the source must add up to, `sha256=...` or `sha512=...`, if that is said."""


@dataclass(frozen=True)
class Disk(_Instruction):
    """The disk of an image that is built from scratch."""

    size: int
    """In bytes."""
    label: str
    """`GPT` or `MBR`."""


@dataclass(frozen=True)
class Partition(_Instruction):
    """One partition of the disk."""

    number: int
    """Its number in the table."""
    size: int | None
    """In bytes; `None` is all that is left."""
    format: str | None
    """The filesystem to make, for example `ext4`."""
    options: tuple[str, ...]
    """More words for the `mkfs` program."""
    mount: str | None
    """Where it is mounted during the build."""
    flags: tuple[str, ...]
    """Any of `boot`, `efi` and `bios_grub`."""


@dataclass(frozen=True)
class _Transfer(_Instruction):
    sources: tuple[str, ...]
    """Paths relative to the build directory."""
    destination: str
    """A path in the image."""


@dataclass(frozen=True)
class Copy(_Transfer):
    """Files that go from the build directory into the image."""


@dataclass(frozen=True)
class Add(_Transfer):
    """Archives that are unpacked into the image."""


@dataclass(frozen=True)
class Run(_Instruction):
    """A command that is run in the image."""

    command: str
    """For `/bin/sh -c`."""


@dataclass(frozen=True)
class Inspect(_Instruction):
    """A shell in the image."""


Instruction = Union[From, Disk, Partition, Copy, Add, Run, Inspect]
"""Any of them."""
