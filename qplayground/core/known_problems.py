"""What is known to go wrong, as rules over the facts of a machine. A rule knows nothing but those facts."""

import re
from collections.abc import Callable, Iterator

from qplayground.core.cpu_flags import is_x86
from qplayground.core.diagnosis import Facts, Finding, MethodCheck, Outcome, Severity
from qplayground.core.frozen import remedy
from qplayground.core.units import bytes_text

MINIMUM_VERSIONS = {
    "PySide6": "6.9",
    "torch": "2.9",
    "transformers": "5.20",
    "bitsandbytes": "0.50",
    "accelerate": "1.15",
    "safetensors": "0.8",
    "huggingface_hub": "2.0",
}
"""As pyproject.toml has them. Older transformers and bitsandbytes quantize on GPUs alone."""

MINIMUM_DRIVERS = {11: 450, 12: 525, 13: 580}
"""CUDA's major version → NVIDIA's oldest driver for it (docs.nvidia.com/deploy/cuda-compatibility)."""

LITTLE_SPACE_BYTES = 1_000_000_000
"""The demo model takes 542 MB, the log-probabilities of one baseline 197 MB."""
NO_SPACE_BYTES = 20_000_000

_INSTALL = "Install the versions that packaging/constraints.txt names."
_NEWER = "Install a newer version of this program."
_WITH_PIP = "To use the GPU, install this program as a Python package, beside a torch and a bitsandbytes that fit it."
_INT8_CAPABILITY = (7, 5)
_FOUR_BIT_CAPABILITY = (6, 0)


def find_problems(facts: Facts) -> tuple[Finding, ...]:
    """What the rules find, that which will not work first."""
    found = [finding for rule in RULES for finding in rule(facts)]
    return tuple(sorted(found, key=lambda finding: finding.severity is not Severity.PROBLEM))


def _problem(message: str, hint: str) -> Finding:
    return Finding(Severity.PROBLEM, message, hint)


def _caution(message: str, hint: str) -> Finding:
    return Finding(Severity.CAUTION, message, hint)


# ---- libraries ----------------------------------------------------------------------------------------------------


def _old_libraries(facts: Facts) -> Iterator[Finding]:
    for name, minimum in MINIMUM_VERSIONS.items():
        version = facts.versions.get(name)
        if version == "":
            yield _problem(f"{name} is not installed.", remedy(_INSTALL))
        elif version is not None and () < _numbers(version) < _numbers(minimum):
            yield _problem(f"{name} {version} is older than {minimum}, which this program needs.", remedy(_INSTALL))


def _pyside_that_aborts(facts: Facts) -> Iterator[Finding]:
    """From 3.12 on True cannot die, so the references that it drops do no harm."""
    version = facts.versions.get("PySide6", "")
    if _numbers(version) == (6, 12, 0) and _numbers(facts.python)[:2] == (3, 11):
        yield _problem(
            "PySide6 6.12.0 drops a reference to True with every signal: on Python 3.11 the program aborts after some "
            "600 of them.",
            remedy("Install PySide6-Essentials 6.11.3, which packaging/constraints.txt names.", _NEWER),
        )


def _kernels_from_the_hub(facts: Facts) -> Iterator[Finding]:
    if facts.versions.get("kernels") and facts.cpu.flags.get("avx512_bf16"):
        yield _caution(
            "On this processor bitsandbytes asks the Hugging Face hub for a kernel whenever an engine starts, because "
            "the package kernels is installed.",
            remedy(
                "Uninstall kernels, or set HF_HUB_OFFLINE=1, to start without the network.",
                "Set HF_HUB_OFFLINE=1 to start without the network.",
            ),
        )


# ---- processor and memory -----------------------------------------------------------------------------------------


def _cpu_without_avx2(facts: Facts) -> Iterator[Finding]:
    if _has(facts, "avx2") is False:
        yield _problem(
            "This processor has no AVX2, for which bitsandbytes is built on x86: int8 and 4-bit can end the engine.",
            "Use fp32 or bf16 here, or another machine.",
        )


def _cpu_without_avx512(facts: Facts) -> Iterator[Finding]:
    if _has(facts, "avx2") is not False and _has(facts, "avx512f") is False:
        yield _caution(
            "This processor has no AVX-512: bitsandbytes unpacks 4-bit weights one by one and computes int8 in fp32, "
            "so both are slower than bf16 or fp32.",
            "Expect less memory, not more speed; nothing needs to be done.",
        )


def _windows_build(facts: Facts) -> Iterator[Finding]:
    if facts.system.startswith("Windows") and is_x86(facts.cpu.architecture) and _has(facts, "avx512f") is not False:
        yield _caution(
            "bitsandbytes for Windows unpacks 4-bit weights on the processor one by one, whatever that can do.",
            "Expect less memory, not more speed; on Linux the same processor is faster.",
        )


