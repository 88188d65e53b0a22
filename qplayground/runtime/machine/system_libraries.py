"""System libraries that Qt needs and that are missing, and the command that installs them.

Nothing here imports Qt: this is used when Qt failed to import, or would abort.
"""

import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import msgspec

from qplayground.core.diagnosis.findings import version_numbers
from qplayground.core.errors import ErrorCode, ErrorInfo, PlaygroundError, fail
from qplayground.core.system.frozen import remedy

DEBIAN_PACKAGES = {
    "libEGL.so.1": "libegl1",
    "libGL.so.1": "libgl1",
    "libX11-xcb.so.1": "libx11-xcb1",
    "libX11.so.6": "libx11-6",
    "libdbus-1.so.3": "libdbus-1-3",
    "libfontconfig.so.1": "libfontconfig1",
    "libfreetype.so.6": "libfreetype6",
    "libgcc_s.so.1": "libgcc-s1",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libgthread-2.0.so.0": "libglib2.0-0",
    "libstdc++.so.6": "libstdc++6",
    "libwayland-client.so.0": "libwayland-client0",
    "libwayland-cursor.so.0": "libwayland-cursor0",
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxcb-icccm.so.4": "libxcb-icccm4",
    "libxcb-image.so.0": "libxcb-image0",
    "libxcb-keysyms.so.1": "libxcb-keysyms1",
    "libxcb-randr.so.0": "libxcb-randr0",
    "libxcb-render-util.so.0": "libxcb-render-util0",
    "libxcb-render.so.0": "libxcb-render0",
    "libxcb-shape.so.0": "libxcb-shape0",
    "libxcb-shm.so.0": "libxcb-shm0",
    "libxcb-sync.so.1": "libxcb-sync1",
    "libxcb-util.so.1": "libxcb-util1",
    "libxcb-xfixes.so.0": "libxcb-xfixes0",
    "libxcb-xkb.so.1": "libxcb-xkb1",
    "libxcb.so.1": "libxcb1",
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libz.so.1": "zlib1g",
    "libzstd.so.1": "libzstd1",
}
"""Library → its package in Debian and Ubuntu. dnf and zypper find packages by the library's name."""

_APT, _DNF, _ZYPPER = "apt-get", "dnf", "zypper"
_FAMILIES = {_APT: {"debian", "ubuntu"}, _DNF: {"fedora", "rhel", "centos"}, _ZYPPER: {"suse", "opensuse"}}
_NOT_FOUND = re.compile(r"^\s*(\S+\.so\S*) => not found|(\S+\.so[.\d]*): cannot open shared object file", re.MULTILINE)
_TOO_OLD = re.compile(r"version `(GLIBC|GLIBCXX|CXXABI)_([\d.]+)' not found")
_LDD_SECONDS = 30
_QT_PACKAGES = {"PySide6", "shiboken6"}
_OWN_PACKAGE = __name__.partition(".")[0]
_INSTALL_ALL = "Install the program with its libraries: `python -m pip install qplayground`."


class MissingLibraries(msgspec.Struct, frozen=True):
    """What the loader could not find: libraries by name, and symbol versions, such as GLIBC → 2.34."""

    libraries: tuple[str, ...] = ()
    versions: dict[str, str] = {}

    def __bool__(self) -> bool:
        return bool(self.libraries or self.versions)


def find_missing(files: Iterable[Path], said: str = "") -> MissingLibraries:
    """What these programs and libraries need and the system lacks; all of it if `ldd` is installed.

    `said` is the loader's error message, which names only the first.
    """
    text = said + "\n" + _ldd(files)
    names = {first or second for first, second in _NOT_FOUND.findall(text)}
    versions: dict[str, str] = {}
    for symbols, version in _TOO_OLD.findall(text):
        versions[symbols] = max(versions.get(symbols, ""), version, key=version_numbers)
    return MissingLibraries(tuple(sorted(Path(name).name for name in names)), versions)


def explain_import(error: ImportError, *, windowed: bool) -> PlaygroundError:
    """Why Qt or another library cannot be imported, and what to do.

    `windowed`: the import was for a window, and not only for Qt's core.
    """
    if isinstance(error, ModuleNotFoundError) and error.name and error.name.partition(".")[0] not in _QT_PACKAGES:
        return _explain_module(error.name, str(error))
    folder = pyside_folder()
    if folder is None:
        return fail(
            ErrorCode.UNSUPPORTED,
            "PySide6 is not installed.",
            remedy(_INSTALL_ALL),
            str(error),
        )
    if not find_missing((), str(error)):  # other missing libraries did not cause this
        return fail(
            ErrorCode.UNSUPPORTED,
            f"Qt cannot be loaded: {str(error).rstrip('.')}.",
            remedy("Reinstall PySide6-Essentials: `python -m pip install --force-reinstall PySide6-Essentials`."),
            str(error),
        )
    found = find_missing(qt_files(folder, ("xcb",) if windowed else ()), str(error))
    without_window = windowed and not find_missing(qt_files(folder, ()))
    return PlaygroundError(explain(found, windowed=without_window, detail=str(error)))


