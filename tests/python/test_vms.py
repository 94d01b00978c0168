"""VMs that boot nothing: their lives, their ends, and what is known of them."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

import transient
from transient import errors, events
from transient.options import SharedFolder

# A guest that does not listen is not asked to shut down.
SMALL = ("-m", "32M")
ON_SERIAL = (*SMALL, "-machine", "graphics=off")


def is_there(pid: int) -> bool:
    """Tell whether a process is there and has not ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


def wait_until(condition: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def start(store: transient.Store) -> transient.Vm:
    return store.run("blank", qemu_args=SMALL, shutdown_timeout=0)


def test_with(blank_store: transient.Store) -> None:
    seen: list[events.Event] = []
    with blank_store.run("blank", memory="32MiB", shutdown_timeout=0, on_event=seen.append) as vm:
        assert vm.running
        assert is_there(vm.pid)
        assert (vm.image, vm.ssh_port) == ("blank", None)
        assert repr(vm) == f"<Vm '{vm.name}' of 'blank', QEMU is process {vm.pid}>"
        assert seen == [events.VmStarting(vm.name, "blank")]
        assert vm.qmp("query-memory-size-summary")["base-memory"] == 32 << 20
    assert not vm.running
    assert not is_there(vm.pid)
    assert repr(vm) == f"<Vm '{vm.name}' of 'blank', ended>"
    assert vm.wait() is True
    vm.stop()
    with pytest.raises(errors.VmNotRunning, match="has ended"):
        vm.qmp("query-status")
    assert not blank_store.vmstore.exists()


def test_an_exception_wins(blank_store: transient.Store, tmp_path: Path) -> None:
    """The VM ends, and that nothing could be copied out of an empty disk only is a note."""
    options: transient.options.RunOptions = {
        "copy_out_after": [("/etc/hostname", tmp_path)],
        "builder": {"memory": "512MiB", "accelerator": "tcg"},
        "shutdown_timeout": 0,
        "qemu_args": SMALL,
    }
    with pytest.raises(ZeroDivisionError) as caught, blank_store.run("blank", **options) as vm:
        print(1 / 0)
    assert not vm.running
    if sys.version_info >= (3, 11):
        (note,) = caught.value.__notes__
        assert note.startswith("and the VM did not end well: ")
    vm = blank_store.run("blank", **options)
    with pytest.raises(transient.Error):
        vm.stop()
    assert not vm.running


def test_serial(blank_store: transient.Store) -> None:
    with blank_store.run("blank", qemu_args=ON_SERIAL, shutdown_timeout=0) as vm:
        wait_until(lambda: b"SeaBIOS" in vm.serial)
    assert b"SeaBIOS" in vm.serial


def test_qmp(blank_store: transient.Store) -> None:
    with start(blank_store) as vm:
        assert vm.qmp("query-status")["status"] == "running"
        vm.qmp({"execute": "stop"})
        assert vm.qmp({"execute": "query-status", "arguments": {}})["status"] == "paused"
        assert "QEMU" not in vm.qmp("human-monitor-command", command_line="info status")
        with pytest.raises(errors.QemuFailed, match="make-coffee has not been found"):
            vm.qmp("make-coffee")
        with pytest.raises(errors.InvalidArgument):
            vm.qmp([])  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="JSON"):
            vm.qmp("query-status", text=b"")


def test_wait(blank_store: transient.Store) -> None:
    with start(blank_store) as vm:
        assert vm.wait(0) is False
        assert vm.wait(timeout=0.01) is False
        token = transient.CancelToken()
        threading.Timer(0.1, token.cancel).start()
        with pytest.raises(errors.Cancelled):
            vm.wait(cancel=token)
        vm.qmp("quit")
        assert vm.wait(timeout=10) is True
        assert not vm.running


def test_kill(blank_store: transient.Store) -> None:
    vm = blank_store.run("blank", qemu_args=SMALL, shutdown_timeout=100)
    os.kill(vm.pid, signal.SIGSTOP)
    begin = time.monotonic()
    vm.stop(kill=True)
    assert time.monotonic() - begin < 5
    assert not is_there(vm.pid)
    # Cancelled, a stop kills.
    vm = blank_store.run("blank", qemu_args=SMALL, shutdown_timeout=100)
    token = transient.CancelToken()
    token.cancel()
    with pytest.raises(errors.Cancelled):
        vm.stop(cancel=token)
    assert not is_there(vm.pid)


