"""The scripts in `packaging/`, which are no package and are imported by their path, and the tools of the tests."""

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
"""Debian's, of the tools that the tests here run. What not every Debian has is in packaging/test-packages.txt."""


def skip_without(tool: str) -> None:
    """Skip a test where the tool is not installed, and say what to install."""
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed (Debian's package {PACKAGES[tool]})")


def load_script(name: str) -> ModuleType:
    """The module of `packaging/name.py`."""
    spec = importlib.util.spec_from_file_location(f"packaging_script_{name}", ROOT / "packaging" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look it up
    spec.loader.exec_module(module)
    return module
