"""The tiny build, and what of it is done when little or nothing has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..inputs import TINY, TINY_BY_GUESTFISH, folder
from ..report import NotAvailable, Table, Timings, in_turns, ratio_of

if TYPE_CHECKING:
    from ..setting import Setting

COLD = "transient, cold (the builder boots)"


def tables(setting: Setting) -> list[Table]:
    """Ours warm, cold, and the others."""
    tiny = folder(setting.work / "tiny", TINY, setting.rootfs)
    ours, image = setting.ours, setting.work / "fish.qcow2"
    script = TINY_BY_GUESTFISH.format(image=image, archive=setting.rootfs)
    # Not measured: whether KVM works is found out once, a state to start from is saved, files come into the page cache.
    ours.anew(tiny)
    ours.anew(tiny)
    table = Timings(
        "Tiny build", "A disk of 2 GB, MBR, ext4; an archive of 1 MB; two RUNs. Nothing is taken from the cache."
    )
    measured = in_turns(
        {
            "transient": (setting.runs, lambda: ours.anew(tiny).seconds),
            COLD: (setting.runs, lambda: ours.anew_and_cold(tiny).seconds),
            "release 0.25": (setting.peer_runs, lambda: setting.old.build(tiny)),
            "guestfish": (setting.peer_runs, lambda: setting.guestfs.fish(script)),
        }
    )
    wanted = {
        "transient": "at most 1.9 s",
        "release 0.25": "at least 12",
        "guestfish": "at least 7",
    }
    table.compare(measured, wanted)
    cold = measured[COLD]
    for name, least in (("release 0.25", 7), ("guestfish", 4)):
        theirs = measured[name]
        if not isinstance(cold, NotAvailable) and not isinstance(theirs, NotAvailable):
            table.figure(f"{name}, beside ours cold", f"{ratio_of(theirs, cold):.2f}", f"at least {least}")
    return [table]
