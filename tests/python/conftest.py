"""What the builds of the tests are made from, and where they go."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import transient

VERDICT = "kvm-does-not-work.json"
SCRIPTS = Path(__file__).parents[2] / "scripts"

TINY = """\
FROM scratch
DISK 64 MB MBR
PARTITION 1 FORMAT ext4 MOUNT / FLAGS boot
ADD rootfs.tar.gz /
"""

TINY_VM = "tiny/vm"


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


@pytest.fixture(scope="session")
def tiny_vm_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of a tiny image that boots on its own, which is built once for all workers."""
    run = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        # the workers' folders are in one, that of the run
        run = run.parent
    image = run / "tiny-vm.qcow2"
    with (run / "tiny-vm.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not image.exists():
            work = tmp_path_factory.mktemp("tiny-vm")
            subprocess.run([SCRIPTS / "tiny-vm.sh", work / "build"], check=True)
            store = transient.Store(work / "backend", work / "vmstore", cache=own_cache(work))
            built = store.build(work / "build", name=TINY_VM, memory="512MiB")
            shutil.move(built.path, image)
    return image


@pytest.fixture
def tiny_vm(store: transient.Store, tiny_vm_image: Path) -> str:
    """Return the name of an image in the test's store that boots on its own in seconds."""
    store.backend.mkdir(parents=True, exist_ok=True)
    (store.backend / TINY_VM.replace("/", "%2F")).hardlink_to(tiny_vm_image)
    return TINY_VM
