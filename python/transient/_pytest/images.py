"""The images of a test session."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import transient
from transient.names import encode

from .kept import Fingerprint, build_if_changed
from .report import Transcript
from .sharing import Outcome, locked

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from transient.options import Accelerator, Network, Size, StrPath

    from .report import Journal


class VmOptions(TypedDict, total=False):
    """How the builder VM is run: options of `transient.Store.build`, which documents them."""

    memory: Size | None
    cpus: int | None
    accelerator: Accelerator
    network: Network
    qemu: StrPath | None
    qmp_timeout: float | None
    ssh_timeout: float | None


@dataclass(frozen=True)
class Request:
    """What image is asked for. It looks the same in every process."""

    directory: Path
    imagefile: Path | str
    """A file, or its text."""
    options: str

    @property
    def made_up_name(self) -> str:
        """A name for an image that was not given one."""
        digest = hashlib.blake2b(repr(self).encode(errors="surrogateescape"), digest_size=4)
        return f"{self.directory.name}.{digest.hexdigest()}"


@dataclass(frozen=True)
class Session:
    """What a factory knows of the session that it works for."""

    root: Path
    """What paths are relative to."""
    shared: Path
    """A folder that all processes of the session have, and nobody else."""
    kept: bool
    """Whether the images of earlier sessions may be used."""
    accelerator: Accelerator
    """What runs the builder VM, unless a call says otherwise."""
    journal: Journal
    """What is told of the builds."""


class ImageFactory:
    """Builds images for tests, each at most once a session: the fixture `transient_image`."""

    def __init__(self, store: transient.Store, session: Session) -> None:
        """Let images go to a store, for a session."""
        self.store = store
        """The store that the images are in."""
        self._session = session

    def __call__(
        self,
        path: StrPath,
        *,
        name: str | None = None,
        text: str | None = None,
        file: StrPath | None = None,
        **options: Unpack[VmOptions],
    ) -> transient.Image:
        """Return an image, which is built unless this session has it already.

        Args:
            path: The build directory, or an Imagefile in it; relative to pytest's root directory.
            name: The image's name, which later Imagefiles can be `FROM`; else one is made up.
            text: The Imagefile itself, where it is in no file.
            file: The Imagefile, where it is not the one in the build directory.
            options: As `transient.Store.build` takes them.

        Raises:
            transient.Error: The build failed; it is tried only once a session.
            ValueError: Another image of this session has that name.
        """
        __tracebackhide__ = True
        request = self._request(path, text, file, repr(sorted(options.items())))
        name = name or request.made_up_name
        with locked(self._beside(name, "lock")):
            outcome = self._known(name) or self._make(name, request, options)
        if outcome.request != request:
            message = f"this session has another image of the name {name!r}, from {outcome.request.directory}"
            raise ValueError(message)
        if outcome.error:
            self._session.journal.failed(outcome.error, outcome.transcript)
            raise outcome.error.with_traceback(None)
        image = self.store.image(name)
        if image is None:
            message = f"the image {name!r} was removed during this session"
            raise LookupError(message)
        return image

    def _request(self, path: StrPath, text: str | None, file: StrPath | None, options: str) -> Request:
        place = (self._session.root / path).resolve()
        if place.is_file():
            place, file = place.parent, place
        imagefile = (self._session.root / file).resolve() if file else place / "Imagefile"
        return Request(place, imagefile if text is None else text, options)

    def _known(self, name: str) -> Outcome | None:
        return Outcome.load(self._in_session(name, "outcome"))

    def _make(self, name: str, request: Request, options: VmOptions) -> Outcome:
        transcript = Transcript()
        error = None
        try:
            self._build(name, request, options, transcript)
        except transient.Error as failure:
            error = failure
        outcome = Outcome(request, error, str(transcript))
        outcome.save(self._in_session(name, "outcome"))
        return outcome

    def _build(self, name: str, request: Request, options: VmOptions, transcript: Transcript) -> None:
        file = self._file(name, request.imagefile)
        options.setdefault("accelerator", self._session.accelerator)

        def build() -> None:
            directory = request.directory
            self.store.build(directory, name=name, file=file, local=False, on_event=transcript, **options)
            self._session.journal.finished(name, str(transcript))

        if self._session.kept:
            fingerprint = Fingerprint(file, request.directory, request.options)
            build_if_changed(self.store, name, fingerprint, self._beside(name, "stamp"), build)
        else:
            build()

    def _file(self, name: str, imagefile: Path | str) -> Path:
        if isinstance(imagefile, Path):
            return imagefile
        file = self._in_session(name, "Imagefile")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(imagefile)
        return file

    def _in_session(self, name: str, suffix: str) -> Path:
        return self._session.shared / f"{encode(name)}.{suffix}"

    def _beside(self, name: str, suffix: str) -> Path:
        # In the backend, for the sessions that share it; what begins with a dot there is no image.
        return self.store.backend / ".pytest" / f"{encode(name)}.{suffix}"
