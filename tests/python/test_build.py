"""Builds through Python: results, events, failures, cancelling."""

from __future__ import annotations

import asyncio
import logging
import pickle
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import transient
from transient import errors, events

if TYPE_CHECKING:
    from transient.options import Compression

MEMORY = "512MiB"


def write(build_dir: Path, more: str, name: str = "Imagefile") -> Path:
    """Append instructions to the Imagefile of the tiny system, in a file of its own."""
    file = build_dir / name
    file.write_text((build_dir / "Imagefile").read_text() + more)
    return file


def test_a_build_tells_what_it_does(store: transient.Store, build_dir: Path) -> None:
    write(build_dir, "RUN echo out; echo err >&2\n")
    seen: list[events.Event] = []
    image = store.build(build_dir, name="tiny/1", on_event=seen.append, memory=MEMORY)
    assert (image.name, image.virtual_size) == ("tiny/1", 64 << 20)
    assert image.path == store.backend / "tiny%2F1"
    assert store.images() == [image]
    subprocess.run(["qemu-img", "check", "-q", image], check=True)

    started = [event for event in seen if isinstance(event, events.StepStarted)]
    assert [event.step for event in started] == [1, 2, 3, 4, 5]
    assert (started[4].steps, started[4].line) == (5, 5)
    assert started[4].instruction == "RUN echo out; echo err >&2"
    output = dict.fromkeys(("stdout", "stderr"), b"")
    for event in seen:
        match event:
            case events.Output(stream=stream, data=data):
                output[stream] += data
            case events.BuilderStarted(accelerator=accelerator):
                assert accelerator in ("kvm", "tcg")
    assert output == {"stdout": b"out\n", "stderr": b"err\n"}
    assert isinstance(seen[-1], events.BuildFinished)
    assert seen[-1].image == image
    assert any(isinstance(event, events.Progress) and event.finished for event in seen)


@pytest.mark.parametrize("compress", ["none", "zlib", "zstd"])
def test_an_image_is_compressed(store: transient.Store, build_dir: Path, compress: Compression) -> None:
    write(build_dir, "RUN true\n")
    image = store.build(build_dir, name=f"packed-{compress}", compress=compress, memory=MEMORY)
    expected = "zstd" if compress == "zstd" else "zlib"
    assert store.inspect(image.name).compression == expected
    assert store.check(image.name).is_sound
    plain = store.build(build_dir, name="plain", memory=MEMORY)
    assert (image.real_size < plain.real_size) == (compress != "none")
    assert image.path.samefile(plain.path) == (compress == "none")


def test_a_compression_has_a_name(store: transient.Store, build_dir: Path) -> None:
    write(build_dir, "")
    with pytest.raises(ValueError, match="'none', 'zlib' or 'zstd'"):
        store.build(build_dir, name="x", compress="gzip")  # type: ignore[arg-type]


def test_a_step_that_is_known_is_not_done_again(store: transient.Store, build_dir: Path) -> None:
    write(build_dir, "RUN cat /proc/sys/kernel/random/uuid > /id\n")

    def cached(**options: Any) -> list[bool]:
        seen: list[events.Event] = []
        store.build(build_dir, name="again", on_event=seen.append, memory=MEMORY, **options)
        return [event.cached for event in seen if isinstance(event, events.StepFinished)]

    assert cached(no_cache=True) == [False] * 5
    assert cached(qemu="/nonexistent/qemu") == [True] * 5
    assert cached(no_cache_from=5) == [True] * 4 + [False]
    with pytest.raises(errors.InvalidArgument, match="there is no step 6"):
        cached(no_cache_from=6)
    layers = store.layers()
    assert [layer for layer in layers if layer.instruction.startswith("RUN cat")]
    lowest = next(layer for layer in layers if layer.parent is None)
    assert lowest.size > 0
    with pytest.raises(errors.InvalidArgument):
        store.remove_layers("no such key")
    store.remove_layers(lowest.key[:16])
    assert store.layers() == []
    assert cached(qemu="/nonexistent/qemu") == [True] * 5, "the image is there"
    store.remove("again")
    assert cached(cache_limit=0) == [False] * 5
    assert store.layers() == []
    assert store.prune_layers("1GiB") == 0


