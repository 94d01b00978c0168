"""Builds in processes of all kinds, and what becomes of them when they are interrupted or killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import transient

BUILD = """\
import sys, transient
from transient import events

def on_event(event):
    match event:
        case events.Output(data=data):
            print(data.decode(), end="", flush=True)

store = transient.Store(sys.argv[1], sys.argv[2])
try:
    store.build(sys.argv[3], name="endless", memory="512MiB", on_event=on_event)
except KeyboardInterrupt as interrupt:
    print("interrupted", interrupt.__cause__, flush=True)
    raise
"""


@pytest.fixture
def endless(store: transient.Store, build_dir: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a program that has come to the last step of a build, which does not end."""
    with (build_dir / "Imagefile").open("a") as file:
        file.write("RUN echo sleeping; sleep 1000\n")
    with subprocess.Popen(
        [sys.executable, "-c", BUILD, store.backend, store.vmstore, build_dir],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "sleeping\n"
        yield program
        program.kill()


def machines_of(pid: int) -> list[int]:
    """Return the children of a process and of its threads."""
    found: list[int] = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        found += [int(child) for child in children.read_text().split()]
    return found


def gone(pid: int) -> bool:
    """Tell whether a process has ended (a zombie has)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state in "ZX"


def test_ctrl_c(endless: subprocess.Popen[str], store: transient.Store) -> None:
    machines = machines_of(endless.pid)
    assert machines
    begin = time.monotonic()
    endless.send_signal(signal.SIGINT)
    output, _ = endless.communicate(timeout=60)
    elapsed = time.monotonic() - begin
    assert output == "interrupted None\n"
    # what Python does with a KeyboardInterrupt that nobody catches
    assert endless.returncode == -signal.SIGINT
    assert elapsed < 2
    assert all(gone(machine) for machine in machines)
    assert store.images() == []
    assert not list((store.backend / ".working").iterdir())


def test_a_killed_program_leaves_no_machine(
    endless: subprocess.Popen[str], store: transient.Store, build_dir: Path
) -> None:
    machines = machines_of(endless.pid)
    assert machines
    endless.kill()
    endless.wait()
    deadline = time.monotonic() + 2
    while not all(gone(machine) for machine in machines):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    # the next build finds its way, and clears away what the killed one left
    file = build_dir / "Imagefile"
    file.write_text(file.read_text().replace("sleep 1000", "true"))
    store.build(build_dir, name="endless", memory="512MiB")
    assert not list((store.backend / ".working").iterdir())


def build_in_child(backend: Path, vmstore: Path, build_dir: Path, name: str) -> transient.Image:
    image = transient.Store(backend, vmstore).build(build_dir, name=name, memory="512MiB")
    assert os.getpid() != os.getppid()
    return image


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing(store: transient.Store, build_dir: Path, method: str) -> None:
    """The parent has used the library before; images and exceptions go from process to process."""
    assert store.images() == []
    with multiprocessing.get_context(method).Pool(2) as pool:
        jobs = [
            pool.apply_async(build_in_child, (store.backend, store.vmstore, folder, name))
            for folder, name in ((build_dir, "good"), (build_dir / "nowhere", "bad"))
        ]
        image = jobs[0].get(timeout=300)
        with pytest.raises(transient.errors.InvalidArgument):
            jobs[1].get(timeout=300)
    assert store.images() == [image]
