"""VMs: from their start to the first word of a command, copies, and commands in one that runs."""

from __future__ import annotations

import json
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..inputs import folder, tree
from ..programs import Run, run
from ..report import Table, Timings, in_turns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..setting import Setting

SCRIPTS = Path(__file__).resolve().parents[2]
MEMORY = ["--", "-m", "256M"]
DISK = """FROM scratch
DISK 1 GB MBR
PARTITION 1 FORMAT ext4 MOUNT /
ADD rootfs.tar.gz /
"""


def tables(setting: Setting) -> list[Table]:
    """Ours beside release 0.25, and beside OpenSSH."""
    image = tiny_vm(setting)
    return [first_words(setting, image), copies(setting), commands(setting, image)]


def tiny_vm(setting: Setting) -> str:
    """Make the image of a tiny system that boots, and return its name."""
    made = setting.work / "tiny-vm"
    run([SCRIPTS / "tiny-vm.sh", made], setting.ours.environment)
    setting.ours.build(made, name="bench/vm")
    return "bench/vm"


def first_words(setting: Setting, image: str) -> Table:
    """From the start of the program to what a command in the guest says first."""
    words = ["run", "--image-backend", setting.ours.backend, image, "--ssh-command", "echo ready", *MEMORY]
    table = Timings("A VM", "A tiny system boots, a command is run by SSH, and the guest shuts down.")
    whole: dict[str, list[float]] = {"transient": [], "release 0.25": []}

    def said(name: str, program: Callable[..., Run]) -> float:
        done = program(*words)
        whole[name].append(done.seconds)
        return next(when for when, line in done.lines if line == "ready")

    measured = in_turns(
        {
            "transient": (setting.runs, lambda: said("transient", setting.ours.run)),
            "release 0.25": (setting.peer_runs, lambda: said("release 0.25", setting.old.run)),
        }
    )
    table.compare({f"{name}: to the first word": seconds for name, seconds in measured.items()})
    table.compare({f"{name}: the whole program": seconds for name, seconds in whole.items() if seconds})
    return table


def copies(setting: Setting) -> Table:
    """A tree into the disk of a VM."""
    size, count = (10, 100) if setting.quick else (100, 1000)
    files = tree(setting.work / "tree", size, count)
    setting.ours.build(folder(setting.work / "cp", DISK, setting.rootfs), name="cp")
    table = Timings("Copies", f"`transient cp` of {size} MB in {count} files to the disk of a VM that does not run.")
    store = ["--image-backend", setting.ours.backend, "--vmstore", setting.work / "vmstore"]

    def copied(program: Callable[..., Run]) -> float:
        setting.ours.run("create", *store, "--name", "copies", "cp")
        try:
            return program("cp", *store, files, "copies:/root").seconds
        finally:
            setting.ours.run("rm", *store, "copies")

    measured = in_turns(
        {
            "transient": (setting.runs, lambda: copied(setting.ours.run)),
            "release 0.25": (setting.peer_runs, lambda: copied(setting.old.run)),
        }
    )
    table.compare(measured)
    return table


def commands(setting: Setting, image: str) -> Table:
    """A command that does nothing, in a VM that runs."""
    table = Timings("A command in a VM that runs", "`true` by SSH: connecting, logging in, and the command.")
    with running(setting, image) as port:
        key = setting.work / "vagrant.key"
        key.write_text((SCRIPTS.parent / "transient-core/src/vm/ssh/vagrant.key").read_text())
        key.chmod(0o600)
        options = [
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
            "BatchMode=yes",
        ]
        openssh = ["ssh", *(word for option in options for word in ("-o", option)), "-i", key, "-p", port]
        words = ["ssh", "bench", "--ssh-command", "true", "--vmstore", setting.work / "vmstore"]
        measured = in_turns(
            {
                "ssh": (
                    setting.runs * 4,
                    lambda: run([*openssh, "vagrant@127.0.0.1", "true"], setting.ours.environment).seconds,
                ),
                "transient": (setting.runs * 4, lambda: setting.ours.run(*words).seconds),
                "release 0.25": (setting.peer_runs, lambda: setting.old.run(*words).seconds),
            }
        )
    table.compare(measured)
    return table


@contextmanager
def running(setting: Setting, image: str) -> Iterator[str]:
    """Within, a VM named `bench` runs; yields its port for SSH."""
    store = ["--vmstore", setting.work / "vmstore"]
    words = [
        "run",
        "--image-backend",
        setting.ours.backend,
        *store,
        "--name",
        "bench",
        image,
        "--cmd",
        "sleep 3600",
    ]
    command = [str(word) for word in [setting.ours.program, *words, *MEMORY]]
    owner = subprocess.Popen(command, env=setting.ours.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        setting.ours.run("ssh", "bench", "--wait", "--ssh-command", "true", *store)
        listed = json.loads(setting.ours.run("ps", *store, "--format", "json").lines[0][1])
        yield str(listed[0]["running"]["ssh_port"])
    finally:
        owner.terminate()
        owner.wait()
        setting.ours.run("rm", *store, "bench")
