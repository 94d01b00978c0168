"""What callers may pass: the types that the signatures name."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Union

if TYPE_CHECKING:
    from ._transient import CancelToken
    from .events import Event

StrPath = Union[str, "os.PathLike[str]"]
"""A path of the host."""

Size = Union[int, str]
"""A number of bytes, or a text such as `512MiB` or `4G`, in binary units."""

Accelerator = Literal["auto", "kvm", "tcg"]
"""What runs a VM's instructions: `auto` is `kvm` where that works, else `tcg`."""

Network = Literal["user", "none"]
"""A VM's network: out to where the host reaches, or none."""


class BuildOptions(TypedDict, total=False):
    """The options of `Store.build`, which documents them; for functions that pass them on."""

    file: StrPath | None
    local: bool
    memory: Size | None
    cpus: int | None
    accelerator: Accelerator
    network: Network
    qemu: StrPath | None
    qmp_timeout: float | None
    ssh_timeout: float | None
    terminal: bool
    on_event: Callable[[Event], Any] | None
    cancel: CancelToken | None
