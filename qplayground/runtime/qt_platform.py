"""How Qt shows windows here, told without showing one."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from PySide6.QtCore import QCoreApplication, QLibraryInfo, QPluginLoader

from qplayground.core.diagnosis import QtPlatform
from qplayground.core.redaction import Redaction

_NATIVE = {"win32": "windows", "darwin": "cocoa"}


def find_qt_platform(redaction: Redaction) -> QtPlatform:
    """The platform of the window that there is; without one those that Qt would try, and whether the first loads."""
    app = QCoreApplication.instance()
    if app is not None and app.inherits("QGuiApplication"):
        from PySide6.QtGui import QGuiApplication

        return QtPlatform(names=(QGuiApplication.platformName(),), running=True)
    names = candidates(os.environ, sys.platform)
    problems = [plugin_problem(name, _plugins_folder()) for name in names]
    problem = problems[0] if all(problems) and problems else ""  # Qt goes on to the next
    return QtPlatform(names=names, problem=redaction.apply(problem))


def candidates(environment: Mapping[str, str], system: str) -> tuple[str, ...]:
    """The platforms that Qt would try, in order: those that are asked for, else those that there is a display of."""
    asked = environment.get("QT_QPA_PLATFORM", "")
    if asked:
        return tuple(part.partition(":")[0] for part in asked.split(";") if part)
    if system in _NATIVE:
        return (_NATIVE[system],)
    displays = {"wayland": "WAYLAND_DISPLAY", "xcb": "DISPLAY"}
    return tuple(name for name, variable in displays.items() if environment.get(variable))


def plugin_problem(name: str, folder: Path) -> str:
    """Why Qt's plugin for a platform cannot be loaded, with the library that is missing; empty when it can."""
    plugin = next(iter(sorted(path for path in folder.glob("*") if _platform_of(path) == name)), None)
    if plugin is None:
        return f"its platform plugin {name!r} is not there."
    loader = QPluginLoader(str(plugin))
    return "" if loader.load() else f"its platform plugin {name!r} cannot be loaded: {loader.errorString()}"


def _platform_of(path: Path) -> str:
    """`libqxcb.so` → `xcb`; Qt before 6.10 has several for Wayland."""
    name = path.stem.removeprefix("lib").removeprefix("q")
    return "wayland" if name.startswith("wayland") else name


def _plugins_folder() -> Path:
    return Path(QLibraryInfo.path(QLibraryInfo.LibraryPath.PluginsPath)) / "platforms"
