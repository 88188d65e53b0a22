"""How Qt shows windows here, told without showing one."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from PySide6.QtCore import QCoreApplication, QLibraryInfo, QPluginLoader

from qplayground.core.diagnosis import QtPlatform
from qplayground.core.errors import ErrorCode, ErrorInfo
from qplayground.core.redaction import Redaction
from qplayground.runtime.system_libraries import Lacking, explain, lacking

_NATIVE = {"win32": "windows", "darwin": "cocoa"}


def find_qt_platform(redaction: Redaction) -> QtPlatform:
    """The platform of the window that there is; without one those that Qt would try, and whether the first loads."""
    app = QCoreApplication.instance()
    if app is not None and app.inherits("QGuiApplication"):
        from PySide6.QtGui import QGuiApplication

        return QtPlatform(names=(QGuiApplication.platformName(),), running=True)
    names = candidates(os.environ, sys.platform)
    problems = [platform_problem(name) for name in names]
    if not problems or None in problems:  # Qt goes on to the next
        return QtPlatform(names=names)
    first = problems[0]
    assert first is not None
    return QtPlatform(names=names, problem=redaction.apply(first.message), hint=redaction.apply(first.hint))


def candidates(environment: Mapping[str, str], system: str) -> tuple[str, ...]:
    """The platforms that Qt would try, in order: those that are asked for, else those that there is a display of."""
    asked = environment.get("QT_QPA_PLATFORM", "")
    if asked:
        return tuple(part.partition(":")[0] for part in asked.split(";") if part)
    if system in _NATIVE:
        return (_NATIVE[system],)
    displays = {"wayland": "WAYLAND_DISPLAY", "xcb": "DISPLAY"}
    return tuple(name for name, variable in displays.items() if environment.get(variable))


def platform_problem(name: str, folder: Path | None = None) -> ErrorInfo | None:
    """Why Qt's plugin for a platform cannot be loaded, with all libraries that are missing; None when it can.

    `folder` has the plugins, Qt's own as a rule.
    """
    place = folder or _plugins_folder()
    plugin = next(iter(sorted(path for path in place.glob("*") if _platform_of(path) == name)), None)
    if plugin is None:
        known = ", ".join(sorted({_platform_of(path) for path in place.glob("*")})) or "none at all"
        return ErrorInfo(
            ErrorCode.UNSUPPORTED,
            f"Qt has no platform {name!r} here.",
            f"Unset QT_QPA_PLATFORM, or name one of those that there are: {known}.",
        )
    loader = QPluginLoader(str(plugin))
    if loader.load():
        return None
    said = loader.errorString()
    found = lacking([plugin], said) if sys.platform == "linux" else Lacking()
    if found:
        return explain(found, windowed=True, detail=said)
    return ErrorInfo(
        ErrorCode.UNSUPPORTED,
        f"Qt's platform plugin {name!r} cannot be loaded: {said.rstrip('.')}.",
        "Install PySide6-Essentials anew, or use `qplayground compare`, which needs no window.",
        said,
    )


def _platform_of(path: Path) -> str:
    """`libqxcb.so` → `xcb`; Qt before 6.10 has several for Wayland."""
    name = path.stem.removeprefix("lib").removeprefix("q")
    return "wayland" if name.startswith("wayland") else name


def _plugins_folder() -> Path:
    return Path(QLibraryInfo.path(QLibraryInfo.LibraryPath.PluginsPath)) / "platforms"
