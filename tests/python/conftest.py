"""What the builds of the tests are made from, and where they go."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import transient
from transient._pytest.sharing import locked

if TYPE_CHECKING:
    from transient.pytest_plugin import ImageFactory

VERDICT = "kvm-does-not-work.json"
SCRIPTS = Path(__file__).parents[2] / "scripts"

TINY = """\
FROM scratch
DISK 64 MB MBR
PARTITION 1 FORMAT ext4 MOUNT / FLAGS boot
ADD rootfs.tar.gz /
"""


@pytest.fixture(scope="session")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a tiny system, a static busybox and little more, as a .tar.gz."""
    archive = tmp_path_factory.mktemp("rootfs") / "rootfs.tar.gz"
    subprocess.run([SCRIPTS / "busybox-rootfs.sh", archive], check=True)
    return archive


@pytest.fixture
def build_dir(tmp_path: Path, rootfs: Path) -> Path:
    """Return a folder with the tiny system, and an Imagefile that is no more than it."""
    folder = tmp_path / "build_dir"
    folder.mkdir()
    shutil.copy(rootfs, folder)
    (folder / "Imagefile").write_text(TINY)
    return folder


def own_cache(folder: Path) -> Path:
    """Return a cache without layers below a folder. What is known of this host (does KVM work?) is in it."""
    cache, shared = folder / "cache", transient.Store().cache / VERDICT
    cache.mkdir(exist_ok=True)
    shutil.rmtree(cache / "layers", ignore_errors=True)
    builders = transient.Store().cache / "builders"
    builders.mkdir(parents=True, exist_ok=True)
    if not (cache / "builders").exists():
        (cache / "builders").symlink_to(builders)
    if shared.exists() and not shared.parent.samefile(cache):
        shutil.copy(shared, cache)
    return cache


@pytest.fixture
def store(tmp_path: Path) -> Iterator[transient.Store]:
    """Return a store of the test's own; only what is known of this host (does KVM work?) is shared."""
    cache, shared = own_cache(tmp_path), transient.Store().cache / VERDICT
    yield transient.Store(tmp_path / "backend", tmp_path / "vmstore", cache=cache)
    if not shared.exists() and (cache / VERDICT).exists():
        shared.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(cache / VERDICT, shared)


@pytest.fixture
def blank_store(store: transient.Store) -> transient.Store:
    """Return a store with the image `blank`, which is empty and boots nothing."""
    store.backend.mkdir()
    blank = store.backend / "blank"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", blank, "1M"], check=True)
    return store


@pytest.fixture(scope="session")
def tiny(transient_image: ImageFactory, tmp_path_factory: pytest.TempPathFactory) -> transient.Image:
    """Return the image of a tiny system that boots in seconds and accepts SSH, built once a session."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    folder = shared / "tiny-vm"
    with locked(shared / "tiny-vm.lock"):
        if not (folder / "rootfs.tar.gz").exists():
            subprocess.run([SCRIPTS / "tiny-vm.sh", folder], check=True)
    return transient_image(folder, name="tiny", memory="512MiB")
