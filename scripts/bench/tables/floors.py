"""What the machine allows: a kernel that boots and ends, without anything else."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import TYPE_CHECKING

from ..inputs import TINY, folder
from ..programs import run
from ..report import NotAvailable, Table, Timings, in_turns

if TYPE_CHECKING:
    from ..setting import Setting

INIT = """#include <sys/reboot.h>
int main(void) { return reboot(RB_AUTOBOOT); }
"""
ARGUMENTS = Path("transient-core/src/qemu/arguments.rs")


def tables(setting: Setting) -> list[Table]:
    """The kernel alone, the builder, and a whole build."""
    setting.ours.build(folder(setting.work / "floorbase", TINY, setting.rootfs), name="floorbase")
    first = folder(setting.work / "floor", "FROM floorbase\nRUN true\n")
    # Not measured: a state to start from is saved.
    setting.ours.anew(first)
    setting.ours.anew(first)

    def booted(cold: bool) -> float:
        built = setting.ours.anew_and_cold(first) if cold else setting.ours.anew(first)
        return next(event["elapsed"] for _, event in built.events() if event["event"] == "builder-started")

    measured = in_turns(
        {
            "kernel to process 1, which ends it": (setting.runs, lambda: bare(setting)),
            "QEMU's start to a builder that takes commands": (setting.runs, lambda: booted(cold=False)),
            "the same, cold": (setting.runs, lambda: booted(cold=True)),
            "FROM an image, RUN true: the whole program": (setting.runs, lambda: setting.ours.anew(first).seconds),
        }
    )
    table = Timings("Boot", "The same kernel and the same machine as the builder's.")
    table.compare(measured, {"QEMU's start to a builder that takes commands": "within 0.6 s when warm"})
    return [table]


def bare(setting: Setting) -> float:
    """Return the seconds of a kernel whose process 1 does nothing but to end it."""
    initramfs = setting.work / "init.cpio.gz"
    if not initramfs.exists():
        source = setting.work / "init.c"
        source.write_text(INIT)
        run(["cc", "-static", "-Os", "-o", setting.work / "init", source], setting.ours.environment)
        initramfs.write_bytes(gzip.compress(cpio("init", (setting.work / "init").read_bytes())))
    text = ARGUMENTS.read_text()

    def constant(name: str) -> str:
        found = re.search(rf'const {name}: &str = "(.*?)";', text, re.DOTALL)
        if not found:
            raise NotAvailable(f"{ARGUMENTS} has no {name}")
        return re.sub(r"\\\n\s*", "", found[1])

    words = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-accel", "tcg"]
    words += ["-machine", constant("MACHINE"), "-cpu", "qemu64,+rdrand", "-m", "512M", "-serial", "null"]
    words += ["-kernel", setting.kernel, "-initrd", initramfs, "-append", constant("KERNEL_ARGUMENTS")]
    return run(words, setting.ours.environment).seconds


def cpio(name: str, content: bytes) -> bytes:
    """Return an archive with one program, as the kernel unpacks it (newc, its documentation's buffer-format)."""

    def entry(name: str, mode: int, content: bytes) -> bytes:
        fields = [0, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0]
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        return padded(head) + padded(content)

    return entry(name, 0o100755, content) + entry("TRAILER!!!", 0, b"")


def padded(part: bytes) -> bytes:
    """Return bytes up to a length of whole words."""
    return part + b"\0" * (-len(part) % 4)
