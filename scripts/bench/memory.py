"""How much of the host's memory a program and those that it starts have for themselves.

That is, their anonymous pages. Files that are mapped lie in the page cache, once for all: programs, libraries, and for
QEMU the kernel and the initramfs.
"""

from __future__ import annotations

import os
import re
import threading
from dataclasses import dataclass, field
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")
QEMU, CODE = "qemu-system", "translated code"
INTERVAL = 0.05
MAPPING = re.compile(r"[0-9a-f]+-[0-9a-f]+ ")


MEMORY = ["ours", "QEMU without the guest's memory", "its translated code", "qemu-img", "together"]
"""The columns of a table."""
OF_MEMORY = (
    "Memory is the peak of anonymous pages, looked at every 50 ms. "
    "Under TCG, QEMU keeps the guest's code as it translated it."
)


@dataclass
class Peak:
    """The most memory at a time, in bytes, guest memory aside."""

    together: int = 0
    each: dict[str, int] = field(default_factory=dict)

    def add(self, sample: dict[str, int]) -> None:
        """Add what was there at one time."""
        self.together = max(self.together, sum(sample.values()))
        for program, resident in sample.items():
            self.each[program] = max(self.each.get(program, 0), resident)


class Watcher(threading.Thread):
    """Watches a process and all below it until it is stopped."""

    def __init__(self, pid: int, guest: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.guest, self.peak = pid, guest, Peak()
        self.done = threading.Event()

    def run(self) -> None:
        """Sample the memory again and again."""
        while not self.done.wait(INTERVAL):
            sample: dict[str, int] = {}
            for pid in below(self.pid):
                try:
                    for part, size in memory_of(pid, self.guest).items():
                        sample[part] = sample.get(part, 0) + size
                except (OSError, ValueError, IndexError):
                    continue  # it is gone
            self.peak.add(sample)

    def stop(self) -> Peak:
        """Return what was seen."""
        self.done.set()
        self.join()
        return self.peak


def below(pid: int) -> list[int]:
    """Return a process and all that it started."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += map(int, task.read_text().split())
            except OSError:
                continue
    return found


def memory_of(pid: int, guest: int) -> dict[str, int]:
    """Return the memory of a process in bytes; of QEMU without its guest's, and its translated code apart."""
    folder = Path(f"/proc/{pid}")
    program = (folder / "comm").read_text().strip()
    if not program.startswith(QEMU):
        _, resident, shared = (folder / "statm").read_text().split()[:3]
        return {program: (int(resident) - int(shared)) * PAGE}
    found, part, size = {QEMU: 0, CODE: 0}, QEMU, 0
    for line in (folder / "smaps").read_text().splitlines():
        if MAPPING.match(line):
            part = CODE if line.split()[1].startswith("rwx") else QEMU
        elif line.startswith("Size:"):
            size = int(line.split()[1]) << 10
        elif line.startswith("Anonymous:") and (size < guest * 9 // 10 or part == CODE):
            found[part] += int(line.split()[1]) << 10
    return found


def memory_cells(peak: Peak) -> list[str]:
    """Return what stands in the columns."""
    each = [peak.each.get(part, 0) for part in ("transient", QEMU, CODE, "qemu-img")]
    return [f"{number / (1 << 20):.0f} MiB" for number in [*each, peak.together]]
