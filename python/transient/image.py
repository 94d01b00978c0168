"""Images of a store."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ._transient import format_bytes

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, repr=False)
class Image:
    """An image of a store: a standalone qcow2 file. Never write to it."""

    name: str
    """Its name in the store."""
    path: Path
    """Its file."""
    virtual_size: int
    """The size of its disk, in bytes."""
    real_size: int
    """What the file occupies, in bytes."""

    def __fspath__(self) -> str:
        """Return the path of its file, for `open` and the like."""
        return os.fspath(self.path)

    def __repr__(self) -> str:
        """Tell which image it is."""
        return f"<Image {self.name!r} at {str(self.path)!r}, {format_bytes(self.virtual_size)}>"


@dataclass(frozen=True)
class Pruned:
    """What `Store.prune` removed, or would remove."""

    images: list[Image]
    """The images, sorted by name."""
    leftovers: list[Path]
    """Files and folders of work that was abandoned."""
    freed: int
    """How many bytes are free now that were not. An image that has another name still frees none."""


@dataclass(frozen=True)
class CachedLayer:
    """A layer of the cache: what a step of a build did, which the next build need not do again."""

    key: str
    """What it is found by, 64 hexadecimal digits."""
    parent: str | None
    """The key of the layer that it stands on; `None` on an empty disk, or on an image."""
    instruction: str
    """The instruction that made it, the last of several; empty for the end of a build."""
    size: int
    """What it occupies, in bytes."""
    used: str
    """When a build last used it, as in RFC 3339, in UTC."""