def test_why_a_step_is_carried_out_is_explained(store: transient.Store, build_dir: Path) -> None:
    def explain() -> events.Explanation:
        seen: list[events.Event] = []
        with pytest.raises(errors.MissingProgram):
            store.build(build_dir, name="x", explain=True, on_event=seen.append, qemu="no-such-qemu")
        [explanation] = [event for event in seen if isinstance(event, events.Explanation)]
        return explanation

    assert "there is no earlier build of 'x'" in explain().reason
    imagefile = build_dir / "Imagefile"
    imagefile.write_text(imagefile.read_text().replace("64 MB", "65 MB"))
    explanation = explain()
    assert (explanation.step, explanation.more) == (1, 0)
    [difference] = explanation.differences
    assert (difference.kind, difference.path) == ("instruction", None)
    assert (difference.before, difference.now) == ("DISK 64 MB MBR", "DISK 65 MB MBR")
    assert difference.message in str(explanation)


def test_a_command_that_fails_is_told_whole(store: transient.Store, build_dir: Path) -> None:
    write(build_dir, "RUN echo before; \\\n  exit 7\n")
    with pytest.raises(errors.CommandFailed) as caught:
        store.build(build_dir, name="broken", memory=MEMORY)
    error = caught.value
    assert (error.code, error.kind, error.exit_status) == (500, "command-failed", 7)
    assert (error.line, error.column) == (5, 1)
    assert error.file == str(build_dir / "Imagefile")
    assert error.step is not None
    assert error.step.startswith("RUN echo before")
    assert error.output == "before"
    assert "Imagefile:5:1" in str(error)
    assert store.images() == []
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert type(again) is errors.CommandFailed
    assert (str(again), again.exit_status, again.output) == (str(error), 7, "before")


def test_the_state_before_a_step_that_failed_is_kept(store: transient.Store, build_dir: Path) -> None:
    write(build_dir, "RUN echo before > /state\nRUN exit 7\n")
    with pytest.raises(errors.NotATerminal):
        store.build(build_dir, name="broken", on_failure="shell")
    with pytest.raises(ValueError, match="later"):
        store.build(build_dir, name="broken", on_failure="later")  # type: ignore[arg-type]
    with pytest.raises(errors.InvalidArgument):
        store.build(build_dir, name="broken", keep_failed="broken")
    with pytest.raises(errors.CommandFailed) as caught:
        store.build(build_dir, name="broken", keep_failed="kept", memory=MEMORY)
    assert caught.value.hints == ("the image 'kept' is the state before this step",)
    [kept] = store.images()
    assert kept.name == "kept"
    steps = [step.instruction for step in store.inspect("kept").history]
    assert "RUN echo before > /state" in steps[0] + steps[-1]
    assert not [step for step in steps if "exit 7" in step]
    with pytest.raises(errors.ImageExists):
        store.build(build_dir, name="broken", keep_failed="kept")


def test_what_on_event_raises_comes_out(store: transient.Store, build_dir: Path) -> None:
    write(build_dir, "RUN sleep 60\n")

    def on_event(event: events.Event) -> None:
        if isinstance(event, events.StepStarted) and event.step == 5:
            message = "enough"
            raise LookupError(message)

    with pytest.raises(LookupError, match="enough"):
        store.build(build_dir, name="unheard", on_event=on_event, memory=MEMORY)
    assert store.images() == []
    assert not list((store.backend / ".working").iterdir())


