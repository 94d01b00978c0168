"""What is done again when little or nothing has changed."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from ..inputs import TINY, folder, random_file
from ..report import NotAvailable, Table, Timings, in_turns, shown

if TYPE_CHECKING:
    from pathlib import Path

    from ..setting import Setting

FEW, MANY = 2, 40


def tables(setting: Setting) -> list[Table]:
    """Rebuilds, the cost of a step, and of looking at what is copied."""
    table = Timings("Layers", "The tiny build again, and builds of many steps.")
    nothing_changed(setting, table)
    last_of_twenty(setting, table)
    each_step(setting, table)
    hashing(setting, table)
    return [table]


def nothing_changed(setting: Setting, table: Timings) -> None:
    """The tiny build again."""
    again = folder(setting.work / "again", TINY, setting.rootfs)
    ours = setting.ours
    ours.build(again)
    (setting.work / "ls").mkdir(exist_ok=True)

    def without_image() -> float:
        remove(setting, "again")
        return ours.build(again).seconds

    def besides_flattening() -> float:
        remove(setting, "again")
        built = ours.build(again)
        return built.seconds - built.finishing()

    table.compare(
        in_turns(
            {
                "nothing has changed": (setting.runs * 2, lambda: ours.build(again).seconds),
                "nothing has changed, the image is gone": (setting.runs * 2, without_image),
                "the same besides flattening": (setting.runs * 2, besides_flattening),
            }
        ),
        {"nothing has changed": "at most 0.15 s", "the same besides flattening": "at most 0.15 s"},
    )


def remove(setting: Setting, name: str) -> None:
    """Remove an image."""
    setting.ours.run("image", "rm", "--image-backend", setting.ours.backend, name)


def last_of_twenty(setting: Setting, table: Timings) -> None:
    """The last of many steps is another one each time."""
    first, last = setting.work / "first", setting.work / "twenty"
    setting.ours.build(folder(setting.work / "tinybase", TINY, setting.rootfs), name="tinybase")
    folder(first, "FROM tinybase\nRUN true\n")
    begin = "FROM tinybase\n" + "".join(f"RUN echo {number} > /{number}\n" for number in range(19))
    setting.ours.build(folder(last, begin + "RUN echo last\n"))
    number = 0

    def changed() -> float:
        nonlocal number
        number += 1
        return setting.ours.build(folder(last, begin + f"RUN echo {number} > /last\n")).seconds

    floor = "FROM an image, one RUN: boot and that step"
    measured = in_turns(
        {
            floor: (setting.runs, lambda: setting.ours.anew(first).seconds),
            "the last of 20 RUN steps has changed": (setting.runs, changed),
        }
    )
    table.compare(measured, {"the last of 20 RUN steps has changed": "0.5 s more"})


def each_step(setting: Setting, table: Timings) -> None:
    """What each further step costs."""

    def steps(count: int) -> Path:
        return folder(setting.work / f"steps{count}", "FROM tinybase\n" + "RUN true\n" * count)

    few, many = steps(FEW), steps(MANY)
    measured = in_turns(
        {
            f"{FEW} steps of RUN true": (setting.runs, lambda: setting.ours.anew(few).seconds),
            f"{MANY} steps of RUN true": (setting.runs, lambda: setting.ours.anew(many).seconds),
        }
    )
    table.compare(measured)
    both = list(measured.values())
    if not any(isinstance(seconds, NotAvailable) for seconds in both):
        slope = (statistics.median(both[1]) - statistics.median(both[0])) / (MANY - FEW)
        table.figure("each further step", shown(slope), "at most 60 ms")


def hashing(setting: Setting, table: Timings) -> None:
    """What is copied is looked at, and not copied."""
    size = 128 if setting.quick else 1024
    imagefile = "FROM scratch\nDISK 3 GB MBR\nPARTITION 1 FORMAT ext4 MOUNT /\nCOPY big /big\n"
    copied = setting.work / "copied"
    copied.mkdir()
    big = random_file(copied / "big", size)
    folder(copied, imagefile)
    setting.ours.build(copied)
    without = folder(setting.work / "without", imagefile.replace("COPY big /big\n", ""))
    setting.ours.build(without)
    measured = in_turns(
        {
            f"cat {size} MiB": (setting.runs, lambda: cat(setting, big)),
            f"nothing has changed, COPY of {size} MiB": (setting.runs, lambda: setting.ours.build(copied).seconds),
            "nothing has changed, no COPY": (setting.runs, lambda: setting.ours.build(without).seconds),
        }
    )
    table.compare(measured)
    _, with_it, without_it = measured.values()
    if not isinstance(with_it, NotAvailable) and not isinstance(without_it, NotAvailable):
        seconds = max(statistics.median(with_it) - statistics.median(without_it), 0.001)
        table.figure("hashing", f"{size * 1.048576 / 1000 / seconds:.1f} GB/s", "at least 1 GB/s")
    big.unlink()
    setting.ours.run("cache", "prune")


def cat(setting: Setting, file: Path) -> float:
    """Return the seconds that it takes to read a file and do nothing with it."""
    from ..programs import run

    return run(["sh", "-c", f"cat '{file}' > /dev/null"], setting.ours.environment).seconds
