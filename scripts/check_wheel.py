#!/usr/bin/env python3
"""Checks what is in a wheel: all that belongs there, nothing else, and not too much of it.

Usage: check_wheel.py WHEEL
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 30_000_000
EXPECTED = (
    r"transient/(\w+/)?\w+\.py",
    r"transient/_transient\.(abi3\.so|pyi)",
    r"transient/py\.typed",
    r"transient/appliance/(kernel|initramfs|appliance\.json|CONTENTS\.md)",
    r"transient/appliance/licences/(common/)?[\w.+-]+\.txt",
    r"transient_vm-[\d.]+\.dist-info/.+",
)
NEEDED = (
    "transient/__main__.py",
    "transient/_transient.abi3.so",
    "transient/_transient.pyi",
    "transient/py.typed",
    "transient/pytest_plugin.py",
    "transient/appliance/kernel",
    "transient/appliance/initramfs",
    "transient/appliance/appliance.json",
    "transient/appliance/CONTENTS.md",
)


def faults(wheel: ZipFile) -> list[str]:
    """Returns what is wrong with a wheel."""
    names = wheel.namelist()
    found = [f"{name} is missing" for name in NEEDED if name not in names]
    found += [f"{name} does not belong here" for name in names if not any(re.fullmatch(e, name) for e in EXPECTED)]
    if appliance_size(wheel) > LIMIT:
        found.append(f"the appliance has {appliance_size(wheel)} bytes, over {LIMIT}")
    return found or unlisted(wheel) + build_paths(wheel)


def appliance_size(wheel: ZipFile) -> int:
    """Returns how large the appliance is when it is downloaded."""
    return sum(file.compress_size for file in wheel.infolist() if file.filename.startswith("transient/appliance/"))


def unlisted(wheel: ZipFile) -> list[str]:
    """Returns the files of other projects that the list of contents does not name."""
    description = json.loads(wheel.read("transient/appliance/appliance.json"))
    contents = wheel.read("transient/appliance/CONTENTS.md").decode()
    modules = [file for file in description["files"] if file["path"].startswith("/modules/")]
    names = [Path(file["path"]).name for file in description["files"] if file["origin"] and file not in modules]
    names += ["kernel", f"{len(modules)} modules"]
    named = [name for name in names if re.search(rf"[ |]{re.escape(name)}[, ]", contents)]
    return [f"CONTENTS.md does not name {name}" for name in names if name not in named]


def build_paths(wheel: ZipFile) -> list[str]:
    """Returns the files that name a folder of the machine that built them; cargo's bills of materials always do."""
    folders = [str(ROOT).encode(), str(Path.home() / ".cargo").encode()]
    return [
        f"{name} names {folder.decode()}"
        for name in wheel.namelist()
        for folder in folders
        if "/sboms/" not in name and folder in wheel.read(name)
    ]


def main() -> None:
    """Checks one wheel."""
    with ZipFile(sys.argv[1]) as wheel:
        found = faults(wheel)
        sizes = Path(sys.argv[1]).stat().st_size, appliance_size(wheel)
        print("the wheel has {:.1f} MB, and of these the appliance {:.1f} MB".format(*(size / 1e6 for size in sizes)))
    for fault in found:
        print(f"error: {fault}", file=sys.stderr)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
