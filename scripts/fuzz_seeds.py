#!/usr/bin/env python3
"""Makes images of every format to begin the fuzzing of their headers with, in the form that the target takes.

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


def main() -> None:
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        raw, image = Path(folder, "raw"), Path(folder, "image")
        raw.write_bytes(b"data" * 128 + bytes(32256) + b"more" * 128)
        for number, (kind, options) in enumerate(FORMATS):
            with_options = ["-o", options] if options else []
            subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", kind, *with_options, raw, image], check=True)
            (target / f"seed-{number}").write_bytes(pieces(image.read_bytes()))
            image.unlink()


if __name__ == "__main__":
    main()