def test_two_builds_at_once_and_one_is_cancelled(store: transient.Store, build_dir: Path) -> None:
    """In threads, while this one goes on: a token ends the one build, and the other does not notice."""
    sleeper = write(build_dir, "RUN sleep 60\n", "Imagefile.sleeper")
    cancel = transient.CancelToken()
    sleeping = threading.Event()
    outcome: dict[str, object] = {}

    def build(name: str, file: Path | None, cancel: transient.CancelToken | None) -> None:
        def on_event(event: events.Event) -> None:
            if isinstance(event, events.StepStarted) and event.step == 5:
                sleeping.set()

        try:
            outcome[name] = store.build(
                build_dir, name=name, file=file, cancel=cancel, on_event=on_event, memory=MEMORY
            )
        except errors.Cancelled as error:
            outcome[name] = error

    threads = [
        threading.Thread(target=build, args=("kept", None, None)),
        threading.Thread(target=build, args=("cancelled", sleeper, cancel)),
    ]
    for thread in threads:
        thread.start()
    assert sleeping.wait(timeout=300)
    cancel.cancel()
    assert cancel.cancelled
    for thread in threads:
        thread.join()
    assert isinstance(outcome["cancelled"], errors.Cancelled)
    assert store.images() == [outcome["kept"]]


def test_asyncio(store: transient.Store, build_dir: Path) -> None:
    """The event loop goes on during a build; a cancelled task ends it by the token."""
    write(build_dir, "RUN sleep 60\n")
    cancel = transient.CancelToken()
    running = threading.Event()

    def on_event(event: events.Event) -> None:
        if isinstance(event, events.StepStarted) and event.step == 5:
            running.set()

    async def build() -> None:
        task = asyncio.to_thread(
            store.build, build_dir, name="async", cancel=cancel, on_event=on_event, memory=MEMORY
        )
        building = asyncio.create_task(task)
        ticks = 0
        while not running.is_set():
            await asyncio.sleep(0.01)
            ticks += 1
        assert ticks > 20
        cancel.cancel()
        with pytest.raises(errors.Cancelled):
            await building

    asyncio.run(build())
    assert store.images() == []


def test_a_token_that_is_cancelled_already(store: transient.Store, build_dir: Path) -> None:
    cancel = transient.CancelToken()
    cancel.cancel()
    with pytest.raises(errors.Cancelled):
        store.build(build_dir, name="never", cancel=cancel)


def test_local_and_from(store: transient.Store, build_dir: Path) -> None:
    image = store.build(build_dir, name="local", local=True, memory=MEMORY)
    assert image.path == build_dir / "local.qcow2"
    assert store.images() == []
    (build_dir / "Imagefile").write_text(f"FROM base,file={image.path}\nRUN echo hello > /hello\n")
    built = store.build(build_dir, name="from", network="none", cpus=1, memory=MEMORY)
    assert store.image("from") == built
    assert store.image("base") is not None


def test_log_records(store: transient.Store, build_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="transient")
    store.build(build_dir, name="logged", memory=MEMORY)
    assert any(
        record.name == "transient.run" and "qemu-system-x86_64" in record.getMessage()
        for record in caplog.records
    )


def test_options_are_checked(store: transient.Store, build_dir: Path) -> None:
    wrong: list[dict[str, Any]] = [
        {"cpus": 0},
        {"accelerator": "hvf"},
        {"network": "bridge"},
        {"ssh_timeout": 0},
        {"qmp_timeout": -1},
        {"memory": "much"},
    ]
    for bad in wrong:
        with pytest.raises(ValueError, match=str(next(iter(bad.values())))):
            store.build(build_dir, name="x", **bad)
    with pytest.raises(TypeError, match="a size is a number of bytes, or a text"):
        store.build(build_dir, name="x", memory=1.5)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        store.build(build_dir)  # type: ignore[call-arg]
    with pytest.raises(errors.InvalidImageName):
        store.build(build_dir, name="")
    with pytest.raises(errors.MissingProgram, match="'no-such-qemu' is not installed"):
        store.build(build_dir, name="x", qemu="no-such-qemu")
    with pytest.raises(errors.InvalidArgument, match="there is no Imagefile at"):
        store.build(build_dir / "nowhere", name="x")


def test_inspect_needs_a_terminal(store: transient.Store, build_dir: Path) -> None:
    write(build_dir, "INSPECT\n")
    with pytest.raises(errors.NotATerminal):
        store.build(build_dir, name="x")
