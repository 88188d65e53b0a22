"""Loads the scripts in `packaging/`, which is not a package, by path. Also finds the tools that tests need."""

import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]

PACKAGES = {
    "appstreamcli": "appstream",
    "desktop-file-validate": "desktop-file-utils",
    "dpkg-deb": "dpkg",
    "make": "make",
    "update-mime-database": "shared-mime-info",
    "zstd": "zstd",
}
"""Debian packages of the tools that these tests run. packaging/test-packages.txt lists those that are not preinstalled.
"""


def skip_without(tool: str) -> None:
    """Skip a test if the tool is not installed, and say what to install."""
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed (Debian's package {PACKAGES[tool]})")


def load_script(name: str) -> ModuleType:
    """The module of `packaging/name.py`."""
    spec = importlib.util.spec_from_file_location(f"packaging_script_{name}", ROOT / "packaging" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look it up there
    spec.loader.exec_module(module)
    return module
