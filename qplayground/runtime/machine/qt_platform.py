"""Which Qt platform shows windows here, found without showing one."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from PySide6.QtCore import QCoreApplication, QPluginLoader

from qplayground.core.diagnosis.diagnosis import QtPlatform
from qplayground.core.errors import ErrorCode, ErrorInfo
from qplayground.core.system.frozen import remedy
from qplayground.core.system.redaction import Redaction
from qplayground.runtime.machine.system_libraries import MissingLibraries, explain, find_missing

_NATIVE = {"win32": "windows", "darwin": "cocoa"}


def find_qt_platform(redaction: Redaction) -> QtPlatform:
    """The running window's platform. Without a window: the platforms Qt would try, and the problem if none loads."""
    app = QCoreApplication.instance()
    if app is not None and app.inherits("QGuiApplication"):
        from PySide6.QtGui import QGuiApplication

        return QtPlatform(names=(QGuiApplication.platformName(),), running=True)
    names = candidates(os.environ, sys.platform)
    if not names or any(can_load(name) for name in names):  # Qt tries the next one
        return QtPlatform(names=names)
    problem = explain_platform(names[0])
    return QtPlatform(names=names, problem=redaction.apply(problem.message), hint=redaction.apply(problem.hint))


def candidates(environment: Mapping[str, str], system: str) -> tuple[str, ...]:
    """The platforms that Qt would try, in order: those in QT_QPA_PLATFORM, else those with a display."""
    asked = environment.get("QT_QPA_PLATFORM", "")
    if asked:
        return tuple(part.partition(":")[0] for part in asked.split(";") if part)
    if system in _NATIVE:
        return (_NATIVE[system],)
    displays = {"wayland": "WAYLAND_DISPLAY", "xcb": "DISPLAY"}
    return tuple(name for name, variable in displays.items() if environment.get(variable))


def can_load(name: str, folders: Sequence[Path] | None = None) -> bool:
    """Whether Qt's plugin for a platform exists and loads. `folders`: where plugins are, by default Qt's own."""
    plugin = _plugin_of(name, _plugin_folders() if folders is None else folders)
    return plugin is not None and QPluginLoader(str(plugin)).load()


def explain_platform(name: str, folders: Sequence[Path] | None = None) -> ErrorInfo:
    """Why a platform's plugin cannot be loaded, naming all missing libraries. Call it after `can_load` failed."""
    places = _plugin_folders() if folders is None else folders
    plugin = _plugin_of(name, places)
    if plugin is None:
        known = ", ".join(sorted({key for path in _files(places) for key in _platforms_of(path)})) or "none at all"
        return ErrorInfo(
            ErrorCode.UNSUPPORTED,
            f"Qt has no platform {name!r} here.",
            f"Unset QT_QPA_PLATFORM, or name one of these: {known}.",
        )
    loader = QPluginLoader(str(plugin))
    loader.load()
    said = loader.errorString()
    found = find_missing([plugin], said) if sys.platform == "linux" else MissingLibraries()
    if found:
        return explain(found, windowed=True, detail=said)
    return ErrorInfo(
        ErrorCode.UNSUPPORTED,
        f"Qt's platform plugin {name!r} cannot be loaded: {said.rstrip('.')}.",
        f"{remedy('Install PySide6-Essentials anew.')} Or use `qplayground compare`, which needs no window.",
        said,
    )


def _plugin_of(name: str, folders: Sequence[Path]) -> Path | None:
    wanted = name.lower()  # Qt compares without regard to case
    return next((path for path in _files(folders) if wanted in _platforms_of(path)), None)


def _platforms_of(path: Path) -> set[str]:
    """The platforms that a plugin declares, often several. For a damaged plugin, the name of its file."""
    about = cast("dict[str, Any]", QPluginLoader(str(path)).metaData())
    if about:
        return {key.lower() for key in about.get("MetaData", {}).get("Keys", ())}
    return {path.stem.removeprefix("lib").removeprefix("q").lower()}


def _files(folders: Sequence[Path]) -> list[Path]:
    return [path for folder in folders for path in sorted(folder.glob("*")) if path.is_file()]


def _plugin_folders() -> list[Path]:
    """Where Qt looks for platform plugins, in its order."""
    asked = os.environ.get("QT_QPA_PLATFORM_PLUGIN_PATH")
    return [*([Path(asked)] if asked else []), *(Path(path) / "platforms" for path in QCoreApplication.libraryPaths())]
