"""What is in an appliance is listed, or the wheel is not built."""

from __future__ import annotations

import json
import sys
import tempfile
import unittest
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import appliance_contents
import appliance_crates
import check_wheel

DEP5 = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
License: GPL-2+

Files: lib/*
License: LGPL-2.1+
 The text is in /usr/share/common-licenses/LGPL-2.1.
"""


def package(name: str, *, licence: str | None = "MIT", kind: str = "lib", source: str | None = "crates.io") -> dict:
    """Returns a package as cargo describes it."""
    targets = [{"kind": [kind]}]
    return {
        "id": name,
        "name": name,
        "version": "1.0.0",
        "license": licence,
        "source": source,
        "targets": targets,
        "manifest_path": f"/crates/{name}/Cargo.toml",
    }


def metadata(packages: list[dict], dependencies: dict[str, list[tuple[str, str | None]]]) -> dict:
    """Returns cargo's description of packages, with the kinds of their dependencies."""
    def node(name: str) -> dict:
        edges = dependencies.get(name, [])
        return {"id": name, "deps": [{"pkg": other, "dep_kinds": [{"kind": kind}]} for other, kind in edges]}

    return {"packages": packages, "resolve": {"nodes": [node(package["id"]) for package in packages]}}


class Crates(unittest.TestCase):
    """The crates of a program."""

    def test_only_what_is_linked_in_is_listed(self) -> None:
        """No build scripts, macros, or own crates."""
        packages = [package("program", source=None), package("inner"), package("built"), package("far")]
        packages.append(package("derive", kind="proc-macro"))
        edges = {"program": [("inner", None), ("built", "build"), ("derive", None)], "inner": [("far", None)]}
        found = appliance_crates.linked(metadata(packages, edges), "program")
        self.assertEqual([crate.name for crate in found], ["far", "inner"])

    def test_a_crate_without_a_licence_is_an_error(self) -> None:
        """So that somebody looks."""
        packages = [package("program", source=None), package("inner", licence=None)]
        with self.assertRaises(SystemExit):
            appliance_crates.linked(metadata(packages, {"program": [("inner", None)]}), "program")


class Packages(unittest.TestCase):
    """The packages of the host and of the kernel."""

    def setUp(self) -> None:
        """Makes a folder for copyright files."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def source(self, name: str, copyright_text: str) -> appliance_contents.Source:
        """Returns a source package with a copyright file."""
        file = self.folder / name
        file.write_text(copyright_text)
        return appliance_contents.Source(name, "1", file)

    def test_licences_are_read_where_machines_can(self) -> None:
        """Else they stand in the table, or the list is not made."""
        self.assertEqual(appliance_contents.licences(self.source("some", DEP5)), "GPL-2+, LGPL-2.1+")
        self.assertIn("GCC-exception", appliance_contents.licences(self.source("gcc-13", "This is gcc.")))
        with self.assertRaises(SystemExit):
            appliance_contents.licences(self.source("other", "This is free, more or less."))

    def test_texts_that_are_referred_to_are_copied(self) -> None:
        """They are not in the copyright files."""
        appliance_contents.copy_licences([self.source("some", DEP5)], self.folder / "licences")
        self.assertTrue((self.folder / "licences/common/LGPL-2.1.txt").is_file())
        self.assertEqual((self.folder / "licences/some.txt").read_text(), DEP5)

    def test_a_file_of_no_package_is_an_error(self) -> None:
        """A tool that somebody built by hand has no known source."""
        with self.assertRaises(SystemExit):
            appliance_contents.owner(str(self.folder / "mke2fs"))

    def test_the_source_of_a_signed_kernel_is_the_unsigned_one(self) -> None:
        """The package with the signatures has no source in it."""
        signed = "Package: image\nSource: linux-signed (6.1+2)\nVersion: 6.1-2\nBuilt-Using: linux (= 6.1-2)\n"
        (self.folder / "control").write_text(f"{signed}\nPackage: extra\nVersion: 7\nSource: linux-extra\n\n")
        found = appliance_contents.kernel_sources(self.folder, "kernel")
        versions = {name: source.version for name, source in found.items()}
        self.assertEqual(versions, {"linux": "6.1-2", "linux-extra": "7"})


class Wheel(unittest.TestCase):
    """The check of the wheel."""

    def faults(self, contents: str, *names: str) -> list[str]:
        """Returns what is found in a small wheel."""
        files = [{"path": "/usr/sbin/mke2fs", "origin": "/sbin/mke2fs"}, {"path": "/init", "origin": None}]
        with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(Path(folder) / "x.whl", "w") as wheel:
            for name in (*check_wheel.NEEDED, *names):
                if not name.endswith((".json", ".md")):
                    wheel.writestr(name, "")
            wheel.writestr("transient/appliance/appliance.json", json.dumps({"files": files}))
            wheel.writestr("transient/appliance/CONTENTS.md", contents)
            return check_wheel.faults(wheel)

    def test_a_file_that_is_not_listed_is_a_fault(self) -> None:
        """Each is named between bars or commas."""
        self.assertEqual(self.faults("| mke2fs, kernel, 0 modules |"), [])
        self.assertEqual(self.faults("| kernel, 0 modules |"), ["CONTENTS.md does not name mke2fs"])

    def test_stray_files_are_faults(self) -> None:
        """Such as those of Python's cache."""
        stray = "transient/__pycache__/errors.cpython-311.pyc"
        self.assertEqual(self.faults("", stray), [f"{stray} does not belong here"])


if __name__ == "__main__":
    unittest.main()
