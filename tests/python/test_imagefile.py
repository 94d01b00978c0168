"""Imagefiles: instructions, plans, diagnostics."""

from __future__ import annotations

from pathlib import Path

import pytest

import transient
from transient import errors, instructions, plan

TEXT = """\
# every instruction
FROM scratch
DISK 2 GB GPT
PARTITION 1 SIZE 100 MB FORMAT vfat MOUNT /boot FLAGS efi
PARTITION 2 FORMAT ext4 OPTIONS "-L root" MOUNT /
COPY a "b c" /etc/
ADD rootfs.tar.gz /
RUN echo \\
  hello
INSPECT
"""


def test_instructions_are_typed() -> None:
    imagefile = transient.Imagefile.parse(TEXT, path=Path("some/Imagefile"))
    assert imagefile.path == Path("some/Imagefile")
    assert imagefile.text == TEXT
    found = imagefile.instructions
    assert found[0] == instructions.From(2, "FROM scratch", None, None, None, None)
    assert found[1] == instructions.Disk(3, "DISK 2 GB GPT", 2 << 30, "GPT")
    match found[2]:
        case instructions.Partition(number=1, size=100_000_000, format="vfat", mount="/boot", flags=("efi",)):
            pass
        case other:
            pytest.fail(repr(other))
    assert isinstance(found[3], instructions.Partition)
    assert (found[3].size, found[3].options) == (None, ("-L", "root"))
    assert isinstance(found[4], instructions.Copy)
    assert (found[4].sources, found[4].destination) == (("a", "b c"), "/etc/")
    assert isinstance(found[5], instructions.Add)
    assert isinstance(found[6], instructions.Run)
    assert (found[6].line, found[6].command.split()) == (8, ["echo", "hello"])
    assert isinstance(found[7], instructions.Inspect)
    assert len(found) == 8
    assert repr(imagefile) == '<Imagefile "some/Imagefile", 8 instructions>'


def test_a_plan_places_partitions() -> None:
    made = transient.Imagefile.parse(TEXT).plan
    assert made.base is None
    assert made.disk is not None
    assert made.disk.size == 2 << 30
    assert made.disk.partitions[0] == plan.PlacedPartition(1, 1 << 20, 100_000_256, False, "efi-system")  # noqa: FBT003
    assert [mount.path for mount in made.disk.mounts] == ["/", "/boot"]
    assert made.steps == transient.Imagefile.parse(TEXT).instructions
    from_image = transient.Imagefile.parse(b"FROM a,file=b.qcow2\nRUN true").plan
    assert (from_image.base, from_image.disk) == ("a,file=b.qcow2", None)


def test_all_errors_at_once(tmp_path: Path) -> None:
    file = tmp_path / "Imagefile"
    file.write_text("FROM scratch\nDISK 1 GB GTP\nRUM true\n")
    with pytest.raises(errors.InvalidImagefile) as caught:
        transient.Imagefile.load(file)
    error = caught.value
    assert isinstance(error, ValueError)
    places = [(found.line, found.column, found.text) for found in error.diagnostics]
    assert (2, 11, "DISK 1 GB GTP") in places
    assert (3, 1, "RUM true") in places
    assert all(found.file == str(file) for found in error.diagnostics)
    assert any(found.help and "RUN" in found.help for found in error.diagnostics)
    assert "RUM true" in str(error)


def test_bytes_must_be_utf8_and_files_readable(tmp_path: Path) -> None:
    with pytest.raises(errors.InvalidImagefile):
        transient.Imagefile.parse(b"FROM a\nRUN \xff\n")
    with pytest.raises(errors.InvalidArgument, match="there is no Imagefile at"):
        transient.Imagefile.load(tmp_path / "none")
    with pytest.raises(errors.IoError) as caught:
        transient.Imagefile.load(tmp_path)
    assert isinstance(caught.value, OSError)
    assert caught.value.causes