def _apple_gpu(facts: Facts) -> Iterator[Finding]:
    if facts.mps:
        yield _caution(
            "On Apple's GPU bitsandbytes quantizes with slow substitutes unless macOS 26 and the package kernels are "
            "there.",
            "Compare on the CPU as well.",
        )


def _container(facts: Facts) -> Iterator[Finding]:
    ram = facts.ram
    if ram.limited and ram.total_bytes < ram.machine_bytes:
        yield _caution(
            f"A control group (a container's limit) allows {bytes_text(ram.total_bytes)} of the machine's "
            f"{bytes_text(ram.machine_bytes)} of RAM; more ends an engine.",
            "Give the container more memory where a model does not fit.",
        )


# ---- GPUs ---------------------------------------------------------------------------------------------------------


def undriven_gpu(drivers: tuple[str, ...]) -> Finding | None:
    """What is said of NVIDIA GPUs with these drivers of Linux's; None where they are meant for something else."""
    if "nvidia" in drivers:
        return _caution(
            "This machine has an NVIDIA GPU and its driver is loaded, but the driver's library does not answer here: "
            "the GPU is not used.",
            "In a container, start it with GPU support; else run nvidia-smi, which says what is wrong.",
        )
    others = [driver for driver in drivers if driver != "vfio-pci"]
    if not others:
        return None
    instead = f"Linux drives it with {others[0]}" if others[0] else "no driver is loaded for it"
    return _caution(
        f"This machine has an NVIDIA GPU without NVIDIA's driver ({instead}), so it is not used.",
        "Install NVIDIA's driver to use it; until then everything runs on the processor.",
    )


def _gpu_without_driver(facts: Facts) -> Iterator[Finding]:
    finding = undriven_gpu(facts.undriven_gpus)
    if finding is not None:
        yield finding


def _torch_without_cuda(facts: Facts) -> Iterator[Finding]:
    if facts.gpus and facts.cuda is not None and facts.cuda.torch_cuda is None:
        yield _caution(
            f"This torch has no CUDA, so {_gpu_names(facts)} is not used.",
            remedy("Install a build of torch for CUDA (pytorch.org says which) to use it.", _WITH_PIP),
        )


def _old_driver(facts: Facts) -> Iterator[Finding]:
    needed = _needed_driver(facts)
    if needed is not None and facts.cuda is not None:
        yield _problem(
            f"The NVIDIA driver {facts.driver} is too old for torch's CUDA {facts.cuda.torch_cuda}, which needs "
            f"{needed} or newer.",
            remedy("Install a newer driver, or a torch that is built for an older CUDA.", "Install a newer driver."),
        )


def _unusable_gpu(facts: Facts) -> Iterator[Finding]:
    cuda = facts.cuda
    if facts.gpus and cuda is not None and cuda.torch_cuda and not cuda.available and _needed_driver(facts) is None:
        yield _problem(
            f"The driver shows {_gpu_names(facts)}, but torch finds no GPU that it can use.",
            "Run nvidia-smi to see whether the driver works; in a container, start it with GPU support.",
        )


def _no_bitsandbytes_library(facts: Facts) -> Iterator[Finding]:
    cuda = facts.cuda
    if not facts.gpus or cuda is None or not cuda.torch_cuda:
        return
    if _numbers(cuda.torch_cuda)[:1] not in {_numbers(version)[:1] for version in cuda.bitsandbytes_cuda}:
        shipped = ", ".join(cuda.bitsandbytes_cuda) or "none"
        yield _problem(
            f"bitsandbytes {facts.versions.get('bitsandbytes', '')} has no library for CUDA {cuda.torch_cuda} of this "
            f"torch; it has them for {shipped}.",
            remedy("Install a newer bitsandbytes, or a torch that is built for one of these.", _WITH_PIP),
        )


def _old_gpu(facts: Facts) -> Iterator[Finding]:
    if facts.cuda is None or not facts.cuda.torch_cuda:
        return
    for gpu in facts.gpus:
        if gpu.compute_capability is None or gpu.compute_capability >= _INT8_CAPABILITY:
            continue
        methods = "int8" if gpu.compute_capability >= _FOUR_BIT_CAPABILITY else "int8 and 4-bit"
        major, minor = gpu.compute_capability
        yield _problem(
            f"{gpu.name} has compute capability {major}.{minor}: bitsandbytes needs 7.5 for int8 and 6.0 for 4-bit.",
            f"Run {methods} on the CPU.",
        )


# ---- what was tried -----------------------------------------------------------------------------------------------


