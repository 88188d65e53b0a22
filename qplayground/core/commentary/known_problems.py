"""What is known to go wrong, as rules over the facts of a machine. A rule knows nothing but those facts."""

from collections.abc import Callable, Iterator

from qplayground.core.diagnosis import findings
from qplayground.core.diagnosis.diagnosis import Facts, Finding, MethodCheck, Outcome, Severity
from qplayground.core.quantizers import registry
from qplayground.core.system.frozen import remedy
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


def find_problems(facts: Facts) -> tuple[Finding, ...]:
    """What the rules find, that which will not work first."""
    found = [finding for rule in RULES for finding in rule(facts)]
    return tuple(sorted(found, key=lambda finding: finding.severity is not Severity.PROBLEM))


# ---- libraries ----------------------------------------------------------------------------------------------------


def _old_libraries(facts: Facts) -> Iterator[Finding]:
    for name, minimum in MINIMUM_VERSIONS.items():
        version = facts.versions.get(name)
        if version == "":
            yield findings.problem(f"{name} is not installed.", remedy(_INSTALL))
        elif version is not None and () < findings.version_numbers(version) < findings.version_numbers(minimum):
            yield findings.problem(
                f"{name} {version} is older than {minimum}, which this program needs.", remedy(_INSTALL)
            )


def _pyside_that_aborts(facts: Facts) -> Iterator[Finding]:
    """From 3.12 on True cannot die, so the references that it drops do no harm."""
    version = facts.versions.get("PySide6", "")
    if findings.version_numbers(version) == (6, 12, 0) and findings.version_numbers(facts.python)[:2] == (3, 11):
        yield findings.problem(
            "PySide6 6.12.0 drops a reference to True with every signal: on Python 3.11 the program aborts after some "
            "600 of them.",
            remedy("Install PySide6-Essentials 6.11.3, which packaging/constraints.txt names.", _NEWER),
        )


# ---- processor and memory -----------------------------------------------------------------------------------------


def _container(facts: Facts) -> Iterator[Finding]:
    ram = facts.ram
    if ram.limited and ram.total_bytes < ram.machine_bytes:
        yield findings.caution(
            f"A control group (a container's limit) allows {bytes_text(ram.total_bytes)} of the machine's "
            f"{bytes_text(ram.machine_bytes)} of RAM; more ends an engine.",
            "Give the container more memory where a model does not fit.",
        )


# ---- GPUs ---------------------------------------------------------------------------------------------------------


def undriven_gpu(drivers: tuple[str, ...]) -> Finding | None:
    """What is said of NVIDIA GPUs with these drivers of Linux's; None where they are meant for something else."""
    if "nvidia" in drivers:
        return findings.caution(
            "This machine has an NVIDIA GPU and its driver is loaded, but the driver's library does not answer here: "
            "the GPU is not used.",
            "In a container, start it with GPU support; else run nvidia-smi, which says what is wrong.",
        )
    others = [driver for driver in drivers if driver != "vfio-pci"]
    if not others:
        return None
    instead = f"Linux drives it with {others[0]}" if others[0] else "no driver is loaded for it"
    return findings.caution(
        f"This machine has an NVIDIA GPU without NVIDIA's driver ({instead}), so it is not used.",
        "Install NVIDIA's driver to use it; until then everything runs on the processor.",
    )


def _gpu_without_driver(facts: Facts) -> Iterator[Finding]:
    finding = undriven_gpu(facts.undriven_gpus)
    if finding is not None:
        yield finding


def _torch_without_cuda(facts: Facts) -> Iterator[Finding]:
    if facts.gpus and facts.cuda is not None and facts.cuda.torch_cuda is None:
        yield findings.caution(
            f"This torch has no CUDA, so {findings.gpu_names(facts)} is not used.",
            remedy("Install a build of torch for CUDA (pytorch.org says which) to use it.", findings.WITH_PIP),
        )


