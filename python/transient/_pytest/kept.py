"""Images that an earlier session left in a backend, and whether they are still what would be built."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import transient
from transient.instructions import Add, Copy, From

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CHUNK = 1 << 20


class Fingerprint:
    """What an image is made of: its Imagefile, the files that go in, options, the image that it is FROM."""

    def __init__(self, imagefile: Path, directory: Path, options: str) -> None:
        """Read all that goes in; what changes later does not count."""
        parsed = transient.Imagefile.load(imagefile)
        digest = hashlib.blake2b(f"{options}\n{parsed.text}".encode())
        for instruction in parsed.instructions:
            if isinstance(instruction, (Add, Copy)):
                for source in instruction.sources:
                    _update(digest, directory / source)
        self._contents = digest.hexdigest()
        self._bases = [found.name for found in parsed.instructions if isinstance(found, From) and found.name]

    def of(self, store: transient.Store, name: str) -> str:
        """Return a text that changes when the image, its base, or what it was made of does."""
        images = [store.image(image) for image in (name, *self._bases)]
        return "\n".join([self._contents, *map(_identity, images)])


def build_if_changed(
    store: transient.Store, name: str, fingerprint: Fingerprint, stamp: Path, build: Callable[[], object]
) -> None:
    """Build an image unless it is there already; `stamp` is where its fingerprint is kept."""
    if stamp.is_file() and stamp.read_text() == fingerprint.of(store, name):
        return
    build()
    stamp.write_text(fingerprint.of(store, name))


def _identity(image: transient.Image | None) -> str:
    if image is None:
        return "none"
    status = image.path.stat()
    # Whole seconds: the archives in which a backend travels from host to host keep no more.
    return f"{status.st_size} {int(status.st_mtime)}"


def _update(digest: hashlib.blake2b, source: Path) -> None:
    for path in _below(source):
        mode = path.lstat().st_mode
        digest.update(os.fsencode(f"{path.relative_to(source)}\0{mode:o}\0"))
        if stat.S_ISLNK(mode):
            digest.update(os.fsencode(path.readlink()) + b"\0")
        # Also through a link: ADD unpacks what that points to.
        if path.is_file():
            _update_with_file(digest, path)


def _update_with_file(digest: hashlib.blake2b, path: Path) -> None:
    with path.open("rb") as file:
        for chunk in iter(lambda: file.read(CHUNK), b""):
            digest.update(chunk)


def _below(source: Path) -> Iterator[Path]:
    # A source that is missing is for the build to report.
    if os.path.lexists(source):
        yield source
    for folder, folders, files in os.walk(source):
        folders.sort()
        yield from (Path(folder, name) for name in sorted([*folders, *files]))