def test_what_does_not_start(blank_store: transient.Store) -> None:
    with pytest.raises(errors.QemuFailed, match="bogus") as failed:
        blank_store.run("blank", qemu_args=["-bogus"])
    assert "-bogus" in str(failed.value)
    with pytest.raises(errors.MissingProgram, match="no-qemu"):
        blank_store.run("blank", qemu="no-qemu")
    with pytest.raises(errors.ImageNotFound):
        blank_store.run("other")
    with pytest.raises(errors.InvalidImageName):
        blank_store.run("blank", name="")

    def on_event(event: events.Event) -> None:
        raise LookupError(event)

    with pytest.raises(LookupError, match="VmStarting"):
        blank_store.run("blank", on_event=on_event, qemu_args=SMALL)
    token = transient.CancelToken()
    token.cancel()
    with pytest.raises(errors.Cancelled):
        blank_store.run("blank", cancel=token)
    assert blank_store.vms() == []


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"memroy": 1}, TypeError, r"run\(\) got an unexpected keyword argument 'memroy'"),
        ({"memory": []}, TypeError, "argument 'memory': a size"),
        ({"memory": "much"}, errors.InvalidArgument, "much"),
        ({"qemu_args": "-m 1G"}, TypeError, "argument 'qemu_args': expected a list"),
        ({"ssh_port": 1 << 16}, OverflowError, None),
        ({"cpus": 0}, ValueError, "from 1 to 255"),
        ({"ssh_timeout": 0}, ValueError, "above 0"),
        ({"shared_folders": ["nowhere"]}, errors.InvalidArgument, "no shared folder"),
        ({"copy_in_before": ["nowhere"]}, errors.InvalidArgument, "no copy into"),
        ({"copy_out_after": [("/one",)]}, (TypeError, ValueError), "length"),
        ({"builder": {"disk": 1}}, ValueError, "no option 'disk'"),
        ({"config": "/nowhere"}, errors.IoError, "/nowhere"),
    ],
)
def test_wrong_options(
    blank_store: transient.Store,
    options: transient.options.RunOptions,
    error: type[Exception] | tuple[type[Exception], ...],
    message: str | None,
) -> None:
    with pytest.raises(error, match=message):
        blank_store.run("blank", **options)


def test_methods_take_their_own_options(blank_store: transient.Store) -> None:
    with pytest.raises(TypeError, match=r"run\(\) needs the name of an image"):
        blank_store.run()
    with pytest.raises(TypeError, match=r"create\(\) got an unexpected .* 'copy_in_before'"):
        blank_store.create("blank", copy_in_before=[])  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="'name'"):
        blank_store.start("box", name="other")  # type: ignore[misc]
    # The defaults of all.
    nothing = dict.fromkeys(transient.options.RunOptions.__annotations__)
    with blank_store.run("blank", **nothing) as vm:
        vm.stop(kill=True)


def test_configuration_file(blank_store: transient.Store, tmp_path: Path) -> None:
    file = tmp_path / "vm.toml"
    file.write_text('image = "blank"\nname = "box"\nqemu-args = ["-m", "48M"]\nshutdown-timeout = 0\n')
    with blank_store.run(config=file) as vm:
        assert (vm.name, vm.image) == ("box", "blank")
        assert vm.qmp("query-memory-size-summary")["base-memory"] == 48 << 20
    with blank_store.run(config=file, name="other", qemu_args=SMALL) as vm:
        assert vm.name == "other"
        assert vm.qmp("query-memory-size-summary")["base-memory"] == 32 << 20
    file.write_text("image = 3\nsshh = true\n")
    with pytest.raises(errors.InvalidArgument) as caught:
        blank_store.run(config=file)
    assert "[line 1]: image" in str(caught.value)
    assert "[line 2]: sshh: unknown option" in str(caught.value)