def _explain_module(name: str, detail: str) -> PlaygroundError:
    package = name.partition(".")[0]
    if package in sys.stdlib_module_names:
        message = f"This Python lacks a part of the standard library: {name}."
        hint = remedy("Use a complete installation of Python.")
    elif package == _OWN_PACKAGE:
        message = f"A part of the program is missing: {name}."
        hint = remedy("Reinstall it: `python -m pip install --force-reinstall qplayground`.")
    else:
        message, hint = f"The library {package} is not installed.", remedy(_INSTALL_ALL)
    return fail(ErrorCode.UNSUPPORTED, message, hint, detail)


def explain(found: MissingLibraries, *, windowed: bool, detail: str = "") -> ErrorInfo:
    """The error for missing libraries. `windowed`: the program would run without a window."""
    otherwise = " Or use `qplayground compare`, which needs no window." if windowed else ""
    if found.versions:
        symbols, needed = next(iter(sorted(found.versions.items())))
        library = "glibc" if symbols == "GLIBC" else "libstdc++"
        has = f" {platform.libc_ver()[1]}" if library == "glibc" and platform.libc_ver()[0] == "glibc" else ""
        version = needed if library == "glibc" else f"one with {symbols}_{needed}"
        return ErrorInfo(
            ErrorCode.UNSUPPORTED,
            f"This system's {library}{has} is too old for Qt, which needs {version}.",
            f"Use a newer release of the system: {library} cannot be replaced by itself.{otherwise}",
            detail,
        )
    return ErrorInfo(
        ErrorCode.UNSUPPORTED,
        f"Libraries that Qt needs are missing on this system: {', '.join(found.libraries)}.",
        f"{install_hint(found.libraries)}{otherwise}",
        detail,
    )


def install_hint(libraries: Iterable[str], os_release: dict[str, str] | None = None) -> str:
    """The command that installs these libraries here; for an unknown system, the two likeliest commands."""
    names = sorted(set(libraries))
    family = _family(_os_release() if os_release is None else os_release)
    commands = [_command(each, names) for each in ((family,) if family else (_APT, _DNF))]
    given = " or ".join(f"`{command}`" for command in commands if command)
    sentences = [f"Install them: {given}."] if given else []
    unknown = [name for name in names if name not in DEBIAN_PACKAGES]
    if unknown and family in (_APT, None):
        sentences.append(f"Debian's package of {', '.join(unknown)} is not known here; `apt-file search` tells.")
    return " ".join(sentences)


def qt_files(folder: Path, platforms: Iterable[str]) -> list[Path]:
    """The files of PySide6 in `folder` that a program loads: the core and, with `platforms`, what a window needs."""
    wanted = list(platforms)
    modules = ("QtCore", "QtGui", "QtWidgets") if wanted else ("QtCore",)
    found = [path for module in modules for path in sorted(folder.glob(f"{module}.*so"))]
    for name in wanted:
        found += sorted((folder / "Qt" / "plugins" / "platforms").glob(f"libq{name}*.so"))
    return found


def pyside_folder() -> Path | None:
    spec = importlib.util.find_spec("PySide6")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


def _ldd(files: Iterable[Path]) -> str:
    command = [shutil.which("ldd") or "", *map(str, files)]
    if not command[0] or not command[1:]:
        return ""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, "LC_ALL": "C"},
            timeout=_LDD_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout + done.stderr


def _command(manager: str, libraries: list[str]) -> str:
    if manager == _APT:
        packages = sorted({DEBIAN_PACKAGES[name] for name in libraries if name in DEBIAN_PACKAGES})
        return f"sudo apt-get install {' '.join(packages)}" if packages else ""
    wide = "()(64bit)" if platform.architecture()[0] == "64bit" else ""
    wanted = " ".join(f"'{name}{wide}'" for name in libraries)
    return f"sudo {manager} install {wanted}"


def _family(os_release: dict[str, str]) -> str | None:
    names = {os_release.get("ID", ""), *os_release.get("ID_LIKE", "").split()}
    return next((manager for manager, known in _FAMILIES.items() if names & known), None)


def _os_release() -> dict[str, str]:
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}
