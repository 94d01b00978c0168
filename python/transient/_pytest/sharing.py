"""How the processes of a session share what one of them did."""

from __future__ import annotations

import fcntl
import pickle
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from transient.errors import Error

    from .images import Request


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock, which a process that dies gives up. The file stays: it may be locked by others already."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True)
class Outcome:
    """How a build ended."""

    request: Request
    """What was asked for."""
    error: Error | None
    """Why it failed, if it did."""
    transcript: str
    """The end of what it printed."""

    @staticmethod
    def load(path: Path) -> Outcome | None:
        """Return the outcome that is kept in a file; `None` when there is none yet."""
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        outcome: Outcome = pickle.loads(data)  # noqa: S301 - this session wrote it
        return outcome

    def save(self, path: Path) -> None:
        """Keep the outcome for the other processes, which see all of it or nothing."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.partial")
        partial.write_bytes(pickle.dumps(self))
        partial.replace(path)
