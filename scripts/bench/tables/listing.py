"""Listing many images."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..programs import run
from ..report import Table, Timings, in_turns

if TYPE_CHECKING:
    from pathlib import Path

    from ..setting import Setting


def tables(setting: Setting) -> list[Table]:
    """A thousand images."""
    images = backend(setting, 1000)
    table = Timings("Listing", "`transient image ls` of 1,000 images.")
    measured = in_turns(
        {
            "transient": (setting.runs * 4, lambda: listed(setting, images)),
            "ls -l of the folder": (
                setting.runs * 4,
                lambda: run(["ls", "-l", images], setting.ours.environment).seconds,
            ),
        }
    )
    table.compare(measured)
    return [table]


def listed(setting: Setting, images: Path) -> float:
    """Return the seconds of a list."""
    return setting.ours.run("image", "ls", "--image-backend", images).seconds


def backend(setting: Setting, count: int) -> Path:
    """Return a backend of so many empty images, made where it is missing."""
    images = setting.work / f"images{count}"
    if images.exists():
        return images
    images.mkdir()
    first = images / "image0"
    run(["qemu-img", "create", "-q", "-f", "qcow2", first, "1G"], setting.ours.environment)
    content = first.read_bytes()
    for number in range(1, count):
        (images / f"image{number}").write_bytes(content)
    os.sync()
    return images
