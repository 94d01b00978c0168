"""Tables of what was measured, as Markdown."""

from __future__ import annotations

import platform
import statistics
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Union


class NotAvailable(Exception):
    """Something cannot be measured here, and why."""


Measured = Union[list[float], NotAvailable]
"""Seconds, or why there are none."""


def in_turns(ways: dict[str, tuple[int, Callable[[], float]]]) -> dict[str, Measured]:
    """Measure each so many times, in turns: a busy moment of the machine strikes all of them.

    One that fails is not measured again, and does not end the bench.
    """
    measured: dict[str, Measured] = {name: [] for name in ways}
    for turn in range(max(runs for runs, _ in ways.values())):
        for name, (runs, way) in ways.items():
            so_far = measured[name]
            if turn >= runs or isinstance(so_far, NotAvailable):
                continue
            try:
                so_far.append(way())
            except NotAvailable as reason:
                measured[name] = reason
            progress(".")
    return measured


def progress(text: str) -> None:
    """Show that something happens."""
    print(text, end="", flush=True)


@dataclass
class Table:
    """A table with a title, and what is to be known of it."""

    title: str
    columns: Sequence[str]
    note: str = ""
    rows: list[list[str]] = field(default_factory=list)

    def add(self, *cells: str) -> None:
        """Add a row, and show it."""
        self.rows.append(list(cells))
        print(f"\n  {' | '.join(cell for cell in cells if cell)}", end="", flush=True)

    def text(self) -> str:
        """Return the table as Markdown."""
        lines = [f"## {self.title}", ""]
        if self.note:
            lines += [self.note, ""]
        lines += [row(self.columns), row(["---"] * len(self.columns)), *map(row, self.rows)]
        return "\n".join([*lines, ""])


class Timings(Table):
    """A table of times, with ratios to the first of those that were measured together."""

    def __init__(self, title: str, note: str = "") -> None:
        super().__init__(title, ["what", "median", "fastest to slowest", "runs", "ratio", "wanted"], note)

    def compare(self, measured: dict[str, Measured], wanted: dict[str, str] | None = None) -> None:
        """Add what was measured in turns, each beside the first, which is ours."""
        first = next(iter(measured.values()))
        for number, (name, seconds) in enumerate(measured.items()):
            beside = first if number else None
            self.time(name, seconds, beside=beside, wanted=(wanted or {}).get(name, ""))

    def time(self, what: str, seconds: Measured, *, beside: Measured | None = None, wanted: str = "") -> None:
        """Add one row; the ratio is how many times as long as `beside` it takes."""
        if isinstance(seconds, NotAvailable):
            self.add(what, f"not available: {seconds}", "", "", "", wanted)
            return
        spread = f"{shown(min(seconds))} to {shown(max(seconds))}"
        ratio = "" if beside is None or isinstance(beside, NotAvailable) else f"{ratio_of(seconds, beside):.2f}"
        self.add(what, shown(statistics.median(seconds)), spread, str(len(seconds)), ratio, wanted)

    def figure(self, what: str, value: str, wanted: str = "") -> None:
        """Add what was computed from other rows."""
        self.add(what, value, "", "", "", wanted)


def ratio_of(seconds: list[float], beside: list[float]) -> float:
    """Return the ratio of the medians."""
    return statistics.median(seconds) / statistics.median(beside)


def shown(seconds: float) -> str:
    """Return a time as people read it."""
    return f"{seconds * 1000:.0f} ms" if abs(seconds) < 1 else f"{seconds:.2f} s"


def mebibytes(number: float) -> str:
    """Return a number of bytes as people read it."""
    return f"{number / (1 << 20):.0f} MiB"


def row(cells: Sequence[str]) -> str:
    """Return a line of a table."""
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def page(tables: list[Table], command: str, qemu: str) -> str:
    """Return the whole page, with what it was measured on."""
    lines = [
        "# Benchmarks",
        "",
        f"Measured by `{command}` on {datetime.now(timezone.utc):%Y-%m-%d}, all in one run: medians, and ratios to the",
        "first row of those that were measured in turns.",
        "",
        *(f"- {line}" for line in [*machine(), qemu, f"transient at {revision()}"]),
        "",
    ]
    return "\n".join([*lines, *(table.text() for table in tables)])


def machine() -> list[str]:
    """Describe this machine."""
    cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    models = [line.split(":", 1)[1].strip() for line in cpuinfo if line.startswith("model name")]
    memory = int(Path("/proc/meminfo").read_text(encoding="utf-8").split()[1]) * 1024
    return [
        f"{len(models)} CPUs: {models[0] if models else 'unknown'}",
        f"{memory / (1 << 30):.0f} GiB of memory, Linux {platform.release()}",
    ]


def revision() -> str:
    """Return the commit that was measured."""
    shown = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return shown.stdout.strip() or "no commit"