def _old_driver(facts: Facts) -> Iterator[Finding]:
    needed = _needed_driver(facts)
    if needed is not None and facts.cuda is not None:
        yield findings.problem(
            f"The NVIDIA driver {facts.driver} is too old for torch's CUDA {facts.cuda.torch_cuda}, which needs "
            f"{needed} or newer.",
            remedy("Install a newer driver, or a torch that is built for an older CUDA.", "Install a newer driver."),
        )


def _unusable_gpu(facts: Facts) -> Iterator[Finding]:
    cuda = facts.cuda
    if facts.gpus and cuda is not None and cuda.torch_cuda and not cuda.available and _needed_driver(facts) is None:
        yield findings.problem(
            f"The driver shows {findings.gpu_names(facts)}, but torch finds no GPU that it can use.",
            "Run nvidia-smi to see whether the driver works; in a container, start it with GPU support.",
        )


# ---- what was tried -----------------------------------------------------------------------------------------------


def _engine(facts: Facts) -> Iterator[Finding]:
    if facts.engine_error is not None:
        yield findings.problem(
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
        yield findings.problem(
            f"{names} {verb} not work on {device}: {problem}",
            f"{_until_then(checks[0].library)} bf16 or fp32 there.",
        )


def _until_then(library: str) -> str:
    if library != "bitsandbytes":
        return remedy(f"{_INSTALL} Until then use", "Use")
    return remedy(f"{_INSTALL} `python -m bitsandbytes` says more. Until then use", "Use")


def _unfit_widths(facts: Facts) -> Iterator[Finding]:
    """One finding for all methods that cannot take the same widths."""
    alike: dict[tuple[str, tuple[int, ...], tuple[int, ...]], list[str]] = {}
    for check in facts.checks:
        if check.unfit_inputs or check.unfit_outputs:
            alike.setdefault((check.library, check.unfit_inputs, check.unfit_outputs), []).append(check.label)
    for (library, inputs, outputs), labels in alike.items():
        widths = [f"{', '.join(map(str, inputs))} inputs"] if inputs else []
        widths += [f"{', '.join(map(str, outputs))} outputs"] if outputs else []
        yield findings.caution(
            f"On this processor {library} {facts.versions.get(library, '')} computes wrongly with "
            f"{', '.join(labels)} layers of some widths, or refuses them (of those tried: {' and '.join(widths)}).",
            "Such layers stay unquantized here; a run says how many.",
        )


# ---- window and folders -------------------------------------------------------------------------------------------


def _qt(facts: Facts) -> Iterator[Finding]:
    if facts.qt.problem:
        yield findings.problem(f"No window can be shown: {facts.qt.problem}", facts.qt.hint)
    elif not facts.qt.names:
        yield findings.caution(
            "There is no display, so no window can be shown.",
            "Use `qplayground compare`, or set DISPLAY or WAYLAND_DISPLAY.",
        )


def _folders(facts: Facts) -> Iterator[Finding]:
    for folder in facts.folders:
        name = f"{folder.purpose} ({folder.path})"
        if folder.problem:
            yield findings.problem(
                f"{name} cannot be written: {folder.problem}.", "Change its permissions, or use another."
            )
        elif folder.free_bytes is not None and folder.free_bytes < NO_SPACE_BYTES:
            yield findings.problem(f"{name} has only {bytes_text(folder.free_bytes)} left.", "Free some space.")
        elif folder.free_bytes is not None and folder.free_bytes < LITTLE_SPACE_BYTES:
            yield findings.caution(
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
    _torch_without_cuda,
    *registry.RULES,
    _container,
    _qt,
    _folders,
)


def _needed_driver(facts: Facts) -> int | None:
    """The driver's version that torch's CUDA needs, where this machine's is older."""
    if not facts.gpus or facts.cuda is None or not facts.cuda.torch_cuda:
        return None
    driver, needed = (
        findings.version_numbers(facts.driver),
        MINIMUM_DRIVERS.get(findings.version_numbers(facts.cuda.torch_cuda)[0]),
    )
    return needed if driver and needed is not None and driver[0] < needed else None
