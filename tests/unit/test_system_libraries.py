"""System libraries that Qt lacks, found by compiling a file that needs them, and the command that installs them."""

import shutil
import subprocess
import sys
from pathlib import Path

import PySide6
import pytest
import shiboken6

from qplayground.runtime.machine import gpus, system_libraries
from qplayground.runtime.machine.system_libraries import (
    DEBIAN_PACKAGES,
    MissingLibraries,
    explain,
    find_missing,
    install_hint,
    qt_files,
)

ROOT = Path(__file__).parents[2]
PLATFORMS = ("xcb", "wayland")
_SHIBOKEN = Path(shiboken6.__file__).parent
_C_LIBRARY = {"libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "ld-linux-x86-64.so.2"}
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="these are Linux's libraries")


@pytest.fixture
def compile_library(tmp_path: Path) -> "Compiler":
    if shutil.which("cc") is None or shutil.which("ldd") is None:
        pytest.skip("there is no C compiler")
    return Compiler(tmp_path)


class Compiler:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, name: str, code: str, *options: str) -> Path:
        source = self.folder / f"{name}.c"
        source.write_text(code)
        target = self.folder / name
        command = ["cc", "-shared", "-fPIC", "-o", str(target), str(source), f"-Wl,-soname,{name}", *options]
        subprocess.run(command, check=True, cwd=self.folder)
        return target


def test_all_missing_libraries_are_named_at_once(compile_library: Compiler) -> None:
    options = ["-L.", "-Wl,--no-as-needed"]
    for name in ("libnor-of-this.so.1", "libnever-heard-of.so.3"):
        compile_library(name, "int one(void) { return 1; }")
        options.append(f"-l:{name}")
    program = compile_library("libprogram.so", "int two(void) { return 2; }", *options)
    for name in ("libnor-of-this.so.1", "libnever-heard-of.so.3"):
        (program.parent / name).unlink()
    found = find_missing([program])
    assert found == MissingLibraries(("libnever-heard-of.so.3", "libnor-of-this.so.1"))
    told = explain(found, windowed=True)
    assert told.message.endswith("missing on this system: libnever-heard-of.so.3, libnor-of-this.so.1.")
    assert told.hint.endswith("Or use `qplayground compare`, which needs no window.")
    assert "qplayground compare" not in explain(found, windowed=False).hint


def test_a_library_that_is_too_old_is_told_by_its_version(compile_library: Compiler) -> None:
    """Linked against a library with GLIBC_2.99, and run with one without it."""
    script = compile_library.folder / "versions"
    script.write_text("GLIBC_2.99 { global: newest; };\nGLIBC_2.100 { global: newer_still; };\n")
    code = "int newest(void) { return 1; } int newer_still(void) { return 1; }"
    compile_library("libclock.so.1", code, f"-Wl,--version-script={script}")
    uses = "int newest(void); int newer_still(void); int both(void) { return newest() + newer_still(); }"
    program = compile_library("libprogram.so", uses, "-L.", "-l:libclock.so.1", f"-Wl,-rpath,{compile_library.folder}")
    assert find_missing([program]) == MissingLibraries()
    script.write_text("GLIBC_2.1 { global: newest; newer_still; };\n")
    compile_library("libclock.so.1", code, f"-Wl,--version-script={script}")
    found = find_missing([program])
    assert found == MissingLibraries((), {"GLIBC": "2.100"})
    assert "is too old for Qt, which needs 2.100." in explain(found, windowed=False).message


def test_what_the_loader_said_is_enough_without_ldd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    said = "ImportError: libEGL.so.1: cannot open shared object file: No such file or directory"
    assert find_missing([Path(__file__)], said) == MissingLibraries(("libEGL.so.1",))
    said = "/lib/x86_64-linux-gnu/libstdc++.so.6: version `GLIBCXX_3.4.30' not found (required by x)"
    told = explain(find_missing([], said), windowed=False)
    assert told.message == "This system's libstdc++ is too old for Qt, which needs one with GLIBCXX_3.4.30."


@pytest.mark.parametrize(
    ("system", "command"),
    [
        ({"ID": "debian"}, "`sudo apt-get install libegl1 libglib2.0-0`."),
        ({"ID": "linuxmint", "ID_LIKE": "ubuntu debian"}, "`sudo apt-get install libegl1 libglib2.0-0`."),
        ({"ID": "fedora"}, "`sudo dnf install 'libEGL.so.1()(64bit)' 'libglib-2.0.so.0()(64bit)' 'libg"),
        ({"ID": "opensuse-leap", "ID_LIKE": "suse opensuse"}, "`sudo zypper install 'libEGL.so.1()(64bit)'"),
        ({"ID": "arch"}, "` or `sudo dnf install"),
    ],
)
def test_the_command_is_the_systems_own(system: dict[str, str], command: str) -> None:
    assert command in install_hint(["libEGL.so.1", "libglib-2.0.so.0", "libgthread-2.0.so.0"], system)


def test_a_library_of_no_known_package_is_said_to_be_one() -> None:
    assert "libodd.so.1 is not known here" in install_hint(["libodd.so.1", "libGL.so.1"], {"ID": "debian"})
    assert "Debian" not in install_hint(["libodd.so.1"], {"ID": "fedora"})


def test_where_no_package_is_known_there_is_no_empty_command() -> None:
    alone = install_hint(["libodd.so.1"], {"ID": "debian"})
    assert alone == "Debian's package of libodd.so.1 is not known here; `apt-file search` tells."


