"""Builds on small and large images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..inputs import base_image, folder
from ..memory import MEMORY, OF_MEMORY, memory_cells
from ..programs import GUEST_MEMORY
from ..report import Table, Timings, in_turns

if TYPE_CHECKING:
    from ..programs import Run
    from ..setting import Setting

SIZES = {0.1: 40, 2: 1000, 20: 4000}
"""The disks in GB, and what is on them in MiB."""


def tables(setting: Setting) -> list[Table]:
    """One RUN on a base image: what its size costs."""
    sizes = {0.1: 40, 2: 200} if setting.quick else SIZES
    steps, writing, reading = {}, {}, {}
    memory = Table("Memory by the base image", ["disk", *MEMORY], OF_MEMORY)
    for gigabytes, data in sizes.items():
        name = f"base{gigabytes}".replace(".", "")
        base_image(setting.ours.backend / name, setting.rootfs, gigabytes, data)
        onto = folder(setting.work / f"on{name}", f"FROM {name}\nRUN true\n")
        what = f"{gigabytes} GB with {data} MiB"
        reading[what] = setting.ours.build(onto, guest=GUEST_MEMORY)
        runs: list[Run] = []

        def once(onto=onto, runs=runs) -> float:
            runs.append(setting.ours.anew(onto))
            return runs[-1].seconds - runs[-1].finishing()

        steps |= in_turns({what: (setting.runs, once)})
        writing[what] = [run.finishing() for run in runs]
        memory.add(what, *memory_cells(reading[what].memory))
        setting.ours.run("image", "rm", "--image-backend", setting.ours.backend, name, onto.name)
        setting.ours.run("cache", "prune")
    table = Timings(
        "Base image",
        "FROM an image whose digest is known, and one RUN: without writing the image, and writing it, to the disk.",
    )
    table.compare(steps, {list(steps)[-1]: "1.00"})
    table.compare({f"{what}: writing the image": seconds for what, seconds in writing.items()})
    table.compare({f"{what}: the first time, when it is read": [run.seconds] for what, run in reading.items()})
    return [table, memory]
