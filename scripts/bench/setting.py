"""What all tables share: the programs, the inputs, and how often each is run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .programs import Guestfs, Release025, Transient

if TYPE_CHECKING:
    import argparse


@dataclass
class Setting:
    """A bench."""

    work: Path
    rootfs: Path
    debian: Path | None
    kernel: Path
    ours: Transient
    old: Release025
    guestfs: Guestfs
    runs: int
    peer_runs: int
    """How often what is slow beside ours is run."""
    quick: bool

    @classmethod
    def of(cls, options: argparse.Namespace, work: Path) -> Setting:
        """Return what the options ask for."""
        ours = Transient(options.transient, work)
        return cls(
            work,
            options.rootfs,
            options.debian,
            options.kernel,
            ours,
            Release025(options.old, options.wrapper, ours),
            Guestfs(options.supermin_kernel, options.supermin_modules, work),
            options.runs,
            options.peer_runs,
            options.quick,
        )
