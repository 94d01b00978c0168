#!/usr/bin/env python3
"""Lists what an appliance was assembled from, for those who pass it on. Standard library only.

Usage: appliance_contents.py APPLIANCE KERNEL

APPLIANCE is the folder of the appliance; it gets `CONTENTS.md` and `licences/`. KERNEL is the folder that
`scripts/kernel.sh` made. Fails when something is in the appliance of which the package, the licence or the source
is not known.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from appliance_crates import crates, write_licences

DOCUMENTATION = Path("/usr/share/doc")
COMMON_LICENCES = Path("/usr/share/common-licenses")

# For packages whose copyright file is for people only; by the source package, without the number of a release.
LICENCES = {
    "gcc": "GPL-3+ with GCC-exception-3.1",
    "glibc": "LGPL-2.1+, GPL-2+, BSD-3-Clause, ISC and others",
    "libgcrypt20": "LGPL-2.1+, GPL-2+",
    "libselinux": "public-domain",
}
# What the compiler puts into a static program beside its crates.
STATIC_LIBRARIES = ("libc.a", "libgcc.a", "libgcc_eh.a")

HEAD = """\
# What the appliance contains

The builder VM of transient boots the kernel and the initramfs of this folder. They are put together from parts of
other projects, unchanged. The texts of the licences are in `licences/`, each in the file of its package and those
that many share in `licences/common/`.

## Packages of {distribution}

| Source package | Version | In the appliance | Licences | Source |
| --- | --- | --- | --- | --- |
{packages}

## The guest program

`/init` is transient's own, under MIT or Apache-2.0. Linked into it are the C library and the compiler's run time of
above, the standard library of Rust {rust} (MIT or Apache-2.0, <https://github.com/rust-lang/rust>), and these crates,
whose texts are in `licences/crates.txt`:

| Crate | Version | Licence | Source |
| --- | --- | --- | --- |
{crates}
"""


@dataclass
class Source:
    """A source package, and what came of it."""

    name: str
    version: str
    copyright: Path
    parts: set[str] = field(default_factory=set)


def run(*words: str) -> str:
    """Returns what a program prints."""
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def owner(file: str) -> str:
    """Returns the installed package that has a file. The file may be named below `/usr` or not: both are the same."""
    real = str(Path(file).resolve())
    for name in dict.fromkeys([file, f"/usr{file}", file.removeprefix("/usr"), real, real.removeprefix("/usr")]):
        found = subprocess.run(["dpkg-query", "-S", name], capture_output=True, text=True, check=False)
        if found.returncode == 0:
            return found.stdout.split(": ")[0]
    sys.exit(f"error: no package has {file}")


def installed(files: dict[str, str]) -> dict[str, Source]:
    """Returns the sources of the host's files, which are given with their names in the appliance."""
    sources: dict[str, Source] = {}
    for file, part in files.items():
        package = owner(file)
        query = "${source:Package} ${source:Version} ${Package}"
        name, version, package = run("dpkg-query", "-W", "-f", query, package).split()
        source = sources.setdefault(name, Source(name, version, DOCUMENTATION / package / "copyright"))
        source.parts.add(part)
    return sources


def kernel_sources(folder: Path, part: str) -> dict[str, Source]:
    """Returns the sources of the kernel's packages, of which `folder` has the control data."""
    sources = {}
    for stanza in (folder / "control").read_text().strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in stanza.splitlines() if re.match(r"[\w-]+: ", line))
        # A package with signatures is made of another one with the source.
        named = fields.get("Built-Using", fields.get("Source", fields["Package"])).split(",")[0]
        name, _, version = named.partition(" ")
        version = version.strip("(=) ") or fields["Version"]
        text = folder / "usr/share/doc" / fields["Package"] / "copyright"
        sources[name] = Source(name, version, text, {part})
    return sources


def licences(source: Source) -> str:
    """Returns the short names of a package's licences."""
    text = source.copyright.read_text(errors="replace")
    known = LICENCES.get(re.sub(r"-\d+$", "", source.name))
    if "copyright-format/1.0" not in text.partition("\n\n")[0]:
        return known or sys.exit(f"error: add the licences of {source.name} to scripts/appliance_contents.py")
    names = set(re.findall(r"^License:[ \t]*(\S.*)$", text, re.MULTILINE))
    return ", ".join(sorted(names)) or sys.exit(f"error: {source.copyright} names no licence")


def where(source: Source, distribution: str) -> str:
    """Returns the address of a source package."""
    if distribution == "ubuntu":
        return f"https://launchpad.net/ubuntu/+source/{source.name}/{source.version}"
    return f"https://snapshot.debian.org/package/{source.name}/{source.version}/"


def copy_licences(sources: list[Source], folder: Path) -> None:
    """Copies the copyright files, and the texts that they refer to."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "common").mkdir(parents=True)
    referred = set()
    for source in sources:
        text = source.copyright.read_text(errors="replace")
        (folder / f"{source.name}.txt").write_text(text)
        referred |= set(re.findall(rf"{COMMON_LICENCES}/([\w.-]*\w)", text))
    for name in sorted(referred):
        if (COMMON_LICENCES / name).is_file():
            shutil.copyfile(COMMON_LICENCES / name, folder / "common" / f"{name}.txt")


def host_files(description: dict) -> tuple[dict[str, str], int]:
    """Returns the files that packages of the host brought, with their names, and the number of kernel modules."""
    files, modules = {}, 0
    for file in description["files"]:
        if file["origin"] is None:
            continue
        if file["path"].startswith("/modules/"):
            modules += 1
        else:
            files[file["origin"]] = Path(file["path"]).name
    for library in STATIC_LIBRARIES:
        files[run("cc", f"-print-file-name={library}").strip()] = f"{library} (in /init)"
    return files, modules


def row(*cells: str) -> str:
    """Returns a line of a table."""
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Writes the list."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("appliance", type=Path)
    parser.add_argument("kernel", type=Path)
    options = parser.parse_args()

    release = dict(re.findall(r'^(\w+)="?([^"\n]*)', Path("/etc/os-release").read_text(), re.MULTILINE))
    files, modules = host_files(json.loads((options.appliance / "appliance.json").read_text()))
    found = installed(files) | kernel_sources(options.kernel, f"kernel, {modules} modules")
    sources = [found[name] for name in sorted(found)]
    copy_licences(sources, options.appliance / "licences")
    guest = crates()
    write_licences(guest, options.appliance / "licences/crates.txt")
    text = HEAD.format(
        distribution=release["PRETTY_NAME"],
        packages="\n".join(
            row(s.name, s.version, ", ".join(sorted(s.parts)), licences(s), f"<{where(s, release['ID'])}>")
            for s in sources
        ),
        rust=run("rustc", "--version").split()[1],
        crates="\n".join(row(crate.name, crate.version, crate.licence, f"<{crate.source}>") for crate in guest),
    )
    (options.appliance / "CONTENTS.md").write_text(text)


if __name__ == "__main__":
    main()
