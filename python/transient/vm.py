"""Virtual machines: those that this process runs, and what is told of all.

>>> info = VmInfo(name="web", image="debian/12", ssh=True, stored=True, running=None)
>>> info.is_running
False
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ._transient import SshStream, Vm

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["RunningVm", "SshStream", "Vm", "VmInfo"]


@dataclass(frozen=True)
class RunningVm:
    """A VM as it runs."""

    pid: int
    """The process that it ends with."""
    qemu_pid: int
    """The QEMU process."""
    started: datetime
    """When it started, in UTC."""
    ssh_port: int | None
    """The port of the host's loopback that leads to its port 22."""
    stateless: bool
    """Whether nothing of it is kept."""


@dataclass(frozen=True)
class VmInfo:
    """A VM of the VM store, or one that runs."""

    name: str
    """Its name."""
    image: str
    """The image that its first disk is from."""
    ssh: bool
    """Whether it is reached by SSH, or will be when it runs."""
    stored: bool
    """Whether the VM store has it."""
    running: RunningVm | None
    """What is known of it as it runs; `None` when it does not."""

    @property
    def is_running(self) -> bool:
        """Whether it runs."""
        return self.running is not None
