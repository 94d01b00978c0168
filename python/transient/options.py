"""What callers may pass: the types that the signatures name."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypedDict, Union

if TYPE_CHECKING:
    from ._transient import CancelToken
    from .events import Event

StrPath = Union[str, "os.PathLike[str]"]
"""A path of the host."""

Size = Union[int, str]
"""A number of bytes, or a text such as `512MiB` or `4G`, in binary units."""

Age = Union[float, timedelta]
"""A number of seconds, or a `timedelta`."""

ExportFormat = Literal["qcow2", "raw", "vmdk", "vhdx", "vdi"]
"""The format of an exported file: of QEMU, the bare disk, of VMware, Hyper-V or VirtualBox."""

Compression = Literal["none", "zlib", "zstd"]
"""How the clusters of an image are compressed, which VMs read as they are."""

Accelerator = Literal["auto", "kvm", "tcg"]
"""What runs a VM's instructions: `auto` is `kvm` where that works, else `tcg`."""

Network = Literal["user", "none"]
"""A VM's network: out to where the host reaches, or none."""

OnFailure = Literal["stop", "shell"]
"""What happens when a step fails, before the build does: nothing more, or a shell in the state before it."""


Copy = Union[str, "tuple[StrPath, StrPath]"]
"""What is copied, and where it goes: a pair of paths, or both with a colon between.

The path of the guest is absolute. Below a destination that is a folder, else in its place.
"""


class Readable(Protocol):
    """A file object, of which only `read` is used."""

    def read(self, size: int, /) -> bytes | str:
        """Return up to `size` bytes or characters, none at the end."""


@dataclass(frozen=True)
class SharedFolder:
    """A folder of the host that a guest sees."""

    host: StrPath
    """The folder."""
    guest: str
    """Where the guest sees it, an absolute path."""
    read_only: bool = False
    """Whether the guest can change nothing in it."""


@dataclass(frozen=True)
class Downloads:
    """How images are downloaded."""

    http_proxy: str | None = field(default=None, repr=False)
    """The proxy for http, for example `http://proxy:3128` or `socks5h://user:password@proxy`."""
    https_proxy: str | None = field(default=None, repr=False)
    """The proxy for https."""
    no_proxy: str | None = None
    """What is reached without: names, with all below them, addresses, networks, `*`, with commas between."""
    certificates: Sequence[StrPath] = ()
    """Files in PEM format, or folders of them, with the authorities to trust; none are the system's."""
    vagrant_server: str | None = None
    """The server that knows the vagrant boxes; else that of Vagrant itself."""
    vagrant_token: str | None = field(default=None, repr=False)
    """What that server, and no other, is shown for boxes that are not public."""


class PullOptions(TypedDict, total=False):
    """The options of `Store.pull`, which documents them; for functions that pass them on."""

    on_event: Callable[[Event], Any] | None
    cancel: CancelToken | None


class TagOptions(TypedDict, total=False):
    """The options of `Store.tag`, which documents them; for functions that pass them on."""

    replace: bool
    on_event: Callable[[Event], Any] | None
    cancel: CancelToken | None


class PruneOptions(TypedDict, total=False):
    """The options of `Store.prune`, which documents them; for functions that pass them on."""

    all: bool
    older_than: Age | None
    dry_run: bool


class ImportOptions(TypedDict, total=False):
    """The options of `Store.import_image`, which documents them; for functions that pass them on."""

    sha256: str | None
    replace: bool
    on_event: Callable[[Event], Any] | None
    cancel: CancelToken | None


class ExportOptions(TypedDict, total=False):
    """The options of `Store.export_image`, which documents them; for functions that pass them on."""

    format: ExportFormat | None
    compress: bool
    replace: bool
    on_event: Callable[[Event], Any] | None
    cancel: CancelToken | None


class BuildOptions(TypedDict, total=False):
    """The options of `Store.build`, which documents them; for functions that pass them on."""

    file: StrPath | None
    local: bool
    compress: Compression
    no_cache: bool
    no_cache_from: int | None
    explain: bool
    on_failure: OnFailure
    keep_failed: str | None
    cache_limit: Size | None
    memory: Size | None
    cpus: int | None
    accelerator: Accelerator
    network: Network
    warm_start: bool
    qemu: StrPath | None
    qmp_timeout: float | None
    ssh_timeout: float | None
    terminal: bool
    on_event: Callable[[Event], Any] | None
    cancel: CancelToken | None


class BuilderOptions(TypedDict, total=False):
    """How the builder VM is run, in which copies are made; options of `Store.build`, which documents them."""

    memory: Size | None
    cpus: int | None
    accelerator: Accelerator
    network: Network
    warm_start: bool
    qemu: StrPath | None
    qmp_timeout: float | None
    ssh_timeout: float | None


