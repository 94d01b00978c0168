"""What a failed test tells of the builds behind it."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from transient import events
from transient.errors import Error

LINES = 50
"""How many lines of a build are shown."""
LARGEST = 64 * 1024
"""How many bytes of a build are kept; a line may be long."""


class Transcript:
    """The end of what a build printed: give it to a build as `on_event`."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._end = bytearray()

    def __call__(self, event: events.Event) -> None:
        """Take note of an event."""
        if isinstance(event, events.StepStarted):
            self._line(f"Step {event.step}/{event.steps} : {event.instruction}")
        elif isinstance(event, events.Warning):
            self._line(f"warning: {event.message}")
        elif isinstance(event, events.Output):
            self._end += event.data
        del self._end[:-LARGEST]

    def __str__(self) -> str:
        """Return the last lines."""
        return "\n".join(self._end.decode(errors="replace").splitlines()[-LINES:])

    def _line(self, text: str) -> None:
        # A command need not end its last line.
        if self._end and not self._end.endswith(b"\n"):
            self._end += b"\n"
        self._end += text.encode() + b"\n"


class Journal:
    """The builds of a session, for the reports of its tests."""

    def __init__(self) -> None:
        """Begin with none."""
        self._finished: list[str] = []
        self._failed: WeakKeyDictionary[Error, str] = WeakKeyDictionary()

    def finished(self, name: str, transcript: str) -> None:
        """Take note of an image that was built."""
        self._finished.append(f"built {name}:\n{transcript}")

    def failed(self, error: Error, transcript: str) -> None:
        """Take note of a build that failed."""
        self._failed[error] = transcript

    def take(self) -> list[str]:
        """Return the images that were built since the last call, each with its transcript."""
        taken, self._finished = self._finished, []
        return taken

    def explain(self, exception: BaseException) -> str:
        """Return what is known of the failed build that an exception comes from; else nothing."""
        error = _error_behind(exception)
        if error is None:
            return ""
        transcript = self._failed.get(error) or error.output
        return "\n".join([*_facts(error), "", transcript]).strip()


def _error_behind(exception: BaseException | None) -> Error | None:
    while exception is not None and not isinstance(exception, Error):
        exception = exception.__cause__ or exception.__context__
    return exception


def _facts(error: Error) -> list[str]:
    place = ":".join(str(part) for part in (error.file, error.line, error.column) if part is not None)
    facts = [("failed step", error.step), ("in", place), ("exit status", error.exit_status)]
    facts += [("hint", hint) for hint in error.hints]
    return [f"{label + ':':<13}{value}" for label, value in facts if value not in (None, "")]
