#!/usr/bin/env python3
"""Measures the same work through each face: the command line, C and Python. Standard library only.

The faces take turns, so that a busy moment of the machine strikes all of them. `scripts/bench-faces.sh` prepares
what it needs.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.inputs import TINY

BUILD = "import sys, transient; transient.build(sys.argv[1], name=sys.argv[2])"
LIST = "import transient; assert len(transient.images()) == 1000"
TIMED_LIST = """import time, transient
store = transient.Store()
store.images()
begun = time.monotonic()
assert len(store.images()) == 1000
print(time.monotonic() - begun)
"""
TIMED_IMPORT = "import time; begun = time.monotonic(); import transient; print(time.monotonic() - begun)"


def run(command, environment):
    """Return the seconds that a command takes, and what it prints. A failure ends the bench."""
    begun = time.monotonic()
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    elapsed = time.monotonic() - begun
    if done.returncode != 0:
        sys.exit(f"error: {command} ended with status {done.returncode}\n{done.stdout}{done.stderr}")
    return elapsed, done.stdout


def report(what, seconds, beside=None):
    """Print a row of the result, as a ratio to another one where that is given."""
    ratio = f"  {statistics.median(seconds) / statistics.median(beside):.3f} of it" if beside else ""
    figures = [f"{value * 1000:8.1f}" for value in (statistics.median(seconds), min(seconds), max(seconds))]
    print(f"{what:<50} {figures[0]} ms ({figures[1].strip()} to {figures[2].strip()}, n={len(seconds)}){ratio}")


def take_turns(commands, rounds, environment):
    """Run each command once a round; return the seconds of each."""
    seconds = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, command in commands.items():
            # Each build is to be done from the beginning.
            for known in (".cache/transient/layers", ".local/share/transient/backend"):
                shutil.rmtree(Path(environment["HOME"], known), ignore_errors=True)
            elapsed, _ = run(command, environment)
            # The first round only warms caches.
            if number:
                seconds[name].append(elapsed)
    return seconds


def builds(options, work, environment):
    """A build through each face."""
    folder = work / "tiny"
    folder.mkdir()
    (folder / "Imagefile").write_text(TINY)
    shutil.copy(options.rootfs, folder)
    commands = {
        "tiny build, command line": [options.transient, "image", "build", "--name", "tiny", folder],
        "tiny build, C": [options.c_program, folder, "tiny"],
        "tiny build, Python": [options.python, "-c", BUILD, folder, "tiny"],
    }
    seconds = take_turns(commands, options.runs, environment)
    for name, measured in seconds.items():
        report(name, measured, None if "command line" in name else seconds["tiny build, command line"])


def listings(options, work, environment):
    """A thousand images."""
    backend = work / "thousand"
    backend.mkdir()
    first = backend / "image0000"
    run(["qemu-img", "create", "-q", "-f", "qcow2", first, "1G"], environment)
    for number in range(1, 1000):
        shutil.copy(first, backend / f"image{number:04}")
    environment = {**environment, "TRANSIENT_BACKEND": str(backend)}
    commands = {
        "list 1,000 images, command line": [options.transient, "image", "ls"],
        "list 1,000 images, Python, the whole process": [options.python, "-c", LIST],
        "python -c pass": [options.python, "-c", "pass"],
    }
    for name, measured in take_turns(commands, options.runs * 4, environment).items():
        report(name, measured)
    for name, program in (("Store().images() alone", TIMED_LIST), ("import transient alone", TIMED_IMPORT)):
        report(name, [float(run([options.python, "-c", program], environment)[1]) for _ in range(options.runs * 4)])


def main():
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--transient", required=True, help="the command line")
    parser.add_argument("--c-program", required=True, help="examples/c, built")
    parser.add_argument("--python", required=True, help="a Python in which the wheel is installed")
    parser.add_argument("--rootfs", required=True, help="rootfs.tar.gz for the build")
    parser.add_argument("--runs", type=int, default=9, help="rounds of builds (default: 9)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="transient-bench-") as name:
        work = Path(name)
        (work / "home").mkdir()
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("TRANSIENT_", "XDG_"))}
        environment["HOME"] = str(work / "home")
        print(f"{os.cpu_count()} CPUs; median (fastest to slowest, number of runs)")
        listings(options, work, environment)
        builds(options, work, environment)


if __name__ == "__main__":
    main()
