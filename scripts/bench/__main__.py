"""Measures what was asked for, and writes the page."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from .programs import run
from .report import NotAvailable, Table, page
from .setting import Setting
from .tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Iterator


def options() -> argparse.Namespace:
    """Read the arguments; `scripts/bench.sh` gives the paths."""
    parser = argparse.ArgumentParser(prog="bench.sh", description="Measures transient; prints medians.")
    parser.add_argument("--transient", required=True, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--rootfs", required=True, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--kernel", required=True, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--folder", required=True, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--old", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--wrapper", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--debian", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--supermin-kernel", help=argparse.SUPPRESS)
    parser.add_argument("--supermin-modules", help=argparse.SUPPRESS)
    parser.add_argument("--only", metavar="TABLE,...", help=f"only these of {', '.join(TABLES)}")
    parser.add_argument("--runs", type=int, default=5, help="how often ours is run (default: 5)")
    parser.add_argument("--peer-runs", type=int, default=3, help="how often slow others are run (default: 3)")
    parser.add_argument("--quick", action="store_true", help="once each, and less of what grows")
    parser.add_argument("--output", type=Path, help="the page to write")
    chosen = parser.parse_args()
    chosen.only = chosen.only.split(",") if chosen.only else list(TABLES)
    if unknown := set(chosen.only) - set(TABLES):
        parser.error(f"there is no table {', '.join(unknown)}")
    if chosen.quick:
        chosen.runs = chosen.peer_runs = 1
    return chosen


def measure(name: str, setting: Setting) -> Iterator[Table]:
    """Yield the tables of that name; one that cannot be measured says why."""
    begun = time.monotonic()
    print(f"\n{name}", end="", flush=True)
    try:
        yield from TABLES[name](setting)
    except NotAvailable as reason:
        print(f"\n  not available: {reason}", end="", flush=True)
        yield Table(name, ["not available"], "", [[str(reason)]])
    print(f"\n  ({time.monotonic() - begun:.0f} s)", end="", flush=True)


def main() -> None:
    """Measure, and write after each table: what was measured is not lost."""
    chosen = options()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="work-", dir=chosen.folder) as folder:
        setting = Setting.of(chosen, Path(folder))
        qemu = run(["qemu-system-x86_64", "--version"], setting.ours.environment).lines[0][1]
        tables: list[Table] = []
        for name in chosen.only:
            tables += measure(name, setting)
            if chosen.output:
                command = (
                    "make bench" if len(chosen.only) == len(TABLES) else f"bench.sh --only {','.join(chosen.only)}"
                )
                chosen.output.write_text(page(tables, command, qemu))
        print("\n" if chosen.output else "\n\n" + "\n".join(table.text() for table in tables))
        # Images are read-only, and so may be the folders of a root filesystem.
        shutil.rmtree(folder, ignore_errors=True)
        Path(folder).mkdir(exist_ok=True)


if __name__ == "__main__":
    sys.exit(main())
