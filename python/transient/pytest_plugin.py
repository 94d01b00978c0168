"""The pytest plugin: images and VMs for tests, and what they said when a test fails."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, cast

import pytest

import transient

from ._pytest.images import ImageFactory, Session
from ._pytest.report import Journal
from ._pytest.vms import VmFactory, sections

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .options import Accelerator

__all__ = ["ImageFactory", "VmFactory"]

ACCELERATORS = ("auto", "kvm", "tcg")
JOURNAL = pytest.StashKey[Journal]()
VMS = pytest.StashKey["list[transient.Vm]"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options, each with its line in the configuration file."""
    group = parser.getgroup("transient", "images of virtual machines")
    # Absolute, because xdist may run its workers in another folder.
    group.addoption(
        "--transient-backend",
        metavar="DIR",
        type=os.path.abspath,
        help="keep the images of transient_image in DIR, and build only those that have changed",
    )
    group.addoption(
        "--transient-accelerator",
        choices=ACCELERATORS,
        help="what runs the builder VM (auto: kvm where it works)",
    )
    parser.addini("transient_backend", "as --transient-backend; relative to the root directory")
    parser.addini("transient_accelerator", "as --transient-accelerator", default="auto")


def pytest_configure(config: pytest.Config) -> None:
    """Check the options."""
    accelerator = _accelerator(config)
    if accelerator not in ACCELERATORS:
        message = f"transient_accelerator is one of {', '.join(ACCELERATORS)}, not {accelerator!r}"
        raise pytest.UsageError(message)
    config.stash[JOURNAL] = Journal()


def pytest_report_header(config: pytest.Config) -> str:
    """Say which transient is tested with, and how."""
    backend = _backend(config)
    kept = f", images kept in {backend}" if backend else ""
    return f"transient: {transient.__version__}, accelerator {_accelerator(config)}{kept}"


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Add what the builds and the VMs said; pytest shows it where the test failed."""
    journal = item.config.stash[JOURNAL]
    builds = journal.take()
    if call.excinfo is not None:
        builds.append(journal.explain(call.excinfo.value))
    for text in filter(None, builds):
        item.add_report_section(call.when, "transient build", text)
    if call.excinfo is not None:
        for vm in item.stash.get(VMS, []):
            for title, text in sections(vm).items():
                item.add_report_section(call.when, title, text)


@pytest.fixture(scope="session")
def transient_accelerator(pytestconfig: pytest.Config) -> Accelerator:
    """Return what runs builder VMs: the option `--transient-accelerator`."""
    return _accelerator(pytestconfig)


@pytest.fixture
def transient_store(tmp_path: Path) -> transient.Store:
    """Return a store of the test's own, empty. What transient knows of this host is shared with all."""
    return transient.Store(tmp_path / "transient/backend", tmp_path / "transient/vmstore")


@pytest.fixture(scope="session")
def transient_image(
    pytestconfig: pytest.Config,
    tmp_path_factory: pytest.TempPathFactory,
    transient_accelerator: Accelerator,
) -> ImageFactory:
    """Return a function that gives the image of a build directory, which is built once a session."""
    shared = _shared_folder(pytestconfig, tmp_path_factory)
    backend = _backend(pytestconfig)
    # VMs on images that are kept are the user's, and are in the user's VM store.
    store = transient.Store(backend) if backend else transient.Store(shared / "backend", shared / "vmstore")
    session = Session(
        root=pytestconfig.rootpath,
        shared=shared,
        kept=backend is not None,
        accelerator=transient_accelerator,
        journal=pytestconfig.stash[JOURNAL],
    )
    return ImageFactory(store, session)


@pytest.fixture
def transient_vm(request: pytest.FixtureRequest, transient_image: ImageFactory) -> Iterator[VmFactory]:
    """Return a function that starts a VM from an image, which ends with the test."""
    started = request.node.stash.setdefault(VMS, [])
    with ExitStack() as at_end:
        yield VmFactory(transient_image.store, started, at_end)


def _shared_folder(config: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    own = tmp_path_factory.getbasetemp()
    # Each worker of xdist has a folder below the session's.
    return (own.parent if hasattr(config, "workerinput") else own) / "transient"


def _accelerator(config: pytest.Config) -> Accelerator:
    return cast("Accelerator", _option(config, "transient_accelerator"))


def _backend(config: pytest.Config) -> Path | None:
    backend = _option(config, "transient_backend")
    return config.rootpath / backend if backend else None


def _option(config: pytest.Config, name: str) -> str:
    return cast("str", config.getoption(name) or config.getini(name))
