"""The crates that are linked into the guest program, and their licences."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

TARGET = "x86_64-unknown-linux-gnu"
ROOT = Path(__file__).parent.parent
TEXTS = ("LICEN", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE")


@dataclass(frozen=True)
class Crate:
    """A crate of crates.io."""

    name: str
    version: str
    licence: str
    folder: Path

    @property
    def source(self) -> str:
        """Returns where its source is."""
        return f"https://crates.io/crates/{self.name}/{self.version}"

    def texts(self) -> list[str]:
        """Returns the licences, as far as the crate brings them."""
        files = sorted(file for file in self.folder.iterdir() if file.is_file())
        return [file.read_text(errors="replace") for file in files if file.name.upper().startswith(TEXTS)]


def crates() -> list[Crate]:
    """Returns the crates, sorted; fails when one has no licence."""
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", TARGET]
    text = subprocess.run(command, check=True, capture_output=True, cwd=ROOT).stdout
    return linked(json.loads(text), "transient-guest")


def linked(metadata: dict, program: str) -> list[Crate]:
    """Returns the crates that end up in a program: no build scripts, no macros, none of our own."""
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    pending = [key for key, package in packages.items() if package["name"] == program]
    seen = set()
    while pending:
        key = pending.pop()
        if key in seen or any("proc-macro" in target["kind"] for target in packages[key]["targets"]):
            continue
        seen.add(key)
        for dependency in nodes[key]["deps"]:
            if any(kind["kind"] is None for kind in dependency["dep_kinds"]):
                pending.append(dependency["pkg"])
    found = [packages[key] for key in seen if packages[key]["source"] is not None]
    return sorted(map(crate, found), key=lambda crate: (crate.name, crate.version))


def crate(package: dict) -> Crate:
    """Returns a crate of cargo's description."""
    name, version, licence = package["name"], package["version"], package["license"]
    if not licence:
        sys.exit(f"error: the crate {name} {version} names no licence")
    return Crate(name, version, licence, Path(package["manifest_path"]).parent)


def write_licences(found: list[Crate], file: Path) -> None:
    """Writes all licences into one file, each text once, below the crates that have it."""
    holders: dict[str, list[str]] = {}
    for crate in found:
        for text in crate.texts():
            holders.setdefault(text.strip(), []).append(f"{crate.name} {crate.version}")
    parts = [f"{', '.join(names)}:\n\n{text}\n" for text, names in holders.items()]
    file.write_text(f"\n{'-' * 78}\n\n".join(parts))
