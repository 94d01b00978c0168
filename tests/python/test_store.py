"""Listing and removing images, without a VM."""

from __future__ import annotations

import os
import pickle
import subprocess
from pathlib import Path

import pytest

import transient
from transient import errors


@pytest.fixture
def filled(store: transient.Store) -> transient.Store:
    """Return a store with two images; `used` has a disk of the VM `box` on it."""
    store.backend.mkdir()
    for name in ("plain", "used"):
        create(store.backend / name, "1G")
    folder = store.vmstore / "box"
    folder.mkdir(parents=True)
    (folder / "config").write_text('name = "box"\n')
    create("-b", store.backend / "used", "-F", "qcow2", folder / "box-0-used")
    return store


def create(*words: str | Path) -> None:
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *words], check=True)


def test_images(filled: transient.Store) -> None:
    images = filled.images()
    assert [image.name for image in images] == ["plain", "used"]
    plain = images[0]
    assert plain.path == filled.backend / "plain"
    assert isinstance(plain.path, Path)
    assert plain.virtual_size == 1 << 30
    assert 0 < plain.real_size < 1 << 20
    assert os.fspath(plain) == str(plain.path)
    assert repr(plain) == f"<Image 'plain' at '{plain.path}', 1.00 GiB>"
    assert filled.image("plain") == plain
    assert len({*images, filled.image("plain")}) == 2
    assert filled.image("other") is None
    assert pickle.loads(pickle.dumps(plain)) == plain  # noqa: S301 - our own
    with pytest.raises(AttributeError):
        plain.name = "x"  # type: ignore[misc]


def test_a_file_that_is_no_image_is_warned_of(filled: transient.Store) -> None:
    (filled.backend / "junk").write_bytes(b"no image")
    with pytest.warns(UserWarning, match="junk"):
        assert len(filled.images()) == 2
    with pytest.raises(errors.InvalidImage):
        filled.image("junk")


def test_remove(filled: transient.Store) -> None:
    assert filled.vms_using("used") == ["box"]
    with pytest.raises(errors.ImageInUse, match="in use by") as in_use:
        filled.remove("plain", "used")
    assert in_use.value.vms == ("box",)
    with pytest.raises(errors.ImageNotFound, match="No image in backend with name 'other'") as missing:
        filled.remove("plain", "other")
    assert isinstance(missing.value, LookupError)
    assert len(filled.images()) == 2
    with pytest.warns(UserWarning, match="used"):
        filled.remove("plain", "used", force=True)
    assert filled.images() == []


def test_inspect(filled: transient.Store) -> None:
    inspection = filled.inspect("used")
    assert inspection.image == filled.image("used")
    assert (inspection.format, inspection.compat, inspection.compression) == ("qcow2", "1.1", "zlib")
    assert inspection.cluster_size == 64 << 10
    assert inspection.vms == ("box",)
    assert inspection.created.startswith("20")
    assert inspection.created.endswith("Z")
    # Another program made it.
    assert (inspection.provenance, inspection.parent, inspection.history) == (None, None, ())
    with pytest.raises(errors.ImageNotFound, match="No image in backend with name 'other'"):
        filled.inspect("other")


def test_the_provenance_of_a_pulled_image(filled: transient.Store) -> None:
    spec = f"pulled,file={filled.backend / 'plain'}"
    filled.pull(spec)
    inspection = filled.inspect("pulled")
    provenance = inspection.provenance
    assert provenance is not None
    assert provenance.version == transient.__version__
    assert provenance.made_by == transient.inspection.Pull(spec, "qcow2", None, None)
    assert [(step.image, step.instruction) for step in inspection.history] == [("pulled", f"PULL {spec}")]
    assert inspection.history[0].elapsed > 0
    assert pickle.loads(pickle.dumps(inspection)) == inspection  # noqa: S301 - our own
    record = filled.backend / ".provenance" / "pulled"
    record.write_text("{")
    with pytest.warns(UserWarning, match="is damaged"):
        assert filled.inspect("pulled").provenance is None
    filled.remove("pulled")
    assert not record.exists()


