"""How cost grows with what is built, and how much memory it takes."""

from __future__ import annotations

import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from ..inputs import TINY, folder, small_files
from ..memory import MEMORY, OF_MEMORY, memory_cells
from ..programs import GUEST_MEMORY, run
from ..report import Table, mebibytes, shown
from .listing import backend

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..programs import Run
    from ..setting import Setting

COLUMNS = ["build", "nothing has changed", *MEMORY]
NOTE = "One run each, with 2 GiB for the guest. " + OF_MEMORY


def tables(setting: Setting) -> Iterator[Table]:
    """Steps, files, builds at once, images."""
    setting.ours.build(folder(setting.work / "growbase", TINY, setting.rootfs), name="growbase")
    for table in (steps, files, at_once, images):
        yield table(setting)


def both(setting: Setting, directory) -> list[str]:
    """Return the columns of a build, and of the same again."""
    first = setting.ours.anew(directory, guest=GUEST_MEMORY)
    again = setting.ours.build(directory, "--memory", GUEST_MEMORY)
    return [shown(first.seconds), shown(again.seconds), *memory_cells(first.memory)]


def steps(setting: Setting) -> Table:
    """1 to 100 steps."""
    table = Table("Growth: steps of RUN true", ["steps", *COLUMNS], NOTE)
    for count in (1, 10) if setting.quick else (1, 10, 30, 100):
        directory = folder(setting.work / f"many{count}", "FROM growbase\n" + "RUN true\n" * count)
        table.add(str(count), *both(setting, directory))
    return table


def files(setting: Setting) -> Table:
    """A context of 10 to 100,000 files."""
    table = Table("Growth: COPY of small files", ["files", *COLUMNS], NOTE)
    imagefile = "FROM scratch\nDISK 4 GB MBR\nPARTITION 1 FORMAT ext4 MOUNT /\nCOPY tree /tree\n"
    for count in (10, 1000) if setting.quick else (10, 1000, 10_000, 100_000):
        directory = folder(setting.work / f"files{count}", imagefile)
        small_files(directory / "tree", count)
        table.add(f"{count:,}", *both(setting, directory))
        shutil.rmtree(directory)
    return table


def at_once(setting: Setting) -> Table:
    """1 to 8 builds at once, of which no two have a step in common."""
    table = Table(
        "Growth: tiny builds at once", ["builds", "all", "each of them", "together, besides the guests' memory"], NOTE
    )
    for count in (1, 2) if setting.quick else (1, 2, 4, 8):
        directories = []
        for number in range(count):
            imagefile = TINY.replace("2 GB", f"{2000 + 10 * count + number} MB")
            directories.append(folder(setting.work / f"parallel{count}x{number}", imagefile, setting.rootfs))
        begin = threading.Barrier(count)

        def build(directory, begin=begin) -> Run:
            begin.wait()
            return setting.ours.anew(directory, guest=GUEST_MEMORY)

        begun = time.monotonic()
        with ThreadPoolExecutor(count) as pool:
            runs = list(pool.map(build, directories))
        seconds = time.monotonic() - begun
        # At their peaks at the same time, at worst.
        together = sum(run.memory.together for run in runs)
        table.add(str(count), shown(seconds), shown(seconds / count), mebibytes(together))
    return table


def images(setting: Setting) -> Table:
    """10 to 10,000 images."""
    table = Table(
        "Growth: images listed", ["images", "image ls", "memory", "nothing has changed, in such a store"], NOTE
    )
    for count in (10, 100) if setting.quick else (10, 100, 1000, 10_000):
        store = backend(setting, count)
        command = ["image", "ls", "--image-backend", store]
        setting.ours.run(*command)
        listed = setting.ours.run(*command, guest=GUEST_MEMORY)
        directory = folder(setting.work / "stored", "FROM scratch\nDISK 64 MB MBR\nPARTITION 1 FORMAT ext4 MOUNT /\n")
        words = ["image", "build", "--image-backend", store, "--name", "new", directory]
        setting.ours.run(*words)
        again = setting.ours.run(*words)
        table.add(f"{count:,}", shown(listed.seconds), resident(setting, command), shown(again.seconds))
        shutil.rmtree(store)
    return table


def resident(setting: Setting, command: list) -> str:
    """Return the most memory of a program that is too quick to be watched, as the system counted it."""
    measure = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    counted = run(["python3", "-c", measure, setting.ours.program, *command], setting.ours.environment)
    return mebibytes(int(counted.lines[-1][1]) << 10)
