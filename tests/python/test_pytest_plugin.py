"""The pytest plugin, as tests of others use it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from textwrap import indent

import pytest

import transient
from conftest import TINY, own_cache
from transient._pytest.kept import Fingerprint
from transient._pytest.sharing import locked

pytest_plugins = "pytester"

PAGE = Path(__file__).parents[2] / "docs/pytest.md"


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let no test find the layers of another one. `pytester` has a home of its own."""
    monkeypatch.setenv("TRANSIENT_CACHE", str(own_cache(tmp_path)))


class Qemu:
    """QEMU, with a record of its processes."""

    def __init__(self, folder: Path) -> None:
        """Write a program that takes the place of QEMU, and becomes it."""
        self.program = folder / "qemu"
        self._pids = folder / "pids"
        self._pids.touch()
        self.program.write_text(f'#!/bin/sh\necho $$ >> {self._pids}\nexec qemu-system-x86_64 "$@"\n')
        self.program.chmod(0o755)

    @property
    def pids(self) -> list[int]:
        """The processes that were started, in their order."""
        return [int(pid) for pid in self._pids.read_text().split()]


@pytest.fixture
def qemu(tmp_path: Path) -> Qemu:
    return Qemu(tmp_path)


@pytest.fixture
def project(pytester: pytest.Pytester, rootfs: Path, qemu: Qemu) -> pytest.Pytester:
    """Return a project with a build directory, and an `image` that is built from the Imagefile there."""
    folder = pytester.mkdir("image")
    shutil.copy(rootfs, folder)
    pytester.makeconftest(f"""
        import pytest

        # tcg, because auto starts QEMU twice on a host that it does not know, if kvm does not work there;
        # and so does a warm start, to save a second one.
        OPTIONS = {{
            "memory": "512MiB", "accelerator": "tcg", "warm_start": False, "qemu": {str(qemu.program)!r},
        }}

        @pytest.fixture(scope="session")
        def image(transient_image):
            return transient_image("image", name="base", **OPTIONS)
    """)
    return pytester


def write_imagefile(project: pytest.Pytester, *lines: str) -> None:
    (project.path / "image/Imagefile").write_text(TINY + "".join(f"{line}\n" for line in lines))


def test_workers_share_images(project: pytest.Pytester, qemu: Qemu) -> None:
    write_imagefile(project)
    project.makepyfile("""
        import pytest

        from conftest import OPTIONS

        TEXT = "FROM base\\nRUN echo derived > /derived\\n"

        @pytest.mark.parametrize("number", range(4))
        def test(transient_image, image, number):
            derived = transient_image("image", text=TEXT, **OPTIONS)
            assert derived == transient_image("image/Imagefile", text=TEXT, **OPTIONS)
            assert derived.path.parent == image.path.parent == transient_image.store.backend
            assert {found.name for found in transient_image.store.images()} == {"base", derived.name}
    """)
    project.runpytest("-n2").assert_outcomes(passed=4)
    assert len(qemu.pids) == 2


def test_workers_share_a_failure(project: pytest.Pytester, qemu: Qemu) -> None:
    write_imagefile(project, "RUN for n in $(seq 60); do echo of-$n; done; \\", "    exit 3")
    project.makepyfile("""
        import pytest

        @pytest.mark.parametrize("number", range(2))
        def test(image, number):
            pass
    """)
    result = project.runpytest("-n2")
    result.assert_outcomes(errors=2)
    section = [
        "*Captured transient build setup*",
        "failed step: RUN for n in *; * exit 3",
        "in: *image/Imagefile:5:1",
        "exit status: 3",
        "of-59",
        "of-60",
    ]
    result.stdout.fnmatch_lines(2 * section)
    # Only the end is shown.
    result.stdout.no_fnmatch_line("of-10")
    assert len(qemu.pids) == 1