class VmOptions(TypedDict, total=False):
    """What a VM is made of. `None` is the default.

    Where a VM of the VM store is started, these win over its own settings, and lists are appended to them.
    """

    config: StrPath | None
    """A configuration file in TOML: the options of the command line are its keys. Arguments win over it."""
    extra_images: Sequence[str] | None
    """Image specs of more disks."""
    ssh: bool | None
    """Reach the guest by SSH: it has a network card; a port of the host's loopback leads to its port 22."""
    ssh_command: str | None
    """What `transient start` runs by SSH in place of a shell. It implies `ssh`."""
    ssh_with_serial: bool | None
    """Tell what the serial console shows by `SerialOutput`, until SSH is connected. It implies `ssh`."""
    ssh_user: str | None
    """Who logs in; else `vagrant`."""
    ssh_key: StrPath | None
    """The private key to log in with; else the agent, your keys, and the well-known one of vagrant boxes."""
    ssh_program: StrPath | None
    """The SSH program that is used in place of the library's own client."""
    ssh_options: Sequence[str] | None
    """Options for `-o` of OpenSSH, which is used in place of the library's own client if there are any."""
    ssh_port: int | None
    """The port of the host that leads to the guest's port 22; else one that is free."""
    ssh_net_driver: str | None
    """QEMU's name of the network card for SSH; else `virtio-net-pci`."""
    ssh_timeout: float | None
    """Seconds that the guest may take to accept SSH; else 90."""
    shared_folders: Sequence[str | SharedFolder] | None
    """Folders of the host that the guest sees: `HOST:GUEST`, `HOST:GUEST:ro`, or `SharedFolder`."""
    no_virtio_scsi: bool | None
    """Have disks be what QEMU has by default (IDE), and not on virtio-scsi."""
    memory: Size | None
    """In bytes or as a text; else QEMU's default."""
    cpus: int | None
    """1 to 255; else 1."""
    shutdown_timeout: float | None
    """Seconds that the guest may take to shut down before QEMU is ended; else 20."""
    qmp_timeout: float | None
    """Seconds that QEMU may take to answer; else 10."""
    qemu: StrPath | None
    """The program, a name or a path; else `qemu-system-x86_64`."""
    qemu_args: Sequence[str] | None
    """More arguments for QEMU, untouched and in this order."""
    on_event: Callable[[Event], Any] | None
    """Is called with each event, on the calling thread."""
    cancel: CancelToken | None
    """Ends the call when it is cancelled, from any thread. An interrupt cancels it too."""


class CreateOptions(VmOptions, total=False):
    """The options of `Store.create`."""

    name: str | None
    """The VM's name; else one is made up."""


class StartOptions(VmOptions, total=False):
    """The options of `Store.start`."""

    copy_in_before: Sequence[Copy] | None
    """What is copied into the first disk before the VM starts: from the host, to the guest."""
    copy_out_after: Sequence[Copy] | None
    """What is copied out of the first disk when the VM has ended: from the guest, to the host."""
    copy_timeout: float | None
    """Seconds that all copies before, or all after, may take; else as long as they like."""
    builder: BuilderOptions | None
    """How the VM is run in which copies are made."""
    inherit_stdio: bool | None
    """Let QEMU have this process's input and output, if `qemu_args` has a serial port that uses them."""


class RunOptions(StartOptions, total=False):
    """The options of `Store.run`."""

    name: str | None
    """The VM's name: it is made in the VM store, or if it is there, started. Else nothing of it is kept."""


class SshOptions(TypedDict, total=False):
    """The options of `Vm.ssh`, which documents them; for functions that pass them on."""

    input: bytes | str | None
    stdin: Readable | None
    timeout: float | None
    check: bool
    text: bool | None
    encoding: str | None
    errors: str | None
    on_event: Callable[[Event], Any] | None
    cancel: CancelToken | None


class StoreSshOptions(SshOptions, total=False):
    """The options of `Store.ssh`, which documents them; for functions that pass them on."""

    user: str | None
    key: StrPath | None
    program: StrPath | None
    options: Sequence[str]
    ssh_timeout: float | None
    wait: bool


class CopyOptions(TypedDict, total=False):
    """The options of `Store.copy`, which documents them; for functions that pass them on."""

    into: Sequence[Copy]
    out: Sequence[Copy]
    timeout: float | None
    builder: BuilderOptions | None
    on_event: Callable[[Event], Any] | None
    cancel: CancelToken | None


class CommitOptions(TypedDict, total=False):
    """The options of `Store.commit`, which documents them; for functions that pass them on."""

    compress: Compression
    on_event: Callable[[Event], Any] | None
    cancel: CancelToken | None
