"""What can be found out about this machine without an engine: versions, processor, memory, folders, Qt."""

import getpass
import importlib.metadata
import os
import platform
import socket
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import psutil
from PySide6.QtCore import qVersion

from qplayground import __version__
from qplayground.catalog.demo import demo_entry, demo_folder
from qplayground.core.diagnosis.diagnosis import Cpu, Facts, Folder, NvidiaGpu, Ram
from qplayground.core.quantizers.registry import libraries
from qplayground.core.system.cpu_flags import cpu_flags, cpu_name
from qplayground.core.system.redaction import Redaction
from qplayground.runtime.machine.available import available_memory
from qplayground.runtime.machine.devices import existing_above
from qplayground.runtime.machine.gpus import driver_version, list_gpus, undriven_gpus
from qplayground.runtime.machine.qt_platform import find_qt_platform
from qplayground.runtime.storage.evaluation_text import baselines_folder
from qplayground.runtime.storage.history import history_path
from qplayground.runtime.storage.preferences import preferences_path

_CPUINFO = Path("/proc/cpuinfo")
_LIBRARIES = {
    "PySide6": "PySide6-Essentials",
    "torch": "torch",
    "transformers": "transformers",
    "bitsandbytes": "bitsandbytes",
    "accelerate": "accelerate",
    "tokenizers": "tokenizers",
    "safetensors": "safetensors",
    "huggingface_hub": "huggingface_hub",
    "pyqtgraph": "pyqtgraph",
}
_OPTIONAL = ("kernels", *sorted(libraries() - _LIBRARIES.keys()))
_VARIABLES = (
    "BNB_CUDA_VERSION",
    "CUDA_VISIBLE_DEVICES",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_HUB_OFFLINE",
    "LD_PRELOAD",
    "MALLOC_ARENA_MAX",
    "MKL_NUM_THREADS",
    "OMP_NUM_THREADS",
    "PYTORCH_ALLOC_CONF",
    "PYTORCH_CUDA_ALLOC_CONF",
    "QPLAYGROUND_CONFIG",
    "QPLAYGROUND_SPAWN",
    "QT_QPA_PLATFORM",
    "QT_SCALE_FACTOR",
    "TRANSFORMERS_OFFLINE",
)


def gather_facts() -> Facts:
    """All facts but an engine's. Touches folders and loads Qt's plugin: do not call it on the window's thread."""
    redaction = find_redaction()
    return Facts(
        python=platform.python_version(),
        system=redaction.apply(platform.platform()),
        versions=_versions(),
        when=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        environment={name: redaction.apply(os.environ[name]) for name in _VARIABLES if os.environ.get(name)},
        demo_model=demo_entry().complete,
        cpu=_cpu(),
        ram=_ram(),
        driver=driver_version(),
        gpus=tuple(NvidiaGpu(gpu.name, gpu.total_bytes, gpu.free_bytes, gpu.compute_capability) for gpu in list_gpus()),
        undriven_gpus=undriven_gpus(),
        qt=find_qt_platform(redaction),
        folders=tuple(look_at_folder(purpose, path, redaction) for purpose, path in written_folders().items()),
    )


def find_redaction() -> Redaction:
    """What to redact: the home folder, the user's name and the host's name."""
    homes: set[str] = set()
    try:
        home = Path.home()
        homes = {str(home), str(home.resolve())}
    except (OSError, RuntimeError):  # a user without a home
        pass
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = ""
    return Redaction(tuple(sorted(homes)), user, socket.gethostname())


def written_folders() -> dict[str, Path]:
    """Every folder that the program writes to, by purpose. Imports huggingface_hub, which takes about 0.1 s."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return {
        "Settings": preferences_path().parent,
        "History": history_path().parent,
        "Demo model": demo_folder().parent,
        "Baselines": baselines_folder(),
        "Hugging Face cache": Path(HF_HUB_CACHE),
        "Temporary files": Path(tempfile.gettempdir()),
    }


def look_at_folder(purpose: str, path: Path, redaction: Redaction) -> Folder:
    """Whether the folder is writable, tested by writing to it, and how much is free there."""
    shown = redaction.apply(str(path))
    place = path.absolute()
    try:
        place = existing_above(place)
        free_bytes = int(psutil.disk_usage(str(place)).free)
    except OSError as error:
        return Folder(purpose=purpose, path=shown, problem=_reason(error), is_there=False)
    is_there = place == path.absolute()
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"qplayground")
    except OSError as error:
        return Folder(purpose=purpose, path=shown, free_bytes=free_bytes, problem=_reason(error), is_there=is_there)
    return Folder(purpose=purpose, path=shown, free_bytes=free_bytes, is_there=is_there)


def _reason(error: OSError) -> str:
    return (error.strerror or type(error).__name__).rstrip(".").lower()


def _versions() -> dict[str, str]:
    """Versions by name. Empty for a required library that is missing; optional ones only if installed."""
    found = {name: _version(distribution) for name, distribution in _LIBRARIES.items()}
    optional = {name: version for name in _OPTIONAL if (version := _version(name))}
    return {"qplayground": __version__, "Qt": qVersion(), **found, **optional}


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _cpu() -> Cpu:
    architecture = platform.machine()
    try:
        text = _CPUINFO.read_text("utf-8", "replace")
    except OSError:  # not Linux
        text = ""
    name = cpu_name(text) or platform.processor() or architecture
    return Cpu(name=name, architecture=architecture, flags=cpu_flags(text, architecture))


def _ram() -> Ram:
    memory = available_memory()
    return Ram(memory.total_bytes, memory.available_bytes, int(psutil.virtual_memory().total), memory.limited)