def test_kept_images_are_built_when_they_change(project: pytest.Pytester, qemu: Qemu) -> None:
    write_imagefile(project, "COPY hello /hello", "RUN cat /hello")
    hello = project.path / "image/hello"
    hello.write_text("good morning\n")
    project.makepyfile("""
        def test_passes(image):
            assert image.path.parent.name == "kept"

        def test_fails(image):
            assert image is None
    """)
    result = project.runpytest("--transient-backend=kept", "-k", "fails")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "transient: *, images kept in */kept",
            "*Captured transient build setup*",
            "built base:",
            "good morning",
        ]
    )
    for pids in (1, 2):
        project.runpytest("--transient-backend=kept", "-k", "passes").assert_outcomes(passed=1)
        assert len(qemu.pids) == pids, "built only when it has changed"
        hello.write_text("good night\n")


def test_fingerprint_knows_what_an_image_is_made_of(store: transient.Store, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "Imagefile").write_text("FROM base\nCOPY sub /\n")
    store.backend.mkdir()

    def fingerprint(options: str = "") -> str:
        return Fingerprint(tmp_path / "Imagefile", folder, options).of(store, "name")

    seen = {fingerprint(), fingerprint("options")}
    for change in (
        "echo one > sub/file",
        "echo two > sub/file",
        "chmod 600 sub/file",
        "ln -s nowhere sub/link",
        "ln -sf elsewhere sub/link",
        "mkdir sub/folder",
        "rm -r sub",
        "echo RUN true >> ../Imagefile",
        "qemu-img create -f qcow2 ../backend/base 1M",
        "qemu-img create -f qcow2 ../backend/name 1M",
    ):
        subprocess.run(["sh", "-c", change], cwd=folder, check=True)
        assert fingerprint() not in seen, change
        seen.add(fingerprint())
    (folder / "not-copied").touch()
    assert fingerprint() in seen


