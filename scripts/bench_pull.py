#!/usr/bin/env python3
"""Measures how fast images are downloaded and unpacked, from a server of its own. Standard library only.

Beside `curl | xz -d` and the like, and release 0.25 of the Python tool. `scripts/bench.sh --pull` prepares what it needs.
"""

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MIB = 1 << 20
COMPRESSORS = {"xz": ["xz", "-T0", "-1"], "gz": ["gzip", "-1"], "zst": ["zstd", "-q", "-T0"]}
UNPACKERS = {"xz": "xz -dc", "gz": "gzip -dc", "zst": "zstd -dqc", "qcow2": "cat"}


def make_images(folder: Path, mebibytes: int) -> None:
    """Makes a disk of which a half is empty, a fourth is random, and a fourth is text, once for each compression."""
    folder.mkdir(parents=True, exist_ok=True)
    image = folder / "image.qcow2"
    if not image.exists():
        raw = folder / "raw"
        source = random.Random(1)
        words = [source.randbytes(5).hex() for _ in range(5000)]
        with raw.open("wb") as disk:
            for piece in range(0, mebibytes, 4):
                disk.seek(piece * MIB)
                disk.write(source.randbytes(MIB))
                disk.write(" ".join(source.choices(words, k=MIB // 11)).encode().ljust(MIB)[:MIB])
            disk.truncate(mebibytes * MIB)
        run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, image])
        raw.unlink()
    for suffix, compressor in COMPRESSORS.items():
        packed = folder / f"image.qcow2.{suffix}"
        if not packed.exists():
            with packed.open("wb") as output:
                subprocess.run([*compressor, "-c", image], stdout=output, check=True)


def run(command, environment=None):
    """Returns the seconds that a command takes, and the most memory that it or a program of its has, in MiB."""
    begun = time.monotonic()
    child = subprocess.Popen(
        [str(word) for word in command],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    output = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    elapsed = time.monotonic() - begun
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        sys.exit(f"error: {command} ended with status {child.returncode}\n{output.decode(errors='replace')}")
    return elapsed, usage.ru_maxrss / 1024


class Bench:
    """Pulls the same images by different programs."""

    def __init__(self, options, work: Path, url: str) -> None:
        self.options = options
        self.work = work
        self.url = url
        self.environment = dict(os.environ, HOME=str(work), PYTHONWARNINGS="ignore")
        for name in ("TRANSIENT_BACKEND", "TRANSIENT_VMSTORE", "XDG_DATA_HOME", "http_proxy", "HTTP_PROXY", "all_proxy"):
            self.environment.pop(name, None)

    def ours(self, file: str):
        """Ours."""
        shutil.rmtree(self.work / "backend", ignore_errors=True)
        pull = ["image", "pull", "--image-backend", self.work / "backend"]
        return run([self.options.transient, *pull, f"pulled,http={self.url}/{file}"], self.environment)

    def floor(self, file: str):
        """What only downloads and unpacks."""
        return self.shell(f"curl -sf {self.url}/{file} | {UNPACKERS[file.rsplit('.')[-1]]} > {self.work}/plain")

    def by_hand(self, file: str):
        """What people do who have no tool: the result is the same image."""
        unpack = f"curl -sf {self.url}/{file} | {UNPACKERS[file.rsplit('.')[-1]]} > {self.work}/plain"
        convert = f"qemu-img convert -f qcow2 -O qcow2 {self.work}/plain {self.work}/image"
        return self.shell(f"{unpack} && {convert} && sync {self.work}/image")

    def shell(self, script: str):
        return run(["sh", "-c", script], self.environment)

    def theirs(self, file: str):
        """Release 0.25, which has no command but one that makes a VM on the image."""
        for folder in ("old-backend", "old-vmstore"):
            shutil.rmtree(self.work / folder, ignore_errors=True)
        stores = ["--image-backend", self.work / "old-backend", "--vmstore", self.work / "old-vmstore"]
        return run(
            [self.options.old, "create", *stores, "--name", "vm", f"pulled,http={self.url}/{file}"], self.environment
        )

    def compare(self, file: str, ways) -> None:
        """Measures in turns, and prints the medians."""
        measured = {name: [] for name, _ in ways}
        for _ in range(self.options.runs):
            for name, way in ways:
                measured[name].append(way(file))
        size = (self.options.folder / file).stat().st_size / 1e6
        print(f"{file}, {size:.0f} MB")
        ours = statistics.median(seconds for seconds, _ in measured["transient image pull"])
        for name, runs in measured.items():
            median = statistics.median(seconds for seconds, _ in runs)
            spread = f"({min(runs)[0]:.2f} to {max(runs)[0]:.2f}, n={len(runs)})"
            memory = max(mebibytes for _, mebibytes in runs)
            print(f"  {name:<34}{median:7.2f} s  {spread:<24}{memory:6.0f} MiB  {median / ours:5.2f} of ours")
        sys.stdout.flush()


def main() -> None:
    """Prepares, measures, cleans up."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--transient", required=True, help="our program")
    parser.add_argument("--folder", required=True, type=Path, help="where the images are kept")
    parser.add_argument("--old", help="the program of release 0.25")
    parser.add_argument("--size", type=int, default=4096, help="the size of the disk in MiB (default: 4096)")
    parser.add_argument("--runs", type=int, default=3, help="how often each runs (default: 3)")
    options = parser.parse_args()
    options.folder = options.folder / f"pull-{options.size}"
    make_images(options.folder, options.size)
    serving = [sys.executable, "-u", "-m", "http.server", "--bind", "127.0.0.1", "--directory", options.folder, "0"]
    server = subprocess.Popen(serving, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        # Serving HTTP on 127.0.0.1 port 40000 (http://127.0.0.1:40000/) ...
        url = server.stdout.readline().split("(")[1].split("/)")[0]
        with tempfile.TemporaryDirectory(prefix="pull-", dir=options.folder) as work:
            bench = Bench(options, Path(work), url)
            print(f"{os.cpu_count()} CPUs; median (fastest to slowest, number of runs), the most memory of a process")
            ways = [
                ("transient image pull", bench.ours),
                ("curl, unpacked", bench.floor),
                ("curl, unpacked, qemu-img convert", bench.by_hand),
            ]
            if options.old:
                ways.append(("release 0.25", bench.theirs))
            for suffix in ["qcow2", *(f"qcow2.{suffix}" for suffix in COMPRESSORS)]:
                # Release 0.25 does not know zstd.
                bench.compare(f"image.{suffix}", ways[:3] if suffix.endswith("zst") else ways)
    finally:
        server.kill()
        server.wait()


if __name__ == "__main__":
    main()
