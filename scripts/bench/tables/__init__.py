"""The tables, by the name that chooses them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import add, base, debian, flattening, floors, growth, layers, listing, tiny, vms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..report import Table
    from ..setting import Setting

TABLES: dict[str, Callable[[Setting], Iterable[Table]]] = {
    "floors": floors.tables,
    "tiny": tiny.tables,
    "debian": debian.tables,
    "layers": layers.tables,
    "add": add.tables,
    "flattening": flattening.tables,
    "base": base.tables,
    "listing": listing.tables,
    "vms": vms.tables,
    "growth": growth.tables,
}
