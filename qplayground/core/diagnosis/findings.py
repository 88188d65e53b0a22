"""What rules about a machine are made of: the two kinds of findings, and questions to the facts."""

import re

from qplayground.core.diagnosis.diagnosis import Facts, Finding, Severity
from qplayground.core.system.cpu_flags import is_x86

WITH_PIP = "To use the GPU, install this program as a Python package, beside a torch and a bitsandbytes that fit it."


def problem(message: str, hint: str) -> Finding:
    """Something will not work."""
    return Finding(Severity.PROBLEM, message, hint)


def caution(message: str, hint: str) -> Finding:
    """It works, with a limit worth knowing."""
    return Finding(Severity.CAUTION, message, hint)


def version_numbers(version: str) -> tuple[int, ...]:
    """'2.13.0+cpu' → (2, 13, 0)."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def has_flag(facts: Facts, flag: str) -> bool | None:
    """Whether an x86 processor has `avx2` or `avx512f`; None where that is not known, and for other processors."""
    cpu = facts.cpu
    if not is_x86(cpu.architecture) or not (cpu.flags or cpu.capability):
        return None
    if cpu.flags:
        return cpu.flags.get(flag, False)
    return cpu.capability.startswith("AVX512" if flag == "avx512f" else ("AVX2", "AVX512"))


def gpu_names(facts: Facts) -> str:
    """The NVIDIA GPUs, by name."""
    return ", ".join(gpu.name for gpu in facts.gpus)