def test_the_life_of_a_vm_that_is_kept(blank_store: transient.Store) -> None:
    store = blank_store
    folder = SharedFolder(store.backend, "/mnt", read_only=True)
    assert store.create("blank", name="box", shutdown_timeout=0, qemu_args=SMALL) == "box"
    assert store.create("blank", name="shares", shared_folders=[folder, f"{store.cache}:/srv"]) == "shares"
    assert f"{store.backend}:/mnt:ro" in (store.vmstore / "shares" / "config").read_text()
    with pytest.raises(errors.VmExists):
        store.create("blank", name="box")
    info = transient.vm.VmInfo("box", "blank", ssh=False, stored=True, running=None)
    assert store.vms() == [info, transient.vm.VmInfo("shares", "blank", ssh=True, stored=True, running=None)]
    with pytest.raises(errors.VmNotFound) as missing:
        store.start("other")
    assert isinstance(missing.value, LookupError)
    with store.start("box") as vm:
        listed = store.vms()[0]
        assert listed.running
        assert (listed.name, listed.is_running, listed.stored) == ("box", True, True)
        running = listed.running
        assert (running.pid, running.qemu_pid, running.ssh_port) == (os.getpid(), vm.pid, None)
        assert not running.stateless
        assert timedelta() < datetime.now(timezone.utc) - running.started < timedelta(minutes=1)
        for use in (
            lambda: store.start("box"),
            lambda: store.remove_vms("box"),
            lambda: store.commit("box", "new"),
            lambda: store.copy("box", into=[("/etc/hostname", "/")]),
        ):
            with pytest.raises(errors.VmInUse):
                use()
        with pytest.raises(errors.VmNotRunning):
            store.stop("box", "other")
        assert vm.running
        store.stop("box")
        assert not vm.running
    with pytest.raises(errors.VmNotRunning):
        store.stop("box", kill=True)
    image = store.commit("box", "new", compress="zstd")
    assert image == store.image("new")
    with pytest.raises(errors.ImageExists):
        store.commit("box", "new")
    with store.start("box"):
        store.remove_vms("box", force=True)
    store.remove_vms("shares")
    with pytest.raises(errors.VmNotFound):
        store.remove_vms("box")
    assert store.vms() == []


def test_ssh_to_a_guest_that_does_not_answer(blank_store: transient.Store) -> None:
    with start(blank_store) as vm:
        with pytest.raises(errors.VmNotRunning, match="not started with SSH"):
            vm.ssh("true")
        with pytest.raises(errors.VmNotRunning, match="no known SSH port"):
            blank_store.ssh(vm.name, "true")
    with blank_store.run("blank", ssh=True, ssh_timeout=1, qemu_args=SMALL, shutdown_timeout=0) as vm:
        assert vm.ssh_port
        with pytest.raises(errors.TimedOut) as late:
            vm.ssh("true")
        assert isinstance(late.value, TimeoutError)
        with pytest.raises(ValueError, match="stdin and input"):
            vm.ssh("true", input=b"", stdin=sys.stdin)
        with pytest.raises(TypeError):
            vm.ssh(3)  # type: ignore[call-overload]
        token = transient.CancelToken()
        threading.Timer(0.1, token.cancel).start()
        with pytest.raises(errors.Cancelled):
            blank_store.ssh(vm.name, "true", cancel=token)
        stream = vm.ssh_stream("true")
        vm.stop()
        with pytest.raises(transient.Error):
            list(stream)
        with pytest.raises(errors.VmNotRunning):
            vm.ssh("true")


def test_one_that_nobody_has_shuts_down_in_the_background(blank_store: transient.Store) -> None:
    vm = blank_store.run("blank", qemu_args=SMALL, shutdown_timeout=1)
    pid, begin = vm.pid, time.monotonic()
    cycle: list[object] = [vm]
    cycle.append(cycle)
    del vm, cycle
    with pytest.warns(ResourceWarning, match=f"<Vm '.*' of 'blank', QEMU is process {pid}> was not stopped"):
        gc.collect()
    assert time.monotonic() - begin < 0.9
    assert is_there(pid)
    wait_until(lambda: not is_there(pid))


LEFT = """\
import os, sys, threading, time
import transient

store = transient.Store(sys.argv[1], sys.argv[2])
vm = store.run("blank", qemu_args=["-m", "32M"], shutdown_timeout=0.2)
print(vm.pid, flush=True)
"""


@pytest.mark.parametrize(
    ("last", "status"),
    [
        ("", 0),
        ("sys.exit(3)", 3),
        ("del vm", 0),
        ("os._exit(4)", 4),
        ("os.kill(os.getpid(), 9)", -9),
        ("cycle = [vm]; cycle.append(cycle); del vm, cycle", 0),
    ],
)
def test_the_end_of_the_interpreter(blank_store: transient.Store, last: str, status: int) -> None:
    program: list[str | Path] = [sys.executable, "-c", LEFT + last, blank_store.backend, blank_store.vmstore]
    done = subprocess.run(program, stdout=subprocess.PIPE, text=True, check=False, timeout=60)
    assert done.returncode == status
    pid = int(done.stdout)
    if status >= 0 and "_exit" not in last:
        assert not is_there(pid), "it was waited for"
    wait_until(lambda: not is_there(pid))