def _engine(facts: Facts) -> Iterator[Finding]:
    if facts.engine_error is not None:
        yield _problem(
            f"The engine could not be checked to the end: {facts.engine_error.message}", facts.engine_error.hint
        )


def _methods(facts: Facts) -> Iterator[Finding]:
    """One finding for all methods that fail alike on a device."""
    alike: dict[tuple[str, str], list[MethodCheck]] = {}
    for check in facts.checks:
        if check.outcome is not Outcome.WORKS:
            alike.setdefault((check.device, check.problem), []).append(check)
    for (device, problem), checks in alike.items():
        names = ", ".join(check.label for check in checks)
        verb = "does" if len(checks) == 1 else "do"
        yield _problem(
            f"{names} {verb} not work on {device}: {problem}",
            f"{remedy(f'{_INSTALL} `python -m bitsandbytes` says more. Until then use', 'Use')} bf16 or fp32 there.",
        )


def _unfit_widths(facts: Facts) -> Iterator[Finding]:
    """One finding for all methods that cannot take the same widths."""
    alike: dict[tuple[tuple[int, ...], tuple[int, ...]], list[str]] = {}
    for check in facts.checks:
        if check.unfit_inputs or check.unfit_outputs:
            alike.setdefault((check.unfit_inputs, check.unfit_outputs), []).append(check.label)
    for (inputs, outputs), labels in alike.items():
        widths = [f"{', '.join(map(str, inputs))} inputs"] if inputs else []
        widths += [f"{', '.join(map(str, outputs))} outputs"] if outputs else []
        yield _caution(
            f"On this processor bitsandbytes {facts.versions.get('bitsandbytes', '')} computes wrongly with "
            f"{', '.join(labels)} layers of some widths, or refuses them (of those tried: {' and '.join(widths)}).",
            "Such layers stay unquantized here; a run says how many.",
        )


# ---- window and folders -------------------------------------------------------------------------------------------


def _qt(facts: Facts) -> Iterator[Finding]:
    if facts.qt.problem:
        yield _problem(f"No window can be shown: {facts.qt.problem}", facts.qt.hint)
    elif not facts.qt.names:
        yield _caution(
            "There is no display, so no window can be shown.",
            "Use `qplayground compare`, or set DISPLAY or WAYLAND_DISPLAY.",
        )


def _folders(facts: Facts) -> Iterator[Finding]:
    for folder in facts.folders:
        name = f"{folder.purpose} ({folder.path})"
        if folder.problem:
            yield _problem(f"{name} cannot be written: {folder.problem}.", "Change its permissions, or use another.")
        elif folder.free_bytes is not None and folder.free_bytes < NO_SPACE_BYTES:
            yield _problem(f"{name} has only {bytes_text(folder.free_bytes)} left.", "Free some space.")
        elif folder.free_bytes is not None and folder.free_bytes < LITTLE_SPACE_BYTES:
            yield _caution(
                f"{name} has only {bytes_text(folder.free_bytes)} left.",
                "Free some space before preparing the demo model, downloading a model or scoring a text.",
            )


RULES: tuple[Callable[[Facts], Iterator[Finding]], ...] = (
    _engine,
    _methods,
    _unfit_widths,
    _old_libraries,
    _pyside_that_aborts,
    _gpu_without_driver,
    _old_driver,
    _unusable_gpu,
    _no_bitsandbytes_library,
    _old_gpu,
    _torch_without_cuda,
    _cpu_without_avx2,
    _cpu_without_avx512,
    _windows_build,
    _apple_gpu,
    _kernels_from_the_hub,
    _container,
    _qt,
    _folders,
)


def _numbers(version: str) -> tuple[int, ...]:
    """'2.13.0+cpu' → (2, 13, 0)."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def _has(facts: Facts, flag: str) -> bool | None:
    """Whether an x86 processor has `avx2` or `avx512f`; None where that is not known, and for other processors."""
    cpu = facts.cpu
    if not is_x86(cpu.architecture) or not (cpu.flags or cpu.capability):
        return None
    if cpu.flags:
        return cpu.flags.get(flag, False)
    return cpu.capability.startswith("AVX512" if flag == "avx512f" else ("AVX2", "AVX512"))


def _needed_driver(facts: Facts) -> int | None:
    """The driver's version that torch's CUDA needs, where this machine's is older."""
    if not facts.gpus or facts.cuda is None or not facts.cuda.torch_cuda:
        return None
    driver, needed = _numbers(facts.driver), MINIMUM_DRIVERS.get(_numbers(facts.cuda.torch_cuda)[0])
    return needed if driver and needed is not None and driver[0] < needed else None


def _gpu_names(facts: Facts) -> str:
    return ", ".join(gpu.name for gpu in facts.gpus)
