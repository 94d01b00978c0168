"""What callers may pass: the types that the signatures name."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Union

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
