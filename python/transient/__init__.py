r"""Builds, pulls, lists and removes virtual machine disk images, and runs virtual machines from them.

>>> import transient
>>> imagefile = transient.Imagefile.parse("FROM scratch\nDISK 1 GB GPT\nPARTITION 1 FORMAT ext4 MOUNT /\n")
>>> imagefile.instructions[1]
Disk(line=2, text='DISK 1 GB GPT', size=1073741824, label='GPT')
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import appliance, errors, events, inspection, instructions, names, options, plan, vm
from ._transient import CancelToken, Imagefile, SshStream, Store, Vm, __version__, format_bytes, parse_bytes
from .errors import Error
from .image import Image, Pruned

if TYPE_CHECKING:
    from collections.abc import Sequence
    from subprocess import CompletedProcess

    from typing_extensions import Unpack

    from .options import (
        BuildOptions,
        CommitOptions,
        CopyOptions,
        CreateOptions,
        ExportOptions,
        ImportOptions,
        PruneOptions,
        PullOptions,
        RunOptions,
        StartOptions,
        StoreSshOptions,
        StrPath,
        TagOptions,
    )
    from .vm import VmInfo

__all__ = [
    "CancelToken",
    "Error",
    "Image",
    "Imagefile",
    "Pruned",
    "SshStream",
    "Store",
    "Vm",
    "__version__",
    "appliance",
    "build",
    "commit",
    "copy",
    "create",
    "errors",
    "events",
    "export_image",
    "format_bytes",
    "images",
    "import_image",
    "inspection",
    "instructions",
    "names",
    "options",
    "parse_bytes",
    "plan",
    "prune",
    "pull",
    "remove",
    "remove_vms",
    "run",
    "ssh",
    "start",
    "stop",
    "tag",
    "vm",
    "vms",
]


def build(directory: StrPath, *, name: str, **options: Unpack[BuildOptions]) -> Image:
    """Build an image into the default store; see `Store.build`."""
    return Store().build(directory, name=name, **options)


def pull(*specs: str, **options: Unpack[PullOptions]) -> list[Image]:
    """Bring images into the default store; see `Store.pull`."""
    return Store().pull(*specs, **options)


def images() -> list[Image]:
    """List the images of the default store; see `Store.images`."""
    return Store().images()


def remove(*names: str, force: bool = False) -> None:
    """Remove images from the default store; see `Store.remove`."""
    Store().remove(*names, force=force)


def tag(source: str, name: str, **options: Unpack[TagOptions]) -> Image:
    """Give an image of the default store another name; see `Store.tag`."""
    return Store().tag(source, name, **options)


def prune(**options: Unpack[PruneOptions]) -> Pruned:
    """Remove what nobody needs from the default store; see `Store.prune`."""
    return Store().prune(**options)


def import_image(path: StrPath, name: str | None = None, **options: Unpack[ImportOptions]) -> Image:
    """Make a file of the host an image of the default store; see `Store.import_image`."""
    return Store().import_image(path, name, **options)


def export_image(name: str, path: StrPath, **options: Unpack[ExportOptions]) -> None:
    """Write an image of the default store to a file; see `Store.export_image`."""
    Store().export_image(name, path, **options)


def run(image: str | None = None, **options: Unpack[RunOptions]) -> Vm:
    """Start a VM from an image of the default store; see `Store.run`."""
    return Store().run(image, **options)


def create(image: str | None = None, **options: Unpack[CreateOptions]) -> str:
    """Make a VM in the default VM store, and do not start it; see `Store.create`."""
    return Store().create(image, **options)


def start(name: str, **options: Unpack[StartOptions]) -> Vm:
    """Start a VM of the default VM store; see `Store.start`."""
    return Store().start(name, **options)


def vms() -> list[VmInfo]:
    """List the VMs of the default VM store; see `Store.vms`."""
    return Store().vms()


def stop(*names: str, kill: bool = False) -> None:
    """End VMs that run, also those of other processes; see `Store.stop`."""
    Store().stop(*names, kill=kill)


def remove_vms(*names: str, force: bool = False) -> None:
    """Remove VMs from the default VM store; see `Store.remove_vms`."""
    Store().remove_vms(*names, force=force)


def ssh(
    name: str, command: str | Sequence[str] | None = None, **options: Unpack[StoreSshOptions]
) -> CompletedProcess[Any]:
    """Run a command in a VM that runs, also one of another process; see `Store.ssh`."""
    return Store().ssh(name, command, **options)


def copy(name: str, **options: Unpack[CopyOptions]) -> None:
    """Copy between the host and the disk of a VM that does not run; see `Store.copy`."""
    Store().copy(name, **options)


def commit(vm: str, image: str, **options: Unpack[CommitOptions]) -> Image:
    """Make an image of the disk of a VM that does not run; see `Store.commit`."""
    return Store().commit(vm, image, **options)
