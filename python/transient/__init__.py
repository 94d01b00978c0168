r"""Builds, pulls, lists and removes virtual machine disk images.

>>> import transient
>>> imagefile = transient.Imagefile.parse("FROM scratch\nDISK 1 GB GPT\nPARTITION 1 FORMAT ext4 MOUNT /\n")
>>> imagefile.instructions[1]
Disk(line=2, text='DISK 1 GB GPT', size=1073741824, label='GPT')
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import appliance, errors, events, inspection, instructions, names, options, plan
from ._transient import CancelToken, Imagefile, Store, __version__, format_bytes, parse_bytes
from .errors import Error
from .image import Image, Pruned

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .options import (
        BuildOptions,
        ExportOptions,
        ImportOptions,
        PruneOptions,
        PullOptions,
        StrPath,
        TagOptions,
    )

__all__ = [
    "CancelToken",
    "Error",
    "Image",
    "Imagefile",
    "Pruned",
    "Store",
    "__version__",
    "appliance",
    "build",
    "errors",
    "events",
    "export_image",
    "format_bytes",
    "images",
    "import_image",
    "inspection",
    "instructions",
    "names",
    "options",
    "parse_bytes",
    "plan",
    "prune",
    "pull",
    "remove",
    "tag",
]


def build(directory: StrPath, *, name: str, **options: Unpack[BuildOptions]) -> Image:
    """Build an image into the default store; see `Store.build`."""
    return Store().build(directory, name=name, **options)


def pull(*specs: str, **options: Unpack[PullOptions]) -> list[Image]:
    """Bring images into the default store; see `Store.pull`."""
    return Store().pull(*specs, **options)


def images() -> list[Image]:
    """List the images of the default store; see `Store.images`."""
    return Store().images()


def remove(*names: str, force: bool = False) -> None:
    """Remove images from the default store; see `Store.remove`."""
    Store().remove(*names, force=force)


def tag(source: str, name: str, **options: Unpack[TagOptions]) -> Image:
    """Give an image of the default store another name; see `Store.tag`."""
    return Store().tag(source, name, **options)


def prune(**options: Unpack[PruneOptions]) -> Pruned:
    """Remove what nobody needs from the default store; see `Store.prune`."""
    return Store().prune(**options)


def import_image(path: StrPath, name: str | None = None, **options: Unpack[ImportOptions]) -> Image:
    """Make a file of the host an image of the default store; see `Store.import_image`."""
    return Store().import_image(path, name, **options)


def export_image(name: str, path: StrPath, **options: Unpack[ExportOptions]) -> None:
    """Write an image of the default store to a file; see `Store.export_image`."""
    Store().export_image(name, path, **options)
