#!/usr/bin/env python3
"""Makes what fuzzing begins with: images of every format, in the form that the target takes, and tar archives.

    fuzz_seeds.py FOLDER
"""

import struct
import subprocess
import sys
import tempfile
from pathlib import Path

FORMATS = [
    ("qcow2", "cluster_size=512"),
    ("qcow2", "compat=0.10"),
    ("qcow2", "extended_l2=on,cluster_size=16k"),
    ("qcow2", "compression_type=zstd"),
    ("qcow", ""),
    ("qed", "cluster_size=4k,table_size=2"),
    ("vdi", ""),
    ("vmdk", ""),
    ("vmdk", "subformat=streamOptimized"),
    ("vmdk", "subformat=monolithicFlat"),
    ("vhdx", ""),
    ("vpc", ""),
    ("vpc", "subformat=fixed"),
    ("parallels", ""),
]
# Only GNU's and POSIX's have sparse files.
ARCHIVES = {
    "v7": ["--exclude=sparse"],
    "ustar": ["--exclude=sparse"],
    "gnu": ["--sparse"],
    "oldgnu": ["--sparse"],
    "posix": ["--sparse"],
}
BLOCK = 512
LARGEST = 4 << 20


def pieces(image: bytes) -> bytes:
    """Returns the parts of an image that are not zero: place, length and bytes of each; and how far it goes."""
    blocks = range(0, min(len(image), LARGEST), BLOCK)
    found = [(at, image[at : at + BLOCK].rstrip(b"\0")) for at in blocks]
    kept = [(at, data) for at, data in found if data][:64]
    if image:
        kept.append((min(len(image), LARGEST) - 1, image[:LARGEST][-1:]))
    return b"".join(struct.pack("<I", at)[:3] + struct.pack("<H", len(data)) + data for at, data in kept)


def make_images(target: Path, folder: Path) -> None:
    raw, image = folder / "raw", folder / "image"
    raw.write_bytes(b"data" * 128 + bytes(32256) + b"more" * 128)
    for number, (kind, options) in enumerate(FORMATS):
        with_options = ["-o", options] if options else []
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", kind, *with_options, raw, image], check=True)
        (target / f"seed-{number}").write_bytes(pieces(image.read_bytes()))
        image.unlink()


def make_archives(target: Path, folder: Path) -> None:
    tree = folder / "tree"
    (tree / ("long" * 50)).mkdir(parents=True)
    (tree / "file").write_text("content")
    (tree / "hard").hardlink_to(tree / "file")
    (tree / "soft").symlink_to("/etc/passwd")
    with (tree / "sparse").open("wb") as sparse:
        for at in range(0, 1 << 20, 1 << 17):
            sparse.seek(at)
            sparse.write(b"x")
    for kind, options in ARCHIVES.items():
        tar = ["tar", "--create", f"--format={kind}", "--blocking-factor=1", *options, "--directory", tree]
        # What a format has no place for is left out.
        made = subprocess.run([*tar, "."], check=False, capture_output=True)
        (target / f"seed-{kind}").write_bytes(made.stdout)


def main() -> None:
    corpus = Path(sys.argv[1])
    for name, make in [("image_header", make_images), ("archive", make_archives), ("receive", make_archives)]:
        target = corpus / name
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            make(target, Path(folder))


if __name__ == "__main__":
    main()
