"""Examples in docstrings, stubs and `docs/` are run; the stubs describe the module that is there."""

from __future__ import annotations

import ast
import doctest
import importlib
import lzma
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import transient
from conftest import TINY, own_cache

PROJECT = Path(__file__).parents[2]
PACKAGE = Path(transient.__file__).parent
MODULES = ["appliance", "errors", "events", "inspection", "instructions", "names", "options", "plan", "vm"]


@pytest.mark.parametrize("name", ["", *(f".{module}" for module in MODULES)])
def test_docstrings(name: str) -> None:
    module = importlib.import_module(f"transient{name}")
    assert module.__doc__
    failed, _ = doctest.testmod(module)
    assert failed == 0


def test_examples_of_the_stubs() -> None:
    """The docstrings of what is Rust stand in its stub."""
    stub = ast.parse((PACKAGE / "_transient.pyi").read_text())
    documented = (node for node in ast.walk(stub) if isinstance(node, (ast.ClassDef, ast.FunctionDef)))
    runner = doctest.DocTestRunner()
    for node in documented:
        names = {"transient": transient, **vars(transient)}
        docstring = ast.get_docstring(node) or ""
        runner.run(doctest.DocTestParser().get_doctest(docstring, names, node.name, None, 0))
    assert runner.tries >= 5
    assert runner.failures == 0


def test_stubs_match_the_module() -> None:
    allowed = PROJECT / "python/stubtest-allowlist.txt"
    command = [sys.executable, "-m", "mypy.stubtest", "transient", "--concise", "--allowlist", str(allowed)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory, rootfs: Path) -> Path:
    """Return the folder of somebody who tries the examples."""
    folder = tmp_path_factory.mktemp("reader")
    for name, last in (("build_dir", "RUN echo hello"), ("broken_dir", "RUN exit 3")):
        (folder / name).mkdir()
        shutil.copy(rootfs, folder / name / "rootfs.tar.gz")
        (folder / name / "Imagefile").write_text(f"{TINY}{last}\n")
    disk = folder / "disk.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", disk, "1G"], check=True)
    (folder / "base.qcow2.xz").write_bytes(lzma.compress(disk.read_bytes()))
    return folder


def run_as(reader: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python as the reader, who has a data folder of their own, and no layers yet."""
    places = {"XDG_DATA_HOME": str(reader / "data"), "TRANSIENT_CACHE": str(own_cache(reader))}
    environment = {**os.environ, **places}
    program = [sys.executable, *arguments]
    return subprocess.run(program, cwd=reader, env=environment, capture_output=True, text=True, check=False)


def forget_images(reader: Path) -> None:
    """Remove the reader's images: one that is there already would not be built again."""
    shutil.rmtree(reader / "data", ignore_errors=True)


def examples(page: str) -> list[str]:
    """Return the programs in Python that a page shows."""
    return re.findall(r"^```python\n(.*?)^```", (PROJECT / page).read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize(
    ("number", "printed"),
    [
        (0, "64.00 MiB"),
        (1, ""),
        (3, "box base RunningVm(pid="),
        (4, "<Image 'base' at"),
        (5, ""),
        (6, "0\n"),
        (7, "5/5 RUN echo hello\nhello\n"),
        (8, "line 5: RUN exit 3 ended with 3\n"),
        (9, ""),
        (10, "5 echo hello\n1 1048576 linux\n"),
        (11, " RUN echo hello\n"),
        (12, ""),
    ],
)
def test_the_guide(reader: Path, number: int, printed: str) -> None:
    """Each example of `docs/python.md` is a program of its own."""
    programs = examples("docs/python.md")
    assert len(programs) == 13
    forget_images(reader)
    if number == 11:
        # It goes over the images that are there.
        run_as(reader, "-c", programs[7])
    done = run_as(reader, "-c", programs[number])
    assert done.returncode == 0, done.stderr
    assert printed in done.stdout


def test_the_guide_to_vms(reader: Path, tiny: transient.Image) -> None:
    """Its example that boots an image, and the program in `examples`."""
    forget_images(reader)
    (reader / "data/transient/backend").mkdir(parents=True)
    (reader / "data/transient/backend/example").hardlink_to(tiny)
    done = run_as(reader, "-c", examples("docs/python.md")[2])
    assert done.returncode == 0, done.stderr
    program = str(PROJECT / "examples/python/run.py")
    ran = run_as(reader, program, "example", "sh", "-c", "echo out; echo bad >&2; exit 3")
    assert (ran.returncode, ran.stdout, ran.stderr) == (3, "out\n", "bad\n")
    shown = r" tiny\n\nb'10\\n'\nrunning \d+\nstdout b'line 1\\n.*line 3\\n'\n$"
    assert re.search(shown, done.stdout, re.DOTALL)


def test_the_readme(reader: Path, tiny: transient.Image) -> None:
    program, machine, test = examples("README.md")
    forget_images(reader)
    (reader / "data/transient/backend").mkdir(parents=True)
    (reader / "data/transient/backend/debian%2F12").hardlink_to(tiny)
    done = run_as(reader, "-c", machine)
    assert (done.returncode, done.stdout) == (0, "tiny\n\n"), done.stderr
    done = run_as(reader, "-c", program)
    assert done.returncode == 0, done.stderr
    assert "line 5: RUN exit 3 ended with 3\n" in done.stdout
    (reader / "test_image.py").write_text(test)
    done = run_as(reader, "-m", "pytest", "-p", "no:cacheprovider", "test_image.py")
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


def test_the_example(reader: Path) -> None:
    program = str(PROJECT / "examples/python/build.py")
    forget_images(reader)
    done = run_as(reader, program, "build_dir", "by-example")
    assert done.returncode == 0, done.stderr
    image = reader / "data/transient/backend/by%2Dexample"
    assert done.stdout.endswith(f"[5/5] RUN echo hello\nhello\n{image}\n")
    failed = run_as(reader, program, "broken_dir", "broken")
    assert (failed.returncode, failed.stdout[-17:]) == (1, "[5/5] RUN exit 3\n")
    assert failed.stderr.startswith("error: ")
