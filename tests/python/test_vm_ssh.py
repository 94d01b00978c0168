"""VMs that boot, and are reached by SSH."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import transient
from transient import errors, events


@pytest.fixture(scope="module")
def store(tiny: transient.Image, tmp_path_factory: pytest.TempPathFactory) -> transient.Store:
    """Return a store with the image `tiny`."""
    folder = tmp_path_factory.mktemp("store")
    (folder / "backend").mkdir()
    (folder / "backend/tiny").hardlink_to(tiny)
    return transient.Store(folder / "backend", folder / "vmstore")


@pytest.fixture(scope="module")
def vm(store: transient.Store) -> Iterator[transient.Vm]:
    """Return a VM of the tiny system that has booted."""
    with store.run("tiny", ssh=True, memory="256MiB", ssh_timeout=300) as vm:
        assert vm.ssh("true").returncode == 0
        yield vm
        vm.stop(kill=True)


def test_what_is_returned(vm: transient.Vm) -> None:
    done = vm.ssh("hostname; echo bad >&2; exit 3")
    assert isinstance(done, subprocess.CompletedProcess)
    assert (done.args, done.returncode) == ("hostname; echo bad >&2; exit 3", 3)
    assert (done.stdout, done.stderr) == (b"tiny\n", b"bad\n")
    words = ["printf", "%s|", "a b", "$HOME", "it's", ""]
    done = vm.ssh(words)
    assert (done.args, done.stdout) == (words, b"a b|$HOME|it's||")
    assert vm.ssh("kill -9 $$").returncode == 128 + 9


def test_text(vm: transient.Vm) -> None:
    raw = "printf 'gr\\303\\274n\\r\\nrot\\r'"
    assert vm.ssh(raw).stdout == b"gr\xc3\xbcn\r\nrot\r"
    assert vm.ssh(raw, text=True).stdout == "grün\nrot\n"
    assert vm.ssh(raw, encoding="latin-1").stdout == "gr\xc3\xbcn\nrot\n"
    assert vm.ssh(raw, encoding="ascii", errors="replace").stdout == "gr\ufffd\ufffdn\nrot\n"
    with pytest.raises(UnicodeDecodeError):
        vm.ssh(raw, encoding="ascii")


def test_input(vm: transient.Vm, tmp_path: Path) -> None:
    assert vm.ssh("cat", input=b"\0\xff").stdout == b"\0\xff"
    assert vm.ssh("cat", input="grün", encoding="latin-1").stdout == "grün"
    assert vm.ssh(input="echo $((6 * 7)); exit 5\n").stdout == b"42\n"
    assert vm.ssh("cat").stdout == b""
    assert vm.ssh("wc -c", stdin=io.BytesIO(b"x" * 300_000), text=True).stdout.strip() == "300000"
    (tmp_path / "file").write_text("lines\nof text")
    with (tmp_path / "file").open() as file:
        assert file.readline() == "lines\n"
        assert vm.ssh("cat", stdin=file).stdout == b"of text"


def test_check(vm: transient.Vm) -> None:
    with pytest.raises(subprocess.CalledProcessError) as failed:
        vm.ssh("echo so far; echo bad >&2; exit 3", check=True, text=True)
    assert (failed.value.returncode, failed.value.stdout, failed.value.stderr) == (3, "so far\n", "bad\n")
    assert vm.ssh("true", check=True).returncode == 0


def test_timeout(vm: transient.Vm) -> None:
    begin = time.monotonic()
    with pytest.raises(errors.TimedOut) as late:
        vm.ssh("echo so far; sleep 100", timeout=0.5)
    assert isinstance(late.value, TimeoutError)
    assert late.value.output == "so far\n"
    assert time.monotonic() - begin < 5
    assert vm.ssh("true", timeout=10).returncode == 0


def test_much_output(vm: transient.Vm) -> None:
    seen: list[events.Event] = []
    done = vm.ssh("seq 200000; seq 7 >&2", on_event=seen.append)
    assert done.stdout == b"".join(b"%d\n" % number for number in range(1, 200_001))
    told = [event for event in seen if isinstance(event, events.Output)]
    for stream, written in (("stdout", done.stdout), ("stderr", done.stderr)):
        assert b"".join(event.data for event in told if event.stream == stream) == written


def test_several_at_once(vm: transient.Vm) -> None:
    with ThreadPoolExecutor(4) as pool:
        done = pool.map(lambda number: vm.ssh(f"sleep 0.2; echo {number}", text=True).stdout, range(8))
        assert list(done) == [f"{number}\n" for number in range(8)]


def test_stream(vm: transient.Vm) -> None:
    command = "echo one; read word; echo $word >&2; exit 3"
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb", buffering=0) as source, os.fdopen(writer, "wb", buffering=0) as sink:
        stream = vm.ssh_stream(command, stdin=source)
        assert next(stream) == ("stdout", b"one\n")
        assert (stream.args, stream.returncode) == (command, None)
        sink.write(b"two\n")
        assert list(stream) == [("stderr", b"two\n")]
    assert stream.returncode == 3
    assert list(stream) == []
    with pytest.raises(subprocess.CalledProcessError):
        list(vm.ssh_stream("exit 4", check=True))
    with pytest.raises(errors.TimedOut):
        list(vm.ssh_stream("sleep 100", timeout=0.1))


def test_a_stream_that_is_closed(vm: transient.Vm) -> None:
    with vm.ssh_stream("yes") as stream:
        assert next(stream)[1].startswith(b"y\n")
    assert list(stream) == []
    assert stream.returncode is None
    token = transient.CancelToken()
    stream = vm.ssh_stream("echo one; sleep 100", cancel=token)
    assert next(stream) == ("stdout", b"one\n")
    token.cancel()
    with pytest.raises(errors.Cancelled):
        next(stream)


def test_a_command_that_is_not_waited_for_ends(vm: transient.Vm) -> None:
    with vm.ssh_stream("yes") as stream:
        next(stream)
    begin = time.monotonic()
    while vm.ssh("pidof yes").returncode == 0:
        assert time.monotonic() - begin < 2


def test_from_another_process(vm: transient.Vm, store: transient.Store) -> None:
    assert store.ssh(vm.name, ["hostname"], text=True, check=True).stdout == "tiny\n"
    program = """if True:
        import sys, transient
        store = transient.Store(sys.argv[1], sys.argv[2])
        (info,) = store.vms()
        assert info.running.ssh_port and info.ssh
        done = store.ssh(info.name, "cat; exit 3", user="root", input="hello", wait=True, timeout=60)
        print(done.returncode, done.stdout)
    """
    arguments: list[str | Path] = [sys.executable, "-c", program, store.backend, store.vmstore]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.stdout == "3 b'hello'\n", done.stderr


def test_copies(vm: transient.Vm, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/program").write_text("#!/bin/sh\necho copied\n")
    (tmp_path / "folder/program").chmod(0o751)
    (tmp_path / "folder/link").symlink_to("program")
    vm.copy_in(tmp_path / "folder", "/home/vagrant/new")
    assert vm.ssh("new/link; stat -c %a new/program", text=True).stdout == "copied\n751\n"
    vm.copy_out("/home/vagrant/new", tmp_path)
    assert (tmp_path / "new/link").readlink() == Path("program")
    assert (tmp_path / "new/program").stat().st_mode & 0o777 == 0o751
    vm.copy_in(tmp_path / "folder/program", "/home/vagrant")
    assert vm.ssh("./program").stdout == b"copied\n"
    with pytest.raises(transient.Error, match="nowhere"):
        vm.copy_in(tmp_path / "nowhere", "/")
    with pytest.raises(transient.Error, match="nowhere"):
        vm.copy_out("/nowhere", tmp_path)


def test_a_guest_that_ends_meanwhile(vm: transient.Vm) -> None:
    """The last test: none has this VM after it."""
    with pytest.raises(errors.GuestPanic):
        vm.ssh("sudo sh -c 'echo c > /proc/sysrq-trigger'; sleep 100")
    assert b"sysrq triggered crash" in vm.serial
