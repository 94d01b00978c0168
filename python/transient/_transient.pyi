"""The part of the package that is Rust."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from subprocess import CompletedProcess
from types import TracebackType
from typing import Any, Literal, final, overload

from typing_extensions import Self, Unpack

from .events import Event
from .image import CachedLayer, Image, Pruned
from .inspection import ImageCheck, Inspection
from .instructions import Instruction
from .names import ImageSpec
from .options import (
    Accelerator,
    Age,
    BuilderOptions,
    Compression,
    Copy,
    CreateOptions,
    Downloads,
    ExportFormat,
    Network,
    OnFailure,
    Readable,
    RunOptions,
    Size,
    StartOptions,
    StrPath,
)
from .plan import Plan
from .vm import VmInfo

__all__ = [
    "Appliance",
    "CancelToken",
    "Imagefile",
    "SshStream",
    "Store",
    "Vm",
    "__version__",
    "build_appliance",
    "decode_image_name",
    "encode_image_name",
    "find_appliance",
    "format_bytes",
    "parse_bytes",
    "parse_image_spec",
    "run_command",
]

__version__: str

@final
class Store:
    """The images of a user, and the VMs that use them.

    Making one touches nothing: folders are made when something is put into them. A store may be used by many
    threads and processes at once.

    >>> import tempfile, transient
    >>> folder = tempfile.mkdtemp()
    >>> store = transient.Store(backend=f"{folder}/backend", vmstore=f"{folder}/vmstore")
    >>> store.images()
    []
    """

    def __new__(
        cls,
        backend: StrPath | None = None,
        vmstore: StrPath | None = None,
        *,
        cache: StrPath | None = None,
        appliance: StrPath | None = None,
        running: StrPath | None = None,
        temporary: StrPath | None = None,
        ssh_agent: StrPath | None = None,
        ssh_keys: StrPath | None = None,
        downloads: Downloads | None = None,
    ) -> Store:
        """Open a store.

        Args:
            backend: The folder of the images; else `TRANSIENT_BACKEND`, else the user's own.
            vmstore: The folder of the VMs; else `TRANSIENT_VMSTORE`, else the user's own.
            cache: What may be thrown away and made again; else `TRANSIENT_CACHE`, else the user's own.
            appliance: What the builder VM boots; else `TRANSIENT_APPLIANCE`, else the one of this package.
            running: The folder of what is known of VMs that run, which is yours alone; else one below
                `XDG_RUNTIME_DIR`, or below the folder for temporary files.
            temporary: Where VMs that keep nothing have what they write meanwhile; else `TMPDIR`, else
                `/var/tmp`.
            ssh_agent: The socket of an SSH agent; else `SSH_AUTH_SOCK`.
            ssh_keys: The folder of your SSH keys; else `.ssh` below `HOME`.
            downloads: How images are downloaded; else as `https_proxy`, `SSL_CERT_FILE` and such say.

        Raises:
            transient.errors.InvalidArgument: A folder is not named, and there is no `HOME` either.
        """

    @staticmethod
    def below(folder: StrPath, *, downloads: Downloads | None = None) -> Store:
        """Return a store with everything below one folder, whatever the environment says."""

    @property
    def backend(self) -> Path:
        """The folder of the images."""
    @property
    def vmstore(self) -> Path:
        """The folder of the VMs."""
    @property
    def cache(self) -> Path:
        """The folder of what may be made again."""

    def build(
        self,
        directory: StrPath,
        *,
        name: str,
        file: StrPath | None = None,
        local: bool = False,
        compress: Compression = "none",
        no_cache: bool = False,
        no_cache_from: int | None = None,
        explain: bool = False,
        on_failure: OnFailure = "stop",
        keep_failed: str | None = None,
        cache_limit: Size | None = None,
        memory: Size | None = None,
        cpus: int | None = None,
        accelerator: Accelerator = "auto",
        network: Network = "user",
        warm_start: bool = True,
        qemu: StrPath | None = None,
        qmp_timeout: float | None = None,
        ssh_timeout: float | None = None,
        terminal: bool = False,
        on_event: Callable[[Event], Any] | None = None,
        cancel: CancelToken | None = None,
    ) -> Image:
        """Build an image from an Imagefile.

        The image is in the store when this returns. However a build ends otherwise (an exception, Ctrl-C, a
        cancel, a kill), the store is as it was, and nothing is left running.

        Other threads go on meanwhile. What `on_event` raises ends the build and comes out of it; so does
        `KeyboardInterrupt`, on the main thread.

        Args:
            directory: The build directory: paths in the Imagefile are relative to it.
            name: The name of the new image. One that is there is replaced, unless a VM uses it.
            file: The Imagefile; else `Imagefile` in the build directory.
            local: Put the image into the build directory, as `NAME.qcow2`, and not into the store.
            compress: How the clusters of the image are compressed, which VMs read as they are.
            no_cache: Carry out every step, also those whose result is in the cache, which gets the new one.
            no_cache_from: The first step, counted from 1, that is carried out though its result may be in the
                cache, with all that follow; 1 is the same as `no_cache`.
            explain: Tell by an `Explanation` what differs from the last build of that name, so that the first
                step that is carried out is not in the cache.
            on_failure: What happens when a step fails, before the build does: `shell` opens one in the state
                before the step, in a VM of its own; it needs `terminal`. Nothing done in it is kept.
            keep_failed: The name of an image, which must be free, that is made in the store of the state
                before a step that fails. A hint of the exception names it.
            cache_limit: What the layers in the cache may occupy after the build; else 20 GiB.
            memory: Of the builder VM, in bytes or as a text; else 2 GiB, or what the host can spare.
            cpus: Of the builder VM, 1 to 255; else all of the host, up to 4.
            accelerator: What runs the builder VM's instructions.
            network: The network of RUN.
            warm_start: Restore a builder VM that was saved when it had booted, which is faster than to boot;
                where there is none, save one. Only without KVM.
            qemu: The program, a name or a path; else `qemu-system-x86_64`.
            qmp_timeout: Seconds that QEMU may take to answer; else 10.
            ssh_timeout: Seconds that the builder VM may take to answer; else 90, and 270 without KVM.
            terminal: Let INSPECT, and a shell on failure, use the terminal of this process.
            on_event: Is called with each event, on the calling thread.
            cancel: Ends the build when it is cancelled, from any thread. An interrupt cancels it too.

        Raises:
            transient.errors.InvalidImagefile: The Imagefile has errors; nothing was booted.
            transient.errors.CommandFailed: A RUN failed.
            transient.errors.ImageInUse: A VM has a disk on the image that would be replaced.
            transient.errors.Cancelled: `cancel` was cancelled.
            transient.Error: Whatever else can go wrong; each kind has a subclass.
        """

    def pull(
        self,
        *specs: str,
        on_event: Callable[[Event], Any] | None = None,
        cancel: CancelToken | None = None,
    ) -> list[Image]:
        """Bring images into the store, those that it lacks, one after the other; return them.

        A spec is what may follow `FROM` in an Imagefile: `NAME,http=URL`, `NAME,file=PATH`, either with
        `,sha256=DIGEST` behind it, or `NAME,vagrant=USER/BOX:VERSION`, for which `USER/BOX:VERSION` is
        enough. What another process is bringing in is waited for.

        Args:
            specs: The images' specs. Where one fails, those before it stay.
            on_event: Is called with each event, on the calling thread.
            cancel: Ends the call when it is cancelled, from any thread. An interrupt cancels it too.

        Raises:
            transient.errors.InvalidImageName: A spec makes no sense; nothing was fetched.
            transient.errors.SourceFailed: A source cannot be read.
            transient.errors.InvalidImage: What came is damaged, another file than was meant, or no image.
            transient.errors.Cancelled: `cancel` was cancelled.
            transient.Error: Whatever else can go wrong; each kind has a subclass.
        """

    def images(self) -> list[Image]:
        """List the images, sorted by name. A file that is no valid image is a `UserWarning`."""

    def image(self, name: str) -> Image | None:
        """Return the image of this name, or `None`.

        Raises:
            transient.errors.InvalidImageName: No image can have such a name.
            transient.errors.InvalidImage: The file of that name is no valid image.
        """

    def inspect(self, name: str) -> Inspection:
        """Return all that is known of an image, also how it was made.

        A record of that which cannot be used is a `UserWarning`.

        Raises:
            transient.errors.ImageNotFound: There is no such image.
            transient.errors.InvalidImage: The file of that name is no valid image.
        """

    def check(self, name: str, *, cancel: CancelToken | None = None) -> ImageCheck:
        """Find out whether an image is whole; `is_sound` of what is returned tells.

        The library follows the tables of the image, then `qemu-img` does.

        Args:
            name: The image's name.
            cancel: Ends the call when it is cancelled, from any thread. An interrupt cancels it too.

        Raises:
            transient.errors.ImageNotFound: There is no such image.
            transient.errors.MissingProgram: `qemu-img` is not installed.
            transient.errors.Cancelled: `cancel` was cancelled.
        """

    def check_imagefile(self, directory: StrPath, *, file: StrPath | None = None) -> Plan:
        """Find the mistakes of an Imagefile without building anything; return what a build will do.

        Nothing is fetched, booted or made. Sources of COPY and ADD must be in the build directory, and the
        image that it starts from must be in the store or come from somewhere.

        Args:
            directory: The build directory.
            file: The Imagefile; else `Imagefile` in the build directory.

        Raises:
            transient.errors.InvalidImagefile: It has errors, all of which are in `diagnostics`.
            transient.errors.InvalidArgument: There is no such file or directory.
        """

    def layers(self) -> list[CachedLayer]:
        """Return what builds keep for the next ones, the layer that was used last at the end."""

    def prune_layers(self, limit: Size) -> int:
        """Remove layers until those that are left occupy no more than `limit`, and return the bytes freed.

        Those go first that were not used for the longest time; none that a build uses.
        """

    def remove_layers(self, *keys: str) -> None:
        """Remove layers, and all that stands on them.

        A key may be cut short as long as it is that of one layer alone.

        Raises:
            transient.errors.InvalidArgument: There is no such layer, or several, or a build uses one.
        """

    def vms_using(self, name: str) -> list[str]:
        """Return the names of the VMs that have a disk on the image."""

    def remove(self, *names: str, force: bool = False) -> None:
        """Remove images: all that are named, or none.

        Args:
            names: The images' names.
            force: Also remove images that VMs have disks on, with a `UserWarning` for each.

        Raises:
            transient.errors.ImageNotFound: There is no such image.
            transient.errors.ImageInUse: VMs, named in `vms`, have a disk on it.
        """

    def tag(
        self,
        source: str,
        name: str,
        *,
        replace: bool = False,
        on_event: Callable[[Event], Any] | None = None,
        cancel: CancelToken | None = None,
    ) -> Image:
        """Give an image another name, by which it can be used and removed on its own; return it.

        Both are one read-only file, which takes no more space. Where that cannot be, for example on a
        filesystem without hard links or where the image can be written to, the new image is a copy. A name
        that another process is at work on is waited for.

        Args:
            source: The image.
            name: Its other name.
            replace: Replace an image that has the other name, unless a VM uses it.
            on_event: Is called with each event, on the calling thread.
            cancel: Ends the call when it is cancelled, from any thread. An interrupt cancels it too.

        Raises:
            transient.errors.ImageNotFound: There is no such image.
            transient.errors.ImageExists: The other name is taken.
            transient.errors.ImageInUse: VMs, named in `vms`, have a disk on what would be replaced.
        """

    def prune(
        self,
        *,
        all: bool = False,  # noqa: A002 - the name that it has in every language
        older_than: Age | None = None,
        dry_run: bool = False,
    ) -> Pruned:
        """Remove what nobody needs: abandoned work, of processes that were killed.

        What somebody is at work on is left alone, and never waited for. What could not be removed is a
        `UserWarning`.

        Args:
            all: Remove also images that no VM has a disk on.
            older_than: Of the images, only those that were made longer ago than this.
            dry_run: Remove nothing; only say what would be.

        Raises:
            transient.errors.IoError: The store cannot be read, or an image cannot be removed.
        """

    def import_image(
        self,
        path: StrPath,
        name: str | None = None,
        *,
        sha256: str | None = None,
        replace: bool = False,
        on_event: Callable[[Event], Any] | None = None,
        cancel: CancelToken | None = None,
    ) -> Image:
        """Make a file of the host an image; return it.

        Args:
            path: An image in any format that `qemu-img` reads, as it is or compressed with gzip, bzip2, xz or
                zstd; or a pipe, such as `/dev/stdin`.
            name: The image's name; else the file's, without its extensions.
            sha256: What `sha256sum` prints for the file; another file is refused.
            replace: Replace an image of that name, unless a VM uses it.
            on_event: Is called with each event, on the calling thread.
            cancel: Ends the call when it is cancelled, from any thread. An interrupt cancels it too.

        Raises:
            transient.errors.ImageExists: The name is taken.
            transient.errors.ImageInUse: VMs, named in `vms`, have a disk on what would be replaced.
            transient.errors.SourceFailed: The file cannot be read.
            transient.errors.InvalidImage: It is damaged, another one than was meant, or no image.
            transient.errors.Cancelled: `cancel` was cancelled.
            transient.Error: Whatever else can go wrong; each kind has a subclass.
        """

    def export_image(
        self,
        name: str,
        path: StrPath,
        *,
        format: ExportFormat | None = None,  # noqa: A002 - the name that it has in every language
        compress: bool = False,
        replace: bool = False,
        on_event: Callable[[Event], Any] | None = None,
        cancel: CancelToken | None = None,
    ) -> None:
        """Write an image to a file of the host, which is there when it is whole, and not before.

        Args:
            name: The image.
            path: The file; one that ends in `.gz`, `.xz` or `.zst` is compressed as a whole.
            format: The file's format; else what its name ends in, raw for `.img`, else qcow2.
            compress: Use the format's own compression, which `qcow2` and `vmdk` have.
            replace: Replace the file if it is there.
            on_event: Is called with each event, on the calling thread.
            cancel: Ends the call when it is cancelled, from any thread. An interrupt cancels it too.

        Raises:
            transient.errors.ImageNotFound: There is no such image.
            transient.errors.FileExists: The file is there.
            transient.errors.InvalidArgument: No such file can be made.
            transient.errors.Cancelled: `cancel` was cancelled.
            transient.Error: Whatever else can go wrong; each kind has a subclass.
        """

    def run(self, image: str | None = None, **options: Unpack[RunOptions]) -> Vm:
        """Start a VM from an image, which is brought in if the store lacks it.

        Without a name it keeps nothing on disk. It ends at the end of `with`, by `Vm.stop`, when nobody has
        it any more, and in any case with this process.

        This returns when QEMU runs, and the guest has mounted the shared folders, if there are any; else it
        need not have booted. Several VMs may run at once.

        Args:
            image: An image spec: `NAME`, or `NAME,PROTO=SOURCE`.
            options: As `transient.options.RunOptions` has them.

        Raises:
            transient.errors.ImageNotFound: There is no such image.
            transient.errors.VmInUse: A VM of the VM store runs already.
            transient.errors.MissingProgram: QEMU is not installed.
            transient.errors.QemuFailed: It did not start; the exception has its words.
            transient.errors.Cancelled: `cancel` was cancelled.
            transient.Error: Whatever else can go wrong; each kind has a subclass.
        """

    def start(self, name: str, **options: Unpack[StartOptions]) -> Vm:
        """Start a VM of the VM store, as `run` does.

        Args:
            name: The VM.
            options: As `transient.options.StartOptions` has them.

        Raises:
            transient.errors.VmNotFound: There is no such VM.
            transient.Error: As `run`.
        """

    def create(self, image: str | None = None, **options: Unpack[CreateOptions]) -> str:
        """Make a VM in the VM store, and do not start it. Return its name.

        Args:
            image: An image spec: `NAME`, or `NAME,PROTO=SOURCE`, which is brought in if the store lacks it.
            options: As `transient.options.CreateOptions` has them.

        Raises:
            transient.errors.VmExists: The name is taken.
            transient.errors.ImageNotFound: There is no such image.
            transient.Error: Whatever else can go wrong; each kind has a subclass.
        """

    def vms(self) -> list[VmInfo]:
        """List the VMs: those that run, also of other processes, oldest first, then the others by name.

        One that cannot be read is a `UserWarning`.
        """

    def stop(self, *names: str, kill: bool = False) -> None:
        """End VMs that run, also those of other processes, and wait for their ends.

        Args:
            names: The VMs.
            kill: Kill QEMU at once, and do not ask the guest to shut down.

        Raises:
            transient.errors.VmNotRunning: One does not run; none was ended.
            transient.errors.TimedOut: The process that has one does not answer.
        """

    def remove_vms(self, *names: str, force: bool = False) -> None:
        """Remove VMs of the VM store with their disks: all that are named, or none.

        Args:
            names: The VMs.
            force: Stop those that run, and also remove what is broken.

        Raises:
            transient.errors.VmNotFound: There is no such VM.
            transient.errors.VmInUse: One runs.
        """

    @overload
    def ssh(
        self,
        name: str,
        command: str | Sequence[str] | None = None,
        *,
        user: str | None = None,
        key: StrPath | None = None,
        program: StrPath | None = None,
        options: Sequence[str] = (),
        ssh_timeout: float | None = None,
        wait: bool = False,
        input: bytes | str | None = None,
        stdin: Readable | None = None,
        timeout: float | None = None,
        check: bool = False,
        text: Literal[False] | None = None,
        encoding: None = None,
        errors: None = None,
        on_event: Callable[[Event], Any] | None = None,
        cancel: CancelToken | None = None,
    ) -> CompletedProcess[bytes]:
        """Run a command in a VM that runs, also one of another process, and wait for its end.

        What is returned is as of `subprocess.run`, with the output captured; `returncode` is 128 + n if
        signal n ended the command.

        Args:
            name: The VM.
            command: As the guest's shell takes it, or its words; else a shell, which reads its commands from
                the input.
            user: Who logs in; else `vagrant`.
            key: The private key to log in with; else the agent, your keys, and the well-known one of vagrant
                boxes.
            program: The SSH program that is used in place of the library's own client.
            options: Options for `-o` of OpenSSH, which is used in place of the library's own client if there
                are any.
            ssh_timeout: Seconds that the guest may take to accept SSH; else 90.
            wait: Wait as long as that for a VM that does not run yet, too.
            input: What it reads.
            stdin: A file object that it reads from, as long as it runs; not together with `input`.
            timeout: Seconds that it may take, from when the guest has accepted SSH.
            check: Raise `subprocess.CalledProcessError` when it ends with a status that is not 0.
            text: Decode the output, and give it the line ends of Python.
            encoding: Decode it so; else it is UTF-8.
            errors: Decode it, and treat what cannot be decoded so.
            on_event: Is called with each `transient.events.Output`, as it comes, on the calling thread.
            cancel: Ends the call when it is cancelled, from any thread. An interrupt cancels it too.

        Raises:
            subprocess.CalledProcessError: With `check`.
            transient.errors.TimedOut: The guest does not accept SSH in time, or the command takes too long;
                `output` has the end of what it wrote.
            transient.errors.SshFailed: The guest lets nobody in, or is another one than before.
            transient.errors.VmNotRunning: It has ended before, or has no SSH.
            transient.errors.ConnectionLost: It ended meanwhile; so do `QemuFailed` and `GuestPanic` say.
        """
    @overload
    def ssh(
        self,
        name: str,
        command: str | Sequence[str] | None = None,
        *,
        user: str | None = None,
        key: StrPath | None = None,
        program: StrPath | None = None,
        options: Sequence[str] = (),
        ssh_timeout: float | None = None,
        wait: bool = False,
        input: bytes | str | None = None,
        stdin: Readable | None = None,
        timeout: float | None = None,
        check: bool = False,
        text: Literal[True],
        encoding: str | None = None,
        errors: str | None = None,
        on_event: Callable[[Event], Any] | None = None,
        cancel: CancelToken | None = None,
    ) -> CompletedProcess[str]: ...
    @overload
    def ssh(
        self,
        name: str,
        command: str | Sequence[str] | None = None,
        *,
        user: str | None = None,
        key: StrPath | None = None,
        program: StrPath | None = None,
        options: Sequence[str] = (),
        ssh_timeout: float | None = None,
        wait: bool = False,
        input: bytes | str | None = None,
        stdin: Readable | None = None,
        timeout: float | None = None,
        check: bool = False,
        text: bool | None = None,
        encoding: str | None = None,
        errors: str | None = None,
        on_event: Callable[[Event], Any] | None = None,
        cancel: CancelToken | None = None,
    ) -> CompletedProcess[Any]: ...
    def ssh_terminal(
        self,
        name: str,
        command: str | Sequence[str] | None = None,
        *,
        user: str | None = None,
        key: StrPath | None = None,
        program: StrPath | None = None,
        options: Sequence[str] = (),
        ssh_timeout: float | None = None,
        wait: bool = False,
        cancel: CancelToken | None = None,
    ) -> int:
        """Give the terminal of this process a shell in a VM that runs, or a command; return its status.

        The arguments, and what is raised, are those of `ssh`.
        """

    def copy(
        self,
        name: str,
        *,
        into: Sequence[Copy] = (),
        out: Sequence[Copy] = (),
        timeout: float | None = None,
        builder: BuilderOptions | None = None,
        on_event: Callable[[Event], Any] | None = None,
        cancel: CancelToken | None = None,
    ) -> None:
        """Copy between the host and the first disk of a VM that does not run.

        Owners, modes, times and links are kept. It needs nothing in the VM's image, and one boot of a builder
        VM.

        Args:
            name: The VM.
            into: Pairs of a path of the host, and an absolute one of the guest; they come first.
            out: Pairs of an absolute path of the guest, and one of the host.
            timeout: Seconds that all of it may take.
            builder: How the builder VM is run.
            on_event: Is called with each event, on the calling thread.
            cancel: Ends the call when it is cancelled, from any thread. An interrupt cancels it too.

        Raises:
            transient.errors.VmNotFound: There is no such VM.
            transient.errors.VmInUse: It runs.
            transient.errors.NoRootFilesystem: Its disk has no filesystem that looks like a root.
            transient.errors.InvalidSource: Something to copy is not there.
            transient.Error: Whatever else can go wrong; each kind has a subclass.
        """

    def commit(
        self,
        vm: str,
        image: str,
        *,
        compress: Compression = "none",
        on_event: Callable[[Event], Any] | None = None,
        cancel: CancelToken | None = None,
    ) -> Image:
        """Make an image of the first disk of a VM that does not run; the VM stays as it is.

        Args:
            vm: The VM.
            image: The image's name, which must be free.
            compress: How the clusters of the image are compressed, which VMs read as they are.
            on_event: Is called with each event, on the calling thread.
            cancel: Ends the call when it is cancelled, from any thread. An interrupt cancels it too.

        Raises:
            transient.errors.VmNotFound: There is no such VM.
            transient.errors.VmInUse: It runs.
            transient.errors.ImageExists: The name is taken.
            transient.Error: Whatever else can go wrong; each kind has a subclass.
        """

@final
class Vm:
    """A VM that runs: what `Store.run` and `Store.start` return.

    It may be used by several threads at once. The end of `with` stops it, also after an exception, which
    wins. One that nobody has any more shuts down in the background, with a `ResourceWarning`; so do those
    that are left when the interpreter ends. Whatever becomes of this process, QEMU ends with it.

    In a process that is forked from the one that started it, it is of no use and does nothing.
    """

    @property
    def name(self) -> str:
        """Its name; one that is made up for a VM that is not kept."""
    @property
    def image(self) -> str:
        """The name of the image that it started from."""
    @property
    def pid(self) -> int:
        """The number of the QEMU process."""
    @property
    def ssh_port(self) -> int | None:
        """The port of the host's loopback that leads to the guest's port 22, if it is reached by SSH."""
    @property
    def running(self) -> bool:
        """Whether QEMU runs."""
    @property
    def serial(self) -> bytes:
        """What came over the serial console so far, the last 4 MiB of it; also when the VM has ended."""
    @property
    def _last_command(self) -> tuple[str | None, int | None, bytes]:
        """The command that was started last, its status when it has ended, and the end of what it wrote."""

    @overload
    def ssh(
        self,
        command: str | Sequence[str] | None = None,
        *,
        input: bytes | str | None = None,
        stdin: Readable | None = None,
        timeout: float | None = None,
        check: bool = False,
        text: Literal[False] | None = None,
        encoding: None = None,
        errors: None = None,
        on_event: Callable[[Event], Any] | None = None,
        cancel: CancelToken | None = None,
    ) -> CompletedProcess[bytes]:
        """Run a command in the guest by SSH, and wait for its end; the guest may still be booting.

        What is returned is as of `subprocess.run`, with the output captured; `returncode` is 128 + n if
        signal n ended the command.

        Args:
            command: As the guest's shell takes it, or its words; else a shell, which reads its commands from
                the input.
            input: What it reads.
            stdin: A file object that it reads from, as long as it runs; not together with `input`.
            timeout: Seconds that it may take, from when the guest has accepted SSH.
            check: Raise `subprocess.CalledProcessError` when it ends with a status that is not 0.
            text: Decode the output, and give it the line ends of Python.
            encoding: Decode it so; else it is UTF-8.
            errors: Decode it, and treat what cannot be decoded so.
            on_event: Is called with each `transient.events.Output`, as it comes, on the calling thread.
            cancel: Ends the call when it is cancelled, from any thread. An interrupt cancels it too.

        Raises:
            subprocess.CalledProcessError: With `check`.
            transient.errors.TimedOut: The guest does not accept SSH in time, or the command takes too long;
                `output` has the end of what it wrote.
            transient.errors.SshFailed: The guest lets nobody in, or is another one than before.
            transient.errors.VmNotRunning: It has ended before, or has no SSH.
            transient.errors.ConnectionLost: It ended meanwhile; so do `QemuFailed` and `GuestPanic` say.
        """
    @overload
    def ssh(
        self,
        command: str | Sequence[str] | None = None,
        *,
        input: bytes | str | None = None,
        stdin: Readable | None = None,
        timeout: float | None = None,
        check: bool = False,
        text: Literal[True],
        encoding: str | None = None,
        errors: str | None = None,
        on_event: Callable[[Event], Any] | None = None,
        cancel: CancelToken | None = None,
    ) -> CompletedProcess[str]: ...
    @overload
    def ssh(
        self,
        command: str | Sequence[str] | None = None,
        *,
        input: bytes | str | None = None,
        stdin: Readable | None = None,
        timeout: float | None = None,
        check: bool = False,
        text: bool | None = None,
        encoding: str | None = None,
        errors: str | None = None,
        on_event: Callable[[Event], Any] | None = None,
        cancel: CancelToken | None = None,
    ) -> CompletedProcess[Any]: ...
    def ssh_stream(
        self,
        command: str | Sequence[str] | None = None,
        *,
        input: bytes | str | None = None,  # noqa: A002 - as `subprocess` has it
        stdin: Readable | None = None,
        timeout: float | None = None,
        check: bool = False,
        cancel: CancelToken | None = None,
    ) -> SshStream:
        """Run a command in the guest by SSH, and return its output as it comes.

        The arguments are those of `ssh`; what that raises comes out of the iteration.
        """

    def ssh_terminal(
        self,
        command: str | Sequence[str] | None = None,
        *,
        on_event: Callable[[Event], Any] | None = None,
        cancel: CancelToken | None = None,
    ) -> int:
        """Give the terminal of this process a shell in the guest, or a command; return its status.

        Without a terminal, the shell gets none, and reads its commands from the standard input.

        Args:
            command: As the guest's shell takes it, or its words.
            on_event: Is called with each event, on the calling thread.
            cancel: Ends the call when it is cancelled, from any thread. An interrupt cancels it too.

        Raises:
            transient.Error: As `ssh`.
        """

    def console(self, *, cancel: CancelToken | None = None) -> None:
        """Join the terminal of this process to the serial console until the VM ends.

        Ctrl-A x ends QEMU, Ctrl-A c leads to its prompt.

        Raises:
            transient.errors.QemuFailed: QEMU ended with an error.
            transient.errors.IoError: The terminal cannot be used.
        """

    def qmp(self, command: str | Mapping[str, Any], /, **arguments: Any) -> Any:
        """Have QEMU carry out a QMP command, and return what it returns.

        <https://www.qemu.org/docs/master/interop/qemu-qmp-ref.html> has all of them.

        Args:
            command: The command's name; or the whole object, such as `{"execute": "query-status"}`.
            arguments: Its arguments, with `_` for each `-` in their names.

        Raises:
            transient.errors.QemuFailed: QEMU refuses it; the exception has its words.
            transient.errors.VmNotRunning: The VM has ended.
        """

    def copy_in(
        self,
        source: StrPath,
        destination: StrPath,
        *,
        on_event: Callable[[Event], Any] | None = None,
        cancel: CancelToken | None = None,
    ) -> None:
        """Copy a file or folder of the host into the running guest by SSH, with modes, times and links.

        It needs `tar` in the guest.

        Args:
            source: The file or folder.
            destination: A folder of the guest that is there, or else the new name.
            on_event: Is called with each event, on the calling thread.
            cancel: Ends the call when it is cancelled, from any thread. An interrupt cancels it too.

        Raises:
            transient.errors.CommandFailed: `tar` failed; the exception has its words.
            transient.Error: As `ssh`.
        """

    def copy_out(
        self,
        source: StrPath,
        destination: StrPath,
        *,
        on_event: Callable[[Event], Any] | None = None,
        cancel: CancelToken | None = None,
    ) -> None:
        """Copy a file or folder out of the running guest by SSH, with modes, times and links.

        It needs `tar` in the guest.

        Args:
            source: The file or folder of the guest.
            destination: A folder that is there, or else the new name.
            on_event: Is called with each event, on the calling thread.
            cancel: Ends the call when it is cancelled, from any thread. An interrupt cancels it too.

        Raises:
            transient.errors.CommandFailed: `tar` failed; the exception has its words.
            transient.Error: As `ssh`.
        """

    def wait(self, timeout: float | None = None, *, cancel: CancelToken | None = None) -> bool:
        """Wait until the VM has ended, or `timeout` seconds are over. Return whether it has ended.

        Raises:
            transient.errors.QemuFailed: QEMU ended with an error.
        """

    def stop(
        self,
        *,
        kill: bool = False,
        on_event: Callable[[Event], Any] | None = None,
        cancel: CancelToken | None = None,
    ) -> None:
        """End the VM, and wait for its end. One that has ended is no error.

        The guest is asked to shut down, and QEMU ended if it does not in time. Then what `copy_out_after`
        names is copied out, and what is not kept is removed.

        Args:
            kill: Kill QEMU at once.
            on_event: Is called with each event, on the calling thread.
            cancel: Kills QEMU when it is cancelled, and then nothing is copied. An interrupt cancels it too.

        Raises:
            transient.errors.Cancelled: `cancel` was cancelled.
            transient.Error: Copying out failed.
        """

    def __enter__(self) -> Self:
        """Return the VM."""
    def __exit__(
        self,
        class_: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        """Stop the VM in order."""

@final
class SshStream:
    """The output of a command as it comes: an iterator of pairs, `stdout` or `stderr` and some bytes.

    At its end it raises what went wrong. The end of `with` ends the command, too.
    """

    @property
    def args(self) -> str | Sequence[str] | None:
        """The command, as it was given."""
    @property
    def returncode(self) -> int | None:
        """The exit status, when all output was read; 128 + n if signal n ended the command."""
    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        """Return itself."""
    def __next__(self) -> tuple[str, bytes]:
        """Return the next piece."""
    def close(self) -> None:
        """End the command, and forget what it wrote."""
    def __enter__(self) -> Self:
        """Return the stream."""
    def __exit__(
        self,
        class_: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        """Close it."""

@final
class Imagefile:
    """A checked Imagefile.

    >>> import transient
    >>> imagefile = transient.Imagefile.parse('FROM debian/12\\nRUN apt-get update\\n')
    >>> for instruction in imagefile.instructions:
    ...     match instruction:
    ...         case transient.instructions.From(name=name):
    ...             print("from", name)
    ...         case transient.instructions.Run(line=line, command=command):
    ...             print(line, command)
    from debian/12
    2 apt-get update
    """

    @staticmethod
    def parse(text: str | bytes, path: StrPath = "Imagefile") -> Imagefile:
        """Check a text.

        Args:
            text: The Imagefile; bytes are UTF-8.
            path: What errors call it; nothing is read there.

        Raises:
            transient.errors.InvalidImagefile: It has errors, all of which are in `diagnostics`.
        """
    @staticmethod
    def load(path: StrPath) -> Imagefile:
        """Read and check a file.

        Raises:
            transient.errors.InvalidImagefile: It has errors, all of which are in `diagnostics`.
            transient.errors.InvalidArgument: There is no such file.
            transient.errors.IoError: It cannot be read.
        """
    @property
    def path(self) -> Path:
        """The file, as it was named."""
    @property
    def text(self) -> str:
        """The text, without a byte-order mark."""
    @property
    def instructions(self) -> tuple[Instruction, ...]:
        """The instructions, in their order."""
    @property
    def plan(self) -> Plan:
        """What a build of it will do."""

@final
class CancelToken:
    """Ends the calls that it was given to, from any thread."""

    def __new__(cls) -> CancelToken:
        """Return a token that nobody has cancelled."""
    def cancel(self) -> None:
        """End the calls that hold this token; they clean up, then raise `transient.errors.Cancelled`."""
    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""

@final
class Appliance:
    """What the builder VM boots, on disk: a kernel, and an initramfs with the filesystem tools."""

    @staticmethod
    def open(folder: StrPath) -> Appliance:
        """Read the description of the appliance in a folder.

        Raises:
            transient.errors.ApplianceNotFound: The folder has none.
            transient.errors.ApplianceInvalid: It is broken.
        """
    @property
    def folder(self) -> Path:
        """Its folder."""
    @property
    def kernel(self) -> Path:
        """The kernel file."""
    @property
    def initramfs(self) -> Path:
        """The initramfs file."""
    @property
    def key(self) -> str:
        """The hash of everything that went into it."""
    @property
    def guest(self) -> str:
        """The hash of the program that runs in the VM."""
    @property
    def kernel_release(self) -> str:
        """The kernel's release, as `uname -r` prints it."""
    @property
    def boot(self) -> Literal["pvh", "linux"]:
        """How QEMU can start the kernel: as an ELF file, the fastest, or a bzImage."""
    @property
    def is_current(self) -> bool:
        """Whether it fits this release of the library."""
    @property
    def absent(self) -> list[str]:
        """Tools that it lacks, so that their filesystems cannot be made."""
    @property
    def files(self) -> list[tuple[Path, int, Path | None]]:
        """The files of the initramfs: path, size in bytes, and where each was copied from, if it was."""