def test_every_library_that_qt_takes_from_the_system_has_its_package() -> None:
    """The libraries that PySide6's loaded files name, without its own and the C library."""
    if shutil.which("objdump") is None or shutil.which("ldd") is None:
        pytest.skip("there is no objdump")
    folder = Path(PySide6.__file__).parent
    files = qt_files(folder, PLATFORMS)
    assert len(files) == 5
    brought = {path.name for place in (folder, folder / "Qt" / "lib", _SHIBOKEN) for path in place.iterdir()}
    done = subprocess.run(["ldd", *map(str, files)], capture_output=True, text=True, check=False)
    lines = [line.split() for line in done.stdout.splitlines() if f" => {folder.parent}" in line]
    loaded = {*map(str, files), *(words[2] for words in lines)}
    assert any("libQt6XcbQpa" in path for path in loaded)
    done = subprocess.run(["objdump", "-p", *loaded], capture_output=True, text=True, check=True)
    needed = {line.split()[1] for line in done.stdout.splitlines() if line.strip().startswith("NEEDED")}
    assert needed - brought - _C_LIBRARY == set(DEBIAN_PACKAGES)


def test_the_packages_are_the_ones_that_have_the_libraries() -> None:
    """On Debian, checked against its package database, for installed packages."""
    if shutil.which("dpkg") is None:
        pytest.skip("this is not Debian")
    checked = 0
    for library, package in DEBIAN_PACKAGES.items():
        done = subprocess.run(["dpkg", "-S", f"*/{library}"], capture_output=True, text=True, check=False)
        owners = {line.split(":")[0] for line in done.stdout.splitlines()}
        if owners:
            assert package in owners or f"{package}t64" in owners, library
            checked += 1
    assert checked > len(DEBIAN_PACKAGES) / 2


def test_the_packages_of_the_readme_are_known() -> None:
    """packaging/debian-packages.txt has the window's packages, except those for only some displays."""
    listed = set((ROOT / "packaging" / "debian-packages.txt").read_text().split())
    window = {"libegl1", "libgl1", "libdbus-1-3", "libfontconfig1", "libxkbcommon0", "libxcb-cursor0", "libglib2.0-0"}
    assert listed >= window


def test_a_damaged_pyside_is_to_be_installed_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    error = system_libraries.explain_import(ImportError("cannot import name 'QtCore'"), windowed=True)
    assert error.info.message == "Qt cannot be loaded: cannot import name 'QtCore'."
    assert "--force-reinstall" in error.info.hint
    monkeypatch.setattr(system_libraries, "pyside_folder", lambda: None)
    assert "PySide6 is not installed." in str(system_libraries.explain_import(ImportError("x"), windowed=False))


@pytest.mark.parametrize("name", ["PySide6.QtCore", "shiboken6"])
def test_what_belongs_to_qt_is_installed_with_it(name: str) -> None:
    error = ModuleNotFoundError(f"No module named {name!r}", name=name)
    assert "PySide6-Essentials" in system_libraries.explain_import(error, windowed=False).info.hint


@pytest.mark.parametrize(
    ("name", "message", "command"),
    [
        ("psutil", "The library psutil is not installed.", "`python -m pip install qplayground`"),
        ("pyqtgraph.graphicsItems", "The library pyqtgraph is not installed.", "`python -m pip install qplayground`"),
        ("_ctypes", "This Python lacks a part of the standard library: _ctypes.", ""),
        ("qplayground.ui.gone", "A part of the program is missing: qplayground.ui.gone.", "--force-reinstall"),
    ],
)
def test_another_library_that_is_missing_is_not_blamed_on_qt(name: str, message: str, command: str) -> None:
    error = ModuleNotFoundError(f"No module named {name!r}", name=name)
    told = system_libraries.explain_import(error, windowed=True).info
    assert told.message == message
    assert command in told.hint and "PySide6" not in told.hint


@pytest.mark.parametrize("name", ["PySide6.QtCore", "psutil", "_ctypes", "qplayground.ui.gone", None])
def test_a_frozen_program_speaks_of_no_pip(name: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.frozen", True, raising=False)
    error = ImportError("damaged") if name is None else ModuleNotFoundError(f"No module named {name!r}", name=name)
    hint = system_libraries.explain_import(error, windowed=True).info.hint
    assert hint == "Reinstall the program: a part of it is missing or damaged."


def test_gpus_without_nvidias_driver_are_seen_on_the_bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if gpus.driver_version():
        pytest.skip("NVIDIA's management answers here")
    monkeypatch.setattr(gpus, "_PCI_DEVICES", tmp_path / "devices")
    assert gpus.undriven_gpus() == ()
    devices = {
        "0000:01:00.0": ("0x10de", "0x030000", "nouveau"),
        "0000:01:00.1": ("0x10de", "0x040300", "snd_hda_intel"),  # the sound device of its HDMI
        "0000:02:00.0": ("0x10de", "0x030200", ""),
        "0000:03:00.0": ("0x1002", "0x030000", "amdgpu"),
    }
    for address, (vendor, kind, driver) in devices.items():
        place = tmp_path / "devices" / address
        place.mkdir(parents=True)
        (place / "vendor").write_text(f"{vendor}\n")
        (place / "class").write_text(f"{kind}\n")
        if driver:
            (tmp_path / driver).mkdir(exist_ok=True)
            (place / "driver").symlink_to(tmp_path / driver)
    assert gpus.undriven_gpus() == ("nouveau", "")
