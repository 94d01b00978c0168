"""What is brought in, beside what the guest does with it by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..inputs import folder, tree_as_tar
from ..report import Measured, Table, Timings

if TYPE_CHECKING:
    from ..setting import Setting

IMAGEFILE = """FROM scratch
DISK 3 GB MBR
PARTITION 1 FORMAT ext4 MOUNT /
ADD rootfs.tar.gz /
ADD big.tar /added
COPY big.tar /big.tar
RUN mkdir /unpacked && tar -x -C /unpacked -f /big.tar
RUN dd if=/big.tar of=/again bs=1M
"""
NAMES = {
    6: "tar -x of it in the guest, from its disk",
    4: "ADD of a tar of {size} MB, {files} files",
    5: "COPY of the same file",
    7: "dd of the same bytes in the guest",
}
"""The steps that are compared, counted from 0; the first is what the others stand beside."""


def tables(setting: Setting) -> list[Table]:
    """Return how long each step of one build takes."""
    size, files = (20, 500) if setting.quick else (170, 5000)
    add = folder(setting.work / "add", IMAGEFILE, setting.rootfs)
    tree_as_tar(add / "big.tar", size, files)
    setting.ours.anew(add)
    measured: dict[str, Measured] = {name.format(size=size, files=files): [] for name in NAMES.values()}
    for _ in range(setting.runs):
        steps = setting.ours.anew(add).steps()
        for step, seconds in zip(NAMES, measured.values()):
            assert isinstance(seconds, list)
            seconds.append(steps[step])
    table = Timings("ADD and COPY", "Each is a step of the same build.")
    table.compare(measured, {NAMES[4].format(size=size, files=files): "at most 1.5"})
    return [table]
