"""Writing the image, beside the same by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..inputs import folder, random_file
from ..programs import run
from ..report import Table, Timings, in_turns, mebibytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..setting import Setting

COMPRESSIONS = ("none", "zlib", "zstd")


def tables(setting: Setting) -> Iterator[Table]:
    """A gigabyte that nothing makes smaller, and a system that compression does."""
    yield plain(setting)
    yield compressed(setting)


def plain(setting: Setting) -> Table:
    """Flattening beside `qemu-img convert` and `cp` of what came out."""
    size = 64 if setting.quick else 1024
    flat = setting.work / "flat"
    flat.mkdir()
    big = random_file(flat / "big", size)
    folder(flat, "FROM scratch\nDISK 3 GB MBR\nPARTITION 1 FORMAT ext4 MOUNT /\nCOPY big /big\n")
    image = setting.ours.backend / "flat"
    copy = setting.work / "copy"
    setting.ours.build(flat)
    big_image = setting.work / "result.qcow2"
    big_image.hardlink_to(image)

    def by_hand(*command: object) -> float:
        copy.unlink(missing_ok=True)
        return run(command, setting.ours.environment).seconds

    def flattened() -> float:
        setting.ours.run("image", "rm", "--image-backend", setting.ours.backend, "flat")
        return setting.ours.build(flat).writing()

    convert = ("qemu-img", "convert", "-f", "qcow2", "-O", "qcow2", big_image, copy)
    measured = in_turns(
        {
            "qemu-img convert of the result": (setting.runs, lambda: by_hand(*convert)),
            f"flattening layers of {size} MiB": (setting.runs, flattened),
            "cp --sparse=always of the result": (
                setting.runs,
                lambda: by_hand("cp", "--sparse=always", big_image, copy),
            ),
        }
    )
    table = Timings("Flattening", "From the first to the last report of a build that it writes its image.")
    table.compare(measured, {f"flattening layers of {size} MiB": "at most 1.3"})
    for file in (big, copy, big_image):
        file.unlink(missing_ok=True)
    setting.ours.run("image", "rm", "--image-backend", setting.ours.backend, "flat")
    setting.ours.run("cache", "prune")
    return table


def compressed(setting: Setting) -> Table:
    """The programs of this host as an image, in each compression."""
    limit = 8 if setting.quick else 256
    packed = setting.work / "packed"
    packed.mkdir()
    command = f"cat /usr/bin/* /usr/lib/*-linux-gnu/*.so* 2>/dev/null | head -c {limit}M > '{packed}/big'"
    run(["sh", "-c", command], setting.ours.environment)
    folder(packed, "FROM scratch\nDISK 2 GB MBR\nPARTITION 1 FORMAT ext4 MOUNT /\nCOPY big /big\n")
    setting.ours.build(packed)
    # Else it would be taken as it is.
    setting.ours.run("image", "rm", "--image-backend", setting.ours.backend, "packed")
    table = Table(
        f"Compression of {limit} MiB of programs", ["`--compress`", "written in", "image", "QEMU reads it in"]
    )
    for compression in COMPRESSIONS:
        name = f"packed{compression}"
        built = setting.ours.build(packed, "--compress", compression, name=name)
        image = setting.ours.backend / name
        nowhere = ["-n", "--target-image-opts", image, "driver=null-co,size=2G"]
        read = run(["qemu-img", "convert", *nowhere], setting.ours.environment)
        writing = built.writing()
        blocks = image.stat().st_blocks * 512
        table.add(compression, f"{writing:.2f} s", mebibytes(blocks), f"{read.seconds:.2f} s")
    setting.ours.run("cache", "prune")
    return table
