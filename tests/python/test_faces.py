"""`docs/faces.md` names everything that the module offers, and nothing else."""

from __future__ import annotations

import inspect
import operator
import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, is_typeddict

import pytest

import transient

PAGE = (Path(__file__).parents[2] / "docs/faces.md").read_text()
HEADER = (Path(__file__).parents[2] / "include/transient.h").read_text()
CELLS = [row.split("|")[3] for row in PAGE.splitlines() if row.startswith("| ") and "---" not in row]
NAMED = {name for cell in CELLS for name in re.findall(r"`([\w.]+(?:\(\w+\))?)`", cell)}
# a warning of Python's own, and the names of loggers
ELSEWHERE = {"UserWarning", "transient", "transient_core"}


@pytest.mark.parametrize("name", sorted(NAMED - ELSEWHERE))
def test_what_the_page_names_is_there(name: str) -> None:
    path, _, argument = name.removesuffix(")").partition("(")
    owner, _, field = path.rpartition(".")
    holder = operator.attrgetter(owner)(transient) if owner else transient
    if is_dataclass(holder):
        computed = {
            known for known, _ in inspect.getmembers(holder, lambda found: isinstance(found, property))
        }
        assert field in {known.name for known in fields(holder)} | computed
        return
    found = getattr(holder, field)
    if argument:
        assert argument in arguments(found)


def arguments(found: Any) -> set[str]:
    """Return the arguments of a function, or the keys of a dictionary of them."""
    keys = getattr(found, "__annotations__", {}) if is_typeddict(found) else {}
    return {*keys} or {*inspect.signature(found).parameters} - {"self"}


def offered() -> set[str]:
    """Return what users can name, as the page has it."""
    names = {name for name in transient.__all__ if not inspect.ismodule(getattr(transient, name))}
    for module in (transient.appliance, transient.names):
        names |= {f"{module.__name__}.{name}" for name in module.__all__}
    for module in (transient.events, transient.inspection, transient.plan, transient.vm):
        classes = inspect.getmembers(module, inspect.isclass)
        names |= {
            f"{module.__name__}.{name}" for name, found in classes if found.__module__ == module.__name__
        }
    for found in (transient.Store, transient.Vm):
        names |= {f"{found.__name__}.{name}" for name in dir(found) if not name.startswith("_")}
    for method in (transient.Store.build, transient.Store.ssh, transient.Vm.ssh):
        names |= {f"{method.__qualname__}({name})" for name in arguments(method)}
    names |= {f"options.RunOptions({name})" for name in arguments(transient.options.RunOptions)}
    return {name.removeprefix("transient.") for name in names}


def test_what_the_module_offers_is_named() -> None:
    missing = {name for name in offered() if not re.search(rf"`{re.escape(name)}(?=[`.(])", PAGE)}
    assert not missing


def test_statuses_are_the_same_in_c() -> None:
    in_c = dict(re.findall(r"TRANSIENT_STATUS_(\w+) = (\d+)", HEADER))
    del in_c["OK"]
    here = {kind.upper().replace("-", "_"): error.code for kind, error in transient.errors.BY_KIND.items()}
    assert here == {name: int(number) for name, number in in_c.items()}