def find_appliance() -> Appliance:
    """Return the appliance that builds use.

    Raises:
        transient.errors.ApplianceNotFound: There is none, and none can be assembled.
        transient.errors.ApplianceInvalid: The one that `TRANSIENT_APPLIANCE` names cannot be used.
    """

def build_appliance(
    output: StrPath, *, kernel: StrPath | None = None, modules: StrPath | None = None
) -> Appliance:
    """Assemble an appliance from a kernel, its modules, and the filesystem tools of this host.

    Args:
        output: The folder that it goes to; an appliance that is there is replaced.
        kernel: The kernel; else the newest of the host that can be read.
        modules: The folder of its modules (`.../lib/modules/RELEASE`); else the host's for this kernel.

    Raises:
        transient.errors.ApplianceInvalid: An input is missing or cannot be used.
        transient.errors.MissingProgram: The host lacks a tool that the appliance must have.
    """

def encode_image_name(name: str) -> str:
    """Return the name of the file in which a store keeps the image of this name.

    Raises:
        transient.errors.InvalidImageName: No image can have such a name.
    """

def decode_image_name(file_name: StrPath) -> str | None:
    """Return the name of the image that is kept in a file of this name; `None` when that is no image."""

def parse_image_spec(text: str) -> ImageSpec:
    """Read an image spec, as it follows `FROM`: `NAME`, or `NAME,PROTOCOL=SOURCE[,sha256=DIGEST]`.

    Raises:
        transient.errors.InvalidImageName: It is none; `hints` has what is known instead.
    """

def parse_bytes(text: str) -> int:
    """Return the bytes that a text such as `512MiB` or `4G` means, in binary units.

    Raises:
        transient.errors.InvalidArgument: It means no size.

    >>> parse_bytes("4G") == parse_bytes("4096 MiB") == 4 << 30
    True
    """

def format_bytes(size: int) -> str:
    """Return a size for people.

    >>> format_bytes(1536 << 20)
    '1.50 GiB'
    """

def run_command(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit status; only for the main function of a process."""
