"""The virtual machines of a test."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import transient

if TYPE_CHECKING:
    from contextlib import ExitStack

    from typing_extensions import Unpack

    from transient.options import RunOptions

LINES = 50
"""How many lines of a VM are shown."""
ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|[()][0-9A-Za-z]|[=>78cDEHM])")
"""What tells a terminal of colours and places."""


class VmFactory:
    """Starts VMs for a test, which end with it: the fixture `transient_vm`."""

    def __init__(self, store: transient.Store, started: list[transient.Vm], at_end: ExitStack) -> None:
        """Start VMs from the images of a store, for a test."""
        self._store = store
        self._started = started
        self._at_end = at_end

    def __call__(
        self,
        image: str | transient.Image | None = None,
        *,
        store: transient.Store | None = None,
        **options: Unpack[RunOptions],
    ) -> transient.Vm:
        """Start a VM, which is stopped when the test ends.

        One of which nothing is kept, because it has no `name` and no `copy_out_after`, is killed then; others
        shut down in order.

        Args:
            image: The image, or its name, or another image spec.
            store: The store of the image and of the VM; else that of `transient_image`.
            options: As `transient.Store.run` takes them.

        Raises:
            transient.Error: The VM does not start.
        """
        __tracebackhide__ = True
        name = image.name if isinstance(image, transient.Image) else image
        vm = (store or self._store).run(name, **options)
        is_kept = any(options.get(option) for option in ("name", "copy_out_after", "config"))
        self._at_end.callback(vm.stop, kill=not is_kept)
        self._started.append(vm)
        return vm


def sections(vm: transient.Vm) -> dict[str, str]:
    """Return what a report tells of a VM, with titles."""
    command, status, output = vm._last_command  # noqa: SLF001 - it is there for this
    sections = {f"transient serial console of {vm.image}": _end(vm.serial)}
    if output or status is not None or command is not None:
        ended = "has not ended" if status is None else f"exit status {status}"
        sections[f"transient ssh of {vm.image}"] = f"{command or 'a shell'} ({ended}):\n{_end(output)}"
    return sections


def _end(output: bytes) -> str:
    lines = ESCAPES.sub("", output.decode(errors="replace")).splitlines()
    return "\n".join(lines[-LINES:]) or "(nothing)"
