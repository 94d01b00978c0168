#!/usr/bin/env python3
"""Measures transient, beside release 0.25 of the Python tool of the same name. Standard library only.

Prints the median of several runs, with the fastest and the slowest. `scripts/bench.sh` prepares what it needs.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TINY = """FROM scratch
DISK 2 GB MBR
PARTITION 1 FORMAT ext4 MOUNT / FLAGS boot
ADD rootfs.tar.gz /
RUN echo one > /one
RUN echo two > /two
"""

DEBIAN = """FROM scratch
DISK 2 GB GPT
PARTITION 1 SIZE 2 MB FLAGS bios_grub
PARTITION 2 FORMAT ext4 MOUNT /
ADD debian.tar.xz /
RUN apt-get update
RUN apt-get install -y --no-install-recommends nano
"""


class Bench:
    """Runs both programs in a sandbox, and prints what came out."""

    def __init__(self, options, work):
        self.options = options
        self.work = work
        self.ours = [options.transient]
        self.theirs = [options.old] if options.old else None
        self.environment = dict(os.environ, HOME=str(work / "home"), TRANSIENT_CACHE=str(work / "cache"))
        for name in ("TRANSIENT_BACKEND", "TRANSIENT_VMSTORE", "XDG_DATA_HOME"):
            self.environment.pop(name, None)
        (work / "home").mkdir()

    def run(self, command, *, old=False):
        """Returns the seconds that a command takes, and its stdout. A failure ends the bench."""
        environment = dict(self.environment)
        if old:
            # KVM that opens but does not work hangs release 0.25: its QEMU is a wrapper that takes TCG.
            environment["PATH"] = f"{self.options.wrapper}:{environment['PATH']}"
            environment["PYTHONWARNINGS"] = "ignore"
        begun = time.monotonic()
        done = subprocess.run(
            [str(word) for word in command],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            check=False,
        )
        elapsed = time.monotonic() - begun
        if done.returncode != 0:
            sys.stderr.write(done.stdout.decode(errors="replace") + done.stderr.decode(errors="replace"))
            sys.exit(f"error: {' '.join(map(str, command))} ended with status {done.returncode}")
        return elapsed, done.stdout.decode(errors="replace")

    def build(self, program, name, folder, *more, old=False):
        """Builds an image, and returns the seconds and stdout."""
        backend = self.work / ("old-backend" if old else "backend")
        backend.mkdir(exist_ok=True)
        return self.run(
            [*program, "image", "build", "--image-backend", backend, "--name", name, *more, folder], old=old
        )

    def anew(self, name, folder):
        """Returns the seconds of a build of ours of which nothing is known yet."""
        return self.build(self.ours, name, folder, "--no-cache")[0]

    def report(self, what, seconds):
        """Prints a row of the result."""
        median, fastest, slowest = statistics.median(seconds), min(seconds), max(seconds)
        unit, factor, digits = ("ms", 1000, 1) if median < 1 else ("s", 1, 2)
        figures = [f"{value * factor:8.{digits}f}" for value in (median, fastest, slowest)]
        print(f"{what:<52} {figures[0]} {unit:<2}  ({figures[1].strip()} to {figures[2].strip()}, n={len(seconds)})")
        sys.stdout.flush()

    def folder(self, name, imagefile, archive):
        """Makes a build directory."""
        folder = self.work / name
        folder.mkdir()
        (folder / "Imagefile").write_text(imagefile)
        if archive:
            shutil.copy(archive, folder)
        return folder

    def first_command(self):
        """(a) From start to the first command in the guest."""
        tiny = self.folder("base", TINY, self.options.rootfs)
        # Not measured: whether KVM works here is found out once, and files come into the page cache.
        self.build(self.ours, "base", tiny)
        folder = self.folder("first", "FROM base\nRUN true\n", None)
        booted, total = [], []
        for _ in range(self.options.runs):
            elapsed, stdout = self.build(self.ours, "first", folder, "--progress", "json", "--no-cache")
            events = [json.loads(line) for line in stdout.splitlines()]
            booted.append(next(event["elapsed"] for event in events if event["event"] == "builder-started"))
            total.append(elapsed)
        self.report("QEMU's start to a builder VM that takes commands", booted)
        self.report("FROM an image, RUN true: the whole program", total)

    def tiny_build(self):
        """(b) The tiny build."""
        folder = self.folder("tiny", TINY, self.options.rootfs)
        ours = [self.anew("tiny", folder) for _ in range(self.options.runs)]
        self.report("tiny build (2 GB, MBR, ext4, .tar.gz, 2 RUNs)", ours)
        again = [self.build(self.ours, "tiny", folder)[0] for _ in range(self.options.runs)]
        self.report("  again, when nothing has changed", again)
        changed = []
        for run in range(self.options.runs):
            (folder / "Imagefile").write_text(TINY.replace("echo two", f"echo {run}"))
            changed.append(self.build(self.ours, "tiny", folder)[0])
        self.report("  again, when the last RUN has changed", changed)
        (folder / "Imagefile").write_text(TINY)
        self.beside(ours, lambda: self.build(self.theirs, "tiny", folder, old=True)[0], self.options.old_runs)

    def beside(self, ours, measure, runs):
        """Measures release 0.25, and prints how much faster we are."""
        if not self.theirs or runs == 0:
            return
        theirs = [measure() for _ in range(runs)]
        self.report("  the same by release 0.25", theirs)
        print(f"  {statistics.median(theirs) / statistics.median(ours):.1f} times as fast")

    def listing(self):
        """(c) `ls` of 1,000 images."""
        backend = self.work / "thousand"
        backend.mkdir()
        first = backend / "image0000"
        self.run(["qemu-img", "create", "-q", "-f", "qcow2", first, "1G"])
        for number in range(1, 1000):
            shutil.copy(first, backend / f"image{number:04}")
        command = ["image", "ls", "--image-backend", backend]
        self.run([*self.ours, *command])
        ours = [self.run([*self.ours, *command])[0] for _ in range(self.options.runs * 4)]
        self.report("image ls of 1,000 images", ours)
        self.report("  ls -l of the same folder", [self.run(["ls", "-l", backend])[0] for _ in ours])
        self.beside(ours, lambda: self.run([*self.theirs, *command], old=True)[0], self.options.old_runs)

    def debian_build(self):
        """(d) A real distribution."""
        folder = self.folder("debian", DEBIAN, self.options.debian)
        ours = [self.anew("debian", folder) for _ in range(min(self.options.runs, 3))]
        self.report("Debian build (GPT, .tar.xz, apt-get install)", ours)
        self.beside(ours, lambda: self.build(self.theirs, "debian", folder, old=True)[0], min(1, self.options.old_runs))


def main():
    """Measures what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--transient", required=True, help="our program")
    parser.add_argument("--rootfs", required=True, help="rootfs.tar.gz for the tiny build")
    parser.add_argument("--old", help="the program of release 0.25")
    parser.add_argument("--wrapper", help="the folder of the QEMU wrapper for release 0.25")
    parser.add_argument("--debian", help="debian.tar.xz for the Debian build")
    parser.add_argument("--runs", type=int, default=5, help="how often ours runs (default: 5)")
    parser.add_argument("--old-runs", type=int, default=3, help="how often release 0.25 runs (default: 3)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="transient-bench-") as work:
        bench = Bench(options, Path(work))
        print(f"{os.cpu_count()} CPUs; median (fastest to slowest, number of runs)")
        bench.listing()
        bench.first_command()
        bench.tiny_build()
        if options.debian:
            bench.debian_build()


if __name__ == "__main__":
    main()
