"""Images under other names, from files, to files, and those that nobody needs."""

from __future__ import annotations

import hashlib
import os
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import transient
from transient import errors, events

if TYPE_CHECKING:
    from transient.options import ExportFormat

FORMATS: list[ExportFormat] = ["qcow2", "raw", "vmdk", "vhdx", "vdi"]


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """Return a raw disk of 16 MiB, of which little is used."""
    path = tmp_path / "disk.img"
    with path.open("wb") as file:
        file.seek(1 << 20)
        file.write(os.urandom(1 << 20))
        file.truncate(16 << 20)
    return path


@pytest.fixture
def filled(store: transient.Store, disk: Path) -> transient.Store:
    """Return a store with that disk as the image `disk`."""
    store.import_image(disk)
    return store


def same(disk: Path, other: Path, file_format: str) -> bool:
    command: list[str | Path] = ["qemu-img", "compare", "-q", "-f", "raw", "-F", file_format, disk, other]
    return subprocess.run(command, check=False).returncode == 0


def use(store: transient.Store, image: str) -> None:
    """Give the VM `box` a disk on an image."""
    folder = store.vmstore / "box"
    folder.mkdir(parents=True)
    command = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b"]
    subprocess.run([*command, store.backend / image, folder / f"box-0-{image}"], check=True)


def test_tag(filled: transient.Store) -> None:
    tagged = filled.tag("disk", "team/disk:1")
    assert tagged == filled.image("team/disk:1")
    assert tagged.path.stat().st_ino == (filled.backend / "disk").stat().st_ino
    with pytest.raises(errors.ImageExists, match="An image with the name 'disk' already exists"):
        filled.tag("team/disk:1", "disk")
    filled.tag("team/disk:1", "disk", replace=True)
    with pytest.raises(errors.ImageNotFound):
        filled.tag("other", "new")
    filled.remove("disk")
    assert [image.name for image in filled.images()] == ["team/disk:1"]


def test_a_vms_image_stays(filled: transient.Store, disk: Path) -> None:
    filled.tag("disk", "used")
    use(filled, "used")
    with pytest.raises(errors.ImageInUse) as in_use:
        filled.tag("disk", "used", replace=True)
    assert in_use.value.vms == ("box",)
    with pytest.raises(errors.ImageInUse):
        filled.import_image(disk, "used", replace=True)
    assert [image.name for image in filled.prune(all=True).images] == ["disk"]
    assert [image.name for image in filled.images()] == ["used"]


def test_prune(filled: transient.Store) -> None:
    dead = filled.backend / ".working" / ".build-dead00"
    dead.mkdir()
    (dead / ".lock").write_text("4711\n")
    (dead / "disk").write_bytes(b"x" * 4096)
    would = filled.prune(dry_run=True)
    assert (would.images, would.leftovers) == ([], [dead])
    assert dead.exists()
    assert filled.prune() == would
    assert not dead.exists()
    assert filled.prune(all=True, older_than=timedelta(days=7)).images == []
    assert filled.prune(all=True, older_than=3600).images == []
    (image,) = filled.images()
    assert filled.prune(all=True) == transient.Pruned([image], [], image.real_size)
    assert filled.images() == []
    with pytest.raises(ValueError, match="no age"):
        filled.prune(older_than=-1)


def test_prune_warns_of_what_is_no_image(filled: transient.Store) -> None:
    (filled.backend / "junk").write_bytes(b"no image")
    with pytest.warns(UserWarning, match="junk"):
        filled.prune(all=True)


@pytest.mark.parametrize("file_format", FORMATS)
def test_out_and_back(filled: transient.Store, disk: Path, tmp_path: Path, file_format: ExportFormat) -> None:
    by_name, told = tmp_path / f"out.{file_format}", tmp_path / "out"
    filled.export_image("disk", by_name)
    filled.export_image("disk", told, format=file_format)
    assert same(disk, by_name, file_format)
    assert same(disk, told, file_format)
    assert filled.import_image(by_name, "back").virtual_size >= 16 << 20
    assert same(disk, filled.backend / "back", "qcow2")


def test_export(filled: transient.Store, disk: Path, tmp_path: Path) -> None:
    seen: list[events.Event] = []
    path = tmp_path / "out" / "disk.raw.xz"
    path.parent.mkdir()
    filled.export_image("disk", path, on_event=seen.append)
    finished = seen[-1]
    assert isinstance(finished, events.ExportFinished)
    assert finished.path == path
    assert 1 << 20 <= finished.real_size < 2 << 20
    with pytest.raises(errors.FileExists) as there:
        filled.export_image("disk", path)
    assert isinstance(there.value, FileExistsError)
    filled.export_image("disk", path, replace=True)
    with pytest.raises(errors.InvalidArgument, match="no compression of its own"):
        filled.export_image("disk", path, format="vdi", compress=True, replace=True)
    with pytest.raises(ValueError, match="'qcow2', 'raw'"):
        filled.export_image("disk", tmp_path / "x", format="iso")  # type: ignore[arg-type]
    assert filled.import_image(path, "back").virtual_size == disk.stat().st_size
    assert list(path.parent.iterdir()) == [path]


def test_a_cancelled_export_leaves_nothing(filled: transient.Store, tmp_path: Path) -> None:
    cancel = transient.CancelToken()
    path = tmp_path / "out" / "disk.raw.xz"
    path.parent.mkdir()

    def on_event(event: events.Event) -> None:
        if isinstance(event, events.Progress):
            cancel.cancel()

    with pytest.raises(errors.Cancelled):
        filled.export_image("disk", path, on_event=on_event, cancel=cancel)
    assert list(path.parent.iterdir()) == []


def test_import(filled: transient.Store, disk: Path) -> None:
    with pytest.raises(errors.ImageExists):
        filled.import_image(disk)
    digest = hashlib.sha256(disk.read_bytes()).hexdigest()
    assert filled.import_image(disk, replace=True, sha256=digest).name == "disk"
    with pytest.raises(errors.InvalidImage, match=digest):
        filled.import_image(disk, "other", sha256="0" * 64)
    with pytest.raises(errors.InvalidArgument, match="not 64"):
        filled.import_image(disk, "other", sha256="12")
    with pytest.raises(errors.SourceFailed):
        filled.import_image(disk.with_name("missing.img"))


def test_the_default_store(tmp_path: Path, disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSIENT_BACKEND", str(tmp_path / "backend"))
    monkeypatch.setenv("TRANSIENT_VMSTORE", str(tmp_path / "vmstore"))
    transient.import_image(disk)
    transient.tag("disk", "second")
    transient.export_image("second", tmp_path / "out.raw")
    assert same(disk, tmp_path / "out.raw", "raw")
    assert len(transient.prune(all=True).images) == 2