FORK = """\
import gc
child = os.fork()
if not child:
    assert not vm.running
    with vm:
        vm.stop(kill=True)
    for use in (vm.wait, vm.ssh, lambda: vm.qmp("quit"), lambda: vm.copy_in("a", "/"), vm.ssh_stream):
        try:
            use()
        except RuntimeError as error:
            assert "fork" in str(error)
        else:
            os._exit(1)
    with store.run("blank", qemu_args=["-m", "32M"], shutdown_timeout=0) as own:
        assert own.qmp("query-status")["running"]
    del vm
    gc.collect()
    sys.exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert vm.running
assert vm.qmp("query-status")["running"]
vm.stop()
"""


def test_fork(blank_store: transient.Store) -> None:
    program: list[str | Path] = [
        sys.executable,
        "-W",
        "ignore",
        "-c",
        LEFT + FORK,
        blank_store.backend,
        blank_store.vmstore,
    ]
    done = subprocess.run(program, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


INTERRUPT = """\
import sys, time
import transient

store = transient.Store(sys.argv[1], sys.argv[2])
vm = store.run("blank", ssh=True, qemu_args=["-m", "32M"], shutdown_timeout=100, name="box")
print(vm.pid, flush=True)
try:
    exec(sys.argv[3])
except KeyboardInterrupt as interrupt:
    print("interrupted", interrupt.__cause__, flush=True)
    vm.stop(kill=True)
    raise
"""


def threads_of(pid: int) -> list[str]:
    return [name.read_text() for name in Path(f"/proc/{pid}/task").glob("*/comm")]


@pytest.mark.parametrize(
    "call",
    [
        "vm.wait()",
        "vm.stop()",
        "vm.ssh('true')",
        "vm.copy_in('/etc/hostname', '/')",
        "list(vm.ssh_stream('true'))",
        "with vm: 1 / 0",
        "store.ssh('box', 'true')",
        "store.ssh('other', 'true', wait=True)",
        "store.stop('box')",
    ],
)
def test_ctrl_c(blank_store: transient.Store, call: str) -> None:
    program: list[str | Path] = [
        sys.executable,
        "-c",
        INTERRUPT,
        blank_store.backend,
        blank_store.vmstore,
        call,
    ]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        pid = int(process.stdout.readline())
        # The thread that does the work.
        wait_until(lambda: "transient\n" in threads_of(process.pid))
        begin = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "interrupted None\n", process.stderr and process.stderr.read()
        assert time.monotonic() - begin < 2
        assert process.wait(timeout=10) == -signal.SIGINT
    assert not is_there(pid)


def children() -> int:
    """Count the processes that this one has."""
    tasks = Path("/proc/self/task").glob("*/children")
    return sum(len(children.read_text().split()) for children in tasks)


def used() -> dict[str, int]:
    """Count what this process has of what can be left over."""
    gc.collect()
    return {
        "processes": children(),
        "descriptors": len(list(Path("/proc/self/fd").iterdir())),
        "threads": len(list(Path("/proc/self/task").iterdir())),
    }


def memory() -> int:
    """Return the memory that this process has, in KiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def test_twenty_vms_of_four_threads_leave_nothing(blank_store: transient.Store) -> None:
    blank_store.create("blank", name="kept", qemu_args=SMALL, shutdown_timeout=0)

    def live(number: int) -> int:
        with blank_store.run("blank", ssh=True, qemu_args=ON_SERIAL, shutdown_timeout=0) as vm:
            assert vm.name in [info.name for info in blank_store.vms()]
            assert vm.qmp("query-status")["running"]
            wait_until(lambda: b"SeaBIOS" in vm.serial, 60)
            if number % 2:
                vm.stop(kill=True)
            return vm.pid

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(live, range(4)))
        before, memory_before = used(), memory()
        pids = set(pool.map(live, range(20)))
        after, memory_after = used(), memory()
    print(f"before: {before}, {memory_before} KiB; after: {after}, {memory_after} KiB")
    assert len(pids) == 20
    assert not any(map(is_there, pids))
    assert after == before
    assert memory_after - memory_before < 16 << 10
    assert [info.name for info in blank_store.vms()] == ["kept"]
