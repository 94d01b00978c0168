"""Bringing images in, from a server of the tests' own."""

from __future__ import annotations

import gzip
import hashlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import transient
from transient import errors, events, options


class Server(ThreadingHTTPServer):
    """Serves one file, and never answers at `/silent`."""

    daemon_threads = True

    def __init__(self, content: bytes) -> None:
        """Listen on a free port."""
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = content
        self.asked = threading.Event()
        self.closed = threading.Event()

    def url(self, path: str) -> str:
        """Return the URL of a path."""
        return f"http://127.0.0.1:{self.server_port}{path}"


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: Server

    def do_GET(self) -> None:
        """Send the file, or nothing."""
        self.server.asked.set()
        if self.path == "/silent":
            self.server.closed.wait()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()
        self.wfile.write(self.server.content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that it has
        """Say nothing."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    disk = tmp_path / "disk.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", disk, "1G"], check=True)
    server = Server(gzip.compress(disk.read_bytes()))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.closed.set()
    server.shutdown()
    server.server_close()


def leftovers(store: transient.Store) -> list[Path]:
    return list((store.backend / ".working").glob("*"))


def test_a_download_is_checked(store: transient.Store, server: Server) -> None:
    digest = hashlib.sha256(server.content).hexdigest()
    told: list[events.Event] = []
    spec = f"web,http={server.url('/disk.gz')}"
    images = store.pull(f"{spec},sha256={digest}", "web", on_event=told.append)
    assert images == [store.image("web"), store.image("web")]
    finished = [event for event in told if isinstance(event, events.PullFinished)]
    assert [(event.image.name, event.fetched) for event in finished] == [("web", True), ("web", False)]
    with pytest.raises(errors.InvalidImage, match=digest):
        store.pull(f"other,http={server.url('/')},sha256={'0' * 64}")
    assert leftovers(store) == []


def test_a_spec_with_its_checksum() -> None:
    spec = transient.names.parse_spec(f"a,https=https://host/b,c,SHA256={'A' * 64}")
    assert (spec.protocol, spec.source, spec.checksum) == ("http", "https://host/b,c", f"sha256={'a' * 64}")
    with pytest.raises(errors.InvalidImageName, match="not 64"):
        transient.names.parse_spec("a,file=b,sha256=12")


def test_what_on_event_raises_comes_out(store: transient.Store, server: Server) -> None:
    def on_event(event: events.Event) -> None:
        raise KeyError(event)

    with pytest.raises(KeyError):
        store.pull(f"web,http={server.url('/silent')}", on_event=on_event)
    assert leftovers(store) == []


def test_an_interrupt(store: transient.Store, server: Server) -> None:
    def interrupt() -> None:
        server.asked.wait()
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        store.pull(f"web,http={server.url('/silent')}")
    assert leftovers(store) == []


def test_a_cancel(store: transient.Store, server: Server) -> None:
    cancel = transient.CancelToken()

    def end() -> None:
        server.asked.wait()
        cancel.cancel()

    threading.Thread(target=end, daemon=True).start()
    with pytest.raises(errors.Cancelled):
        store.pull(f"web,http={server.url('/silent')}", cancel=cancel)


def test_downloads_are_as_the_caller_says(tmp_path: Path, server: Server) -> None:
    proxy = options.Downloads(http_proxy=server.url("/"))
    store = transient.Store.below(tmp_path / "store", downloads=proxy)
    assert store.pull("web,http=http://images.example/disk.gz")[0].virtual_size == 1 << 30
    nowhere = options.Downloads(certificates=[tmp_path / "none.pem"])
    store = transient.Store(tmp_path / "backend", tmp_path / "vmstore", downloads=nowhere)
    with pytest.raises(errors.InvalidArgument, match=r"none\.pem"):
        store.pull(f"web,http={server.url('/')}")
    secret = options.Downloads(http_proxy="http://me:secret@proxy", vagrant_token="secret")  # noqa: S106 - none
    assert "secret" not in repr(secret)