def test_check(filled: transient.Store) -> None:
    check = filled.check("plain")
    assert check == transient.inspection.ImageCheck("plain", filled.backend / "plain", None, None, 0, 0)
    assert check.is_sound
    (filled.backend / "overlay").write_bytes((filled.vmstore / "box" / "box-0-used").read_bytes())
    check = filled.check("overlay")
    assert check.refusal
    assert "backing file" in check.refusal
    assert check.hint
    assert not check.is_sound
    # The count of references to the header.
    with (filled.backend / "plain").open("r+b") as file:
        file.seek(2 << 16)
        file.write(b"\0\0")
    assert filled.check("plain").corruptions > 0
    with pytest.raises(errors.ImageNotFound):
        filled.check("other")
    token = transient.CancelToken()
    token.cancel()
    with pytest.raises(errors.Cancelled):
        filled.check("plain", cancel=token)


def test_check_imagefile(filled: transient.Store, tmp_path: Path) -> None:
    directory = tmp_path / "context"
    directory.mkdir()
    (directory / "Imagefile").write_text("FROM plain\nCOPY a /\nADD b c /\n")
    with pytest.raises(errors.InvalidImagefile) as caught:
        filled.check_imagefile(directory)
    assert [found.line for found in caught.value.diagnostics] == [2, 3, 3]
    for name in "abc":
        (directory / name).touch()
    plan = filled.check_imagefile(directory)
    assert (plan.base, len(plan.steps)) == ("plain", 3)
    assert filled.check_imagefile(directory, file=directory / "Imagefile") == plan
    with pytest.raises(errors.InvalidArgument):
        filled.check_imagefile(tmp_path / "missing")


def test_the_default_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSIENT_BACKEND", str(tmp_path / "backend"))
    monkeypatch.setenv("TRANSIENT_VMSTORE", str(tmp_path / "vmstore"))
    monkeypatch.setenv("TRANSIENT_CACHE", str(tmp_path / "cache"))
    store = transient.Store()
    assert (store.backend, store.vmstore, store.cache) == (
        tmp_path / "backend",
        tmp_path / "vmstore",
        tmp_path / "cache",
    )
    assert str(tmp_path / "backend") in repr(store)
    store.backend.mkdir()
    create(store.backend / "a", "1M")
    assert [image.name for image in transient.images()] == ["a"]
    transient.remove("a")
    assert transient.images() == []


def test_a_store_below_a_folder(tmp_path: Path) -> None:
    store = transient.Store.below(tmp_path)
    assert (store.backend, store.vmstore, store.cache) == tuple(
        tmp_path / name for name in ("backend", "vmstore", "cache")
    )
    assert not list(tmp_path.iterdir())


def test_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "TRANSIENT_BACKEND", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(errors.InvalidArgument, match="HOME"):
        transient.Store()


def test_names_and_sizes() -> None:
    assert transient.names.encode("a-b/c") == "a%2Db%2Fc"
    assert transient.names.decode("a%2Db") == "a-b"
    assert transient.names.decode(".working") is None
    spec = transient.names.parse_spec("a,https=https://example.org/a")
    assert spec == transient.names.ImageSpec("a", "http", "https://example.org/a")
    with pytest.raises(errors.InvalidImageName) as caught:
        transient.names.parse_spec("a,fil=x")
    assert caught.value.hints
    assert transient.parse_bytes("1 GiB") == 1 << 30
    assert transient.format_bytes(1 << 30) == "1.00 GiB"


def test_the_appliance_of_the_package(tmp_path: Path) -> None:
    found = transient.appliance.find()
    assert found.is_current
    assert found.kernel.is_file()
    assert found.initramfs.is_file()
    assert Path("/init") in [path for path, _, _ in found.files]
    assert transient.appliance.Appliance.open(found.folder).key == found.key
    with pytest.raises(errors.ApplianceNotFound):
        transient.appliance.Appliance.open(tmp_path)
    with pytest.raises(errors.ApplianceInvalid):
        transient.appliance.build(tmp_path / "new", kernel=tmp_path / "no-kernel")
