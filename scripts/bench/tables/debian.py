"""A real distribution."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..inputs import DEBIAN, DEBIAN_BY_GUESTFISH, folder
from ..report import NotAvailable, Table, Timings, in_turns

if TYPE_CHECKING:
    from ..setting import Setting


def tables(setting: Setting) -> list[Table]:
    """A Debian from debootstrap, to which a package is installed."""
    if not setting.debian:
        raise NotAvailable("there is no root filesystem: debootstrap is not installed, or has no network")
    debian = folder(setting.work / "debian", DEBIAN, setting.debian)
    image = setting.work / "debian.qcow2"
    script = DEBIAN_BY_GUESTFISH.format(image=image, archive=setting.debian)
    packages = ("apt-get update", "apt-get install -y --no-install-recommends nano")

    def customized() -> float:
        return setting.guestfs.fish(script) + setting.guestfs.customize(image, *packages)

    table = Timings(
        "Debian build",
        "A root filesystem of debootstrap as `.tar.xz` on GPT and ext4, `apt-get update`, `apt-get install nano`.",
    )
    runs = min(setting.runs, 3)
    measured = in_turns(
        {
            "transient": (runs, lambda: setting.ours.anew(debian).seconds),
            "release 0.25": (min(setting.peer_runs, 2), lambda: setting.old.build(debian)),
            "guestfish, virt-customize": (min(setting.peer_runs, 2), customized),
        }
    )
    table.compare(measured, {"release 0.25": "at least 2.5"})
    return [table]
