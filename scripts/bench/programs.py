"""What is measured: transient, and the programs beside it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .memory import Peak, Watcher
from .report import NotAvailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

KVM_VERDICT = "kvm-does-not-work.json"
"""What transient learned about this machine once; it is no state of a builder."""
GUEST_MEMORY = 2 << 30
"""That of the builds whose memory is watched: what others get too, so that they start from the same state."""
WRITING = "Writing the image"


@dataclass
class Run:
    """How a program ran to its good end."""

    seconds: float
    lines: list[tuple[float, str]]
    """Each line of stdout, with the seconds when it came."""
    memory: Peak

    def events(self) -> list[tuple[float, dict[str, Any]]]:
        """Return the events of a build, with the seconds when they came."""
        return [(when, json.loads(line)) for when, line in self.lines]

    def steps(self) -> list[float]:
        """Return how long each step took."""
        return [event["elapsed"] for _, event in self.events() if event["event"] == "step-finished"]

    def writing(self) -> float:
        """Return how long the image was written, until all of it was handed to the system."""
        times = self._writing()
        return times[-1] - times[0] if times else 0.0

    def finishing(self) -> float:
        """Return how long the image was written, until it was on the disk and in its place."""
        times = self._writing()
        return self.seconds - times[0] if times else 0.0

    def _writing(self) -> list[float]:
        return [when for when, event in self.events() if event.get("task") == WRITING]


def run(command: Sequence[Any], environment: dict[str, str], *, guest: int = 0) -> Run:
    """Run a program; watch its memory where it has a guest with so much."""
    words = [str(word) for word in command]
    begun = time.monotonic()
    with tempfile.TemporaryFile("w+") as errors:
        try:
            child = subprocess.Popen(
                words, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        except OSError as error:
            raise NotAvailable(f"{words[0]}: {error.strerror}") from error
        watcher = Watcher(child.pid, guest)
        if guest:
            watcher.start()
        assert child.stdout
        lines = [(time.monotonic() - begun, line.rstrip("\n")) for line in child.stdout]
        status = child.wait()
        seconds = time.monotonic() - begun
        memory = watcher.stop() if guest else Peak()
        if status != 0:
            errors.seek(0)
            said = [*(line for _, line in lines), *errors.read().splitlines()]
            raise NotAvailable(f"`{' '.join(words[:3])}` ended with status {status}: {reason(said)}")
    return Run(seconds, lines, memory)


def reason(said: list[str]) -> str:
    """Return the last error that a program told, else the last thing that it said."""
    errors = [line for line in said if "error" in line.lower()]
    last = next((line for line in reversed(errors or said) if line.strip()), "nothing was said")
    try:
        last = json.loads(last)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        pass
    return last[:200]


class Transient:
    """Ours, in a sandbox."""

    def __init__(self, program: Path, work: Path) -> None:
        self.program, self.work = program, work
        self.backend = work / "backend"
        clean = {key: value for key, value in os.environ.items() if not key.startswith("XDG_")}
        for name in ("TRANSIENT_BACKEND", "TRANSIENT_VMSTORE"):
            clean.pop(name, None)
        self.environment = dict(clean, HOME=str(work / "home"), TRANSIENT_CACHE=str(work / "cache"))
        for folder in ("home", "cache", "backend"):
            (work / folder).mkdir()

    def run(self, *words: Any, guest: int = 0) -> Run:
        """Run the program."""
        return run([self.program, *words], self.environment, guest=guest)

    def build(self, folder: Path, *more: Any, name: str = "", guest: int = 0) -> Run:
        """Build a folder as an image of its name; the lines are its events."""
        name = name or folder.name.replace("-", "_")
        words = ["image", "build", "--image-backend", self.backend, "--name", name, "--progress", "json", *more]
        if guest:
            words += ["--memory", guest]
        return self.run(*words, folder, guest=guest)

    def anew(self, folder: Path, *more: Any, guest: int = 0) -> Run:
        """Build a folder of whose steps nothing is taken from the cache."""
        return self.build(folder, "--no-cache", *more, guest=guest)

    @contextmanager
    def cold(self) -> Iterator[None]:
        """Within, the builder has no state to start from. This is the one place that knows how that is done."""
        warm = self.environment["TRANSIENT_CACHE"]
        with tempfile.TemporaryDirectory(prefix="cold-", dir=self.work) as cache:
            if (Path(warm) / KVM_VERDICT).exists():
                shutil.copy(Path(warm) / KVM_VERDICT, cache)
            self.environment["TRANSIENT_CACHE"] = cache
            try:
                yield
            finally:
                self.environment["TRANSIENT_CACHE"] = warm

    def anew_and_cold(self, folder: Path) -> Run:
        """Build a folder by a builder that boots."""
        with self.cold():
            return self.anew(folder)


class Release025:
    """The Python tool of the same name."""

    def __init__(self, program: Path | None, wrapper: Path | None, ours: Transient) -> None:
        self.program, self.wrapper, self.ours = program, wrapper, ours

    def run(self, *words: Any) -> Run:
        """Run the program."""
        if not self.program or not self.wrapper:
            raise NotAvailable("it was not asked for")
        environment = dict(self.ours.environment, PYTHONWARNINGS="ignore")
        # KVM that opens but does not work hangs it: its QEMU is a wrapper that takes TCG.
        environment["PATH"] = f"{self.wrapper}:{environment['PATH']}"
        return run([self.program, *words], environment)

    def build(self, folder: Path) -> float:
        """Return the seconds of a build."""
        backend = self.ours.work / "old-backend"
        backend.mkdir(exist_ok=True)
        return self.run("image", "build", "--image-backend", backend, "--name", folder.name, folder).seconds


class Guestfs:
    """`guestfish` and `virt-customize`, which take TCG."""

    def __init__(self, kernel: str | None, modules: str | None, work: Path) -> None:
        self.work = work
        self.environment = dict(
            os.environ,
            LIBGUESTFS_BACKEND="direct",
            LIBGUESTFS_BACKEND_SETTINGS="force_tcg",
            TMPDIR=str(work),
            LIBGUESTFS_CACHEDIR=str(work),
        )
        if kernel and modules:
            self.environment.update(SUPERMIN_KERNEL=kernel, SUPERMIN_MODULES=modules)

    def fish(self, script: str) -> float:
        """Return the seconds of a script of guestfish."""
        file = self.work / "script.fish"
        file.write_text(script)
        return run(["guestfish", "--file", file], self.environment).seconds

    def customize(self, image: Path, *commands: str) -> float:
        """Return the seconds of commands in an image."""
        words = [word for command in commands for word in ("--run-command", command)]
        return run(["virt-customize", "--quiet", "--add", image, *words], self.environment).seconds
