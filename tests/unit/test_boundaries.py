"""What a fresh interpreter imports, and how PySide6 counts references to True."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

HEAVY = ("torch", "transformers", "bitsandbytes", "accelerate", "huggingface_hub", "pyqtgraph")


def python(code: str) -> str:
    """The output of that code in a separate interpreter, which must succeed."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def imported_by(module: str) -> set[str]:
    """The top-level packages that importing it loads."""
    printed = python(f"import json, sys, {module}; print(json.dumps([name.split('.')[0] for name in sys.modules]))")
    return set(json.loads(printed))


@pytest.mark.parametrize("module", ["qplayground.console.commands", "qplayground.ui.application", "qplayground.cli"])
def test_the_window_imports_nothing_heavy(module: str) -> None:
    modules = imported_by(module)
    assert "qplayground" in modules
    assert not modules & set(HEAVY)


def test_parsing_arguments_imports_no_qt() -> None:
    assert not imported_by("qplayground.cli") & {"PySide6", "shiboken6", "psutil"}


def test_the_contract_on_families_of_quantizers_names_them_all() -> None:
    root = Path(__file__).parents[2]
    contracts = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (contract,) = (each for each in contracts if "families" in each["name"])
    shared = {"__init__", "base", "codec", "installed", "registry", "unquantized"}
    for folder in ("core/quantizers", "engines/transformers/quantizers"):
        named = {path.stem for path in (root / "qplayground" / folder).glob("*.py")} - shared
        families = {f"qplayground.{folder.replace('/', '.')}.{name}" for name in named}
        families -= set(contract["source_modules"])  # these must not know a family themselves
        assert families and families <= set(contract["forbidden_modules"])


def test_a_child_starts_light() -> None:
    assert not imported_by("qplayground.runtime.processes.child") & {"PySide6", *HEAVY}


def test_emit_keeps_its_references_to_true() -> None:
    """PySide6 6.12.0 drops a reference on each emit. In Python 3.11, True can be freed, and Python aborts after some
    600.

    From 3.12 on, True is immortal and its reference count means nothing.
    """
    printed = python(
        """
import sys
from PySide6.QtCore import QObject, Signal

class Emitter(QObject):
    happened = Signal(object)
    toggled = Signal(bool)

emitter = Emitter()
heard = []
emitter.happened.connect(lambda value: heard.append(value is True))
emitter.toggled.connect(lambda value: heard.append(value is True))
before = sys.getrefcount(True)
for _ in range(2000):
    emitter.happened.emit(True)
    emitter.toggled.emit(True)
heard_all = len(heard) == 4000 and all(heard)
heard.clear()
print(heard_all, sys.version_info >= (3, 12) or abs(sys.getrefcount(True) - before) < 100)
"""
    )
    assert printed.split() == ["True", "True"]