def test_options(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test(transient_accelerator): assert transient_accelerator == 'kvm'")
    pytester.makeini("[pytest]\ntransient_accelerator = kvm\ntransient_backend = images")
    result = pytester.runpytest()
    result.assert_outcomes(passed=1)
    header = f"transient: {transient.__version__}, accelerator kvm, images kept in {pytester.path}/images"
    result.stdout.fnmatch_lines([header])
    result = pytester.runpytest("--transient-accelerator=tcg", "--transient-backend=../others")
    result.assert_outcomes(failed=1)
    header = f"transient: *, accelerator tcg, images kept in {pytester.path.parent}/others"
    result.stdout.fnmatch_lines([header])
    pytester.makeini("[pytest]\ntransient_accelerator = abacus")
    result = pytester.runpytest()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: transient_accelerator is one of auto, kvm, tcg, not 'abacus'"])


def test_stores_are_private(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        import transient

        def test_one(transient_store, tmp_path):
            assert tmp_path in transient_store.backend.parents
            assert tmp_path in transient_store.vmstore.parents
            assert transient_store.cache == transient.Store().cache

        def test_other(transient_store, tmp_path):
            assert tmp_path in transient_store.backend.parents
    """)
    pytester.runpytest().assert_outcomes(passed=2)


def test_failure_of_a_build_that_the_test_made(pytester: pytest.Pytester) -> None:
    pytester.makefile("", Imagefile=TINY)
    pytester.makepyfile("""
        import transient

        def test(transient_store):
            try:
                transient_store.build(".", name="name")
            except transient.Error as error:
                raise RuntimeError("no image") from error
    """)
    result = pytester.runpytest()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*Captured transient build call*", "failed step: ADD rootfs.tar.gz /", "in: *Imagefile:4:1"]
    )


def test_a_name_is_one_image(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        import pytest
        import transient

        def test(transient_image):
            for _ in range(2):
                with pytest.raises(transient.errors.InvalidImagefile):
                    transient_image(".", name="name", text="FROM nothing to see here")
            with pytest.raises(ValueError, match="another image of the name 'name', from"):
                transient_image(".", name="name", text="FROM scratch")
            with pytest.raises(TypeError, match="local"):
                transient_image(".", text="FROM scratch", local=True)
    """)
    pytester.runpytest().assert_outcomes(passed=1)


def test_interrupt_leaves_no_vm(project: pytest.Pytester, qemu: Qemu) -> None:
    write_imagefile(project, "RUN sleep 600")
    project.makepyfile("def test(image): pass")
    process = project.popen(
        [sys.executable, "-m", "pytest"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    while not qemu.pids:
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == pytest.ExitCode.INTERRUPTED
    assert b"KeyboardInterrupt" in output
    with pytest.raises(ProcessLookupError):
        os.kill(qemu.pids[0], 0)


def test_a_lock_is_free_when_its_holder_died(tmp_path: Path) -> None:
    hold = "import sys, pathlib\nfrom transient._pytest.sharing import locked\n"
    hold += "with locked(pathlib.Path(sys.argv[1])):\n    print('held', flush=True)\n    input()"
    command = [sys.executable, "-c", hold, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        holder.kill()
        with locked(tmp_path / "lock"):
            pass


def test_the_page(pytester: pytest.Pytester) -> None:
    page = PAGE.read_text()
    (commands,) = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    subprocess.run(["sh", "-euc", commands], check=True)
    for name, text in re.findall(r"^`(\S+)`:\n\n```\w+\n(.*?)```", page, re.DOTALL | re.MULTILINE):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)
    result = pytester.runpytest()
    result.assert_outcomes(passed=2, failed=1)
    shown = re.findall(r"```console\n(.*?)```", page, re.DOTALL)[0]
    shown = shown.replace("/home/you/project", str(pytester.path)).replace("...", "*")
    result.stdout.fnmatch_lines([f"*{line.strip('-')}*" for line in shown.splitlines()])


def test_vms(pytester: pytest.Pytester, tiny: transient.Image) -> None:
    """The example of the page, and the sections of a report."""
    (example,) = re.findall(r"```python\n(def test_system.*?)```", PAGE.read_text(), re.DOTALL)
    (pytester.path / "kept").mkdir()
    (pytester.path / "kept/web").hardlink_to(tiny)
    pytester.makeini("[pytest]\ntransient_backend = kept")
    page = f"""
        import pytest

        @pytest.fixture(scope="session")
        def web(transient_image):
            return transient_image.store.image("web")

{indent(example, " " * 8)}
            vm.ssh("for n in $(seq 60); do echo of-$n; done; exit 3", timeout=60)
            assert vm.running
            raise LookupError("nothing")

        def test_two(transient_vm, web, transient_image):
            ended = transient_vm(web, shutdown_timeout=0)
            ended.stop()
            other = transient_vm("web", qemu_args=["-S"], memory="32MiB", store=transient_image.store)
            assert ended.wait() and not other.running

        def test_all_have_ended(transient_image):
            assert transient_image.store.vms() == []
    """
    pytester.makepyfile(test_systems=page)
    result = pytester.runpytest()
    result.assert_outcomes(failed=2, passed=1)
    result.stdout.fnmatch_lines(
        [
            "*LookupError: nothing",
            "*Captured transient serial console of web call*",
            "*BusyBox*",
            "*Captured transient ssh of web call*",
            "for n in * (exit status 3):",
            "of-11",
            "of-60",
            "*_ test_two _*",
            "*Captured transient serial console of web call*",
            "*Captured transient serial console of web call*",
            "(nothing)",
        ]
    )
    # Only the end is shown.
    result.stdout.no_fnmatch_line("of-10")
    result.stdout.no_fnmatch_line("*Captured transient ssh of web setup*")


def test_a_vm_that_is_kept_shuts_down(pytester: pytest.Pytester, blank_store: transient.Store) -> None:
    pytester.makepyfile(f"""
        import transient

        STORE = transient.Store({str(blank_store.backend)!r}, {str(blank_store.vmstore)!r})
        VMS = []

        def test_one(transient_vm):
            options = {{"store": STORE, "qemu_args": ["-m", "32M"], "shutdown_timeout": 100}}
            VMS.append(transient_vm("blank", **options))
            VMS.append(transient_vm("blank", name="box", **{{**options, "shutdown_timeout": 0.5}}))
            assert all(vm.running for vm in VMS)

        def test_two():
            assert not any(vm.running for vm in VMS)
            # One was killed, the other ended by itself.
            assert VMS[1].wait() is True
    """)
    pytester.runpytest().assert_outcomes(passed=2)
