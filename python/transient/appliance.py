"""What the builder VM boots: a kernel, and an initramfs with the filesystem tools."""

from __future__ import annotations

from ._transient import Appliance, build_appliance, find_appliance

__all__ = ["Appliance", "build", "find"]

build = build_appliance
find = find_appliance
