"""What is built, and what it is made from."""

from __future__ import annotations

import random
import shutil
import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

MIB = 1 << 20

TINY = """FROM scratch
DISK 2 GB MBR
PARTITION 1 FORMAT ext4 MOUNT / FLAGS boot
ADD rootfs.tar.gz /
RUN echo one > /one
RUN echo two > /two
"""

TINY_BY_GUESTFISH = """disk-create {image} qcow2 2G
add {image} format:qcow2
run
part-init /dev/sda mbr
part-add /dev/sda p 2048 -1
part-set-bootable /dev/sda 1 true
mkfs ext4 /dev/sda1
mount /dev/sda1 /
tar-in {archive} / compress:gzip
sh "echo one > /one"
sh "echo two > /two"
"""

DEBIAN = """FROM scratch
DISK 2 GB GPT
PARTITION 1 SIZE 2 MB FLAGS bios_grub
PARTITION 2 FORMAT ext4 MOUNT /
ADD debian.tar.xz /
RUN apt-get update
RUN apt-get install -y --no-install-recommends nano
"""

DEBIAN_BY_GUESTFISH = """disk-create {image} qcow2 2G
add {image} format:qcow2
run
part-init /dev/sda gpt
part-add /dev/sda p 2048 6143
part-add /dev/sda p 6144 -2048
mkfs ext4 /dev/sda2
mount /dev/sda2 /
tar-in {archive} / compress:xz
"""


def folder(path: Path, imagefile: str, *files: Path) -> Path:
    """Make a build directory, or write another Imagefile into it."""
    path.mkdir(exist_ok=True)
    (path / "Imagefile").write_text(imagefile)
    for file in files:
        if not (path / file.name).exists():
            shutil.copy(file, path)
    return path


def tree_as_tar(path: Path, mebibytes: int, count: int) -> Path:
    """Make a plain tar of so many files, whose bytes nothing makes fewer."""
    source = random.Random(1)
    with tarfile.open(path, "w") as archive:
        for number in range(count):
            entry = tarfile.TarInfo(f"{number % 100}/{number}")
            entry.size = mebibytes * MIB // count
            archive.addfile(entry, BytesIO(source.randbytes(entry.size)))
    return path


def tree(path: Path, mebibytes: int, count: int) -> Path:
    """Make a folder of so many files, whose bytes nothing makes fewer."""
    source = random.Random(3)
    for number in range(count):
        file = path / str(number % 100) / str(number)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(source.randbytes(mebibytes * MIB // count))
    return path


def random_file(path: Path, mebibytes: int) -> Path:
    """Make a file whose bytes nothing makes fewer."""
    source = random.Random(2)
    with path.open("wb") as file:
        for _ in range(mebibytes):
            file.write(source.randbytes(MIB))
    return path


def small_files(path: Path, count: int) -> None:
    """Make a folder with so many small files, a hundred to a folder."""
    for number in range(count):
        below = path / str(number // 100)
        if number % 100 == 0:
            below.mkdir(parents=True)
        (below / str(number)).write_text(f"file {number}\n")


def base_image(image: Path, rootfs: Path, gigabytes: float, data: int) -> None:
    """Make an image of a disk of so many GB with one filesystem: the tiny system, and so many MiB of data."""
    work = image.with_suffix(".work")
    (work / "root").mkdir(parents=True)
    subprocess.run(["tar", "-x", "-z", "-f", rootfs, "-C", work / "root"], check=True)
    random_file(work / "root/data", data)
    raw = work / "raw"
    size = int(gigabytes * 1000) * 1_000_000 // MIB
    with raw.open("wb") as file:
        file.truncate(size * MIB)
    subprocess.run(["sfdisk", "--quiet", raw], input="label: dos\n2048,,L\n", text=True, check=True)
    filesystem = ["mkfs.ext4", "-q", "-E", f"offset={MIB}", "-d", work / "root", raw, f"{(size - 1) * 1024}k"]
    subprocess.run(filesystem, check=True)
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, image], check=True)
    shutil.rmtree(work)
    image.chmod(0o444)
