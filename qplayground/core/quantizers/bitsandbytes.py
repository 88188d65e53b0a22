"""What both families of bitsandbytes share, and what of a machine its kernels cannot use."""

from collections.abc import Callable, Iterator
from typing import ClassVar

from qplayground.core.diagnosis import findings
from qplayground.core.diagnosis.diagnosis import Facts, Finding
from qplayground.core.quantizers.base import ConfigCall, Method, Place, Quantizer
from qplayground.core.system.cpu_flags import is_x86
from qplayground.core.system.frozen import remedy

_BLOCK_SIZES = (64, 128, 256, 512, 1024, 2048, 4096, None)
_DOUBLE = (
    "Store the scales themselves in 8 bits, in blocks of 256 scales. INT8 by block uses blocks as long as its own. "
    "The second scales, the mean and a table of 1 kB a matrix stay in 32 bits. With few scales that takes more than "
    "it saves."
)
_INT8_CAPABILITY = (7, 5)
_FOUR_BIT_CAPABILITY = (6, 0)


def by_block(name: str, label: str, bits: int, hue: str, symbol: str, *, is_contrast: bool = False) -> Method:
    """A method whose weights share a scale by the block."""
    return Method(name, label, bits, hue, symbol, _BLOCK_SIZES, _DOUBLE, is_contrast)


def has_fused_4bit(place: Place) -> bool:
    """Whether the processor has the kernel that computes with 4-bit weights as they are."""
    return place.machine is not None and place.machine.avx512_bf16


class Bitsandbytes(Quantizer, frozen=True):
    """What both families say alike."""

    library: ClassVar[str] = "bitsandbytes"

    def no_speed(self, place: Place) -> str:
        """On an x86 processor without AVX-512."""
        if place.on_gpu or place.machine is None or place.machine.cpu_capability != "AVX2":
            return ""
        return (
            "The processor has no AVX-512, so bitsandbytes unpacks 4-bit weights one by one and computes int8 in fp32. "
            "Expect less memory, not more speed."
        )


def config_call(*arguments: str) -> ConfigCall:
    """Without the argument for a split a part beside the GPU is refused."""
    split = ("llm_int8_enable_fp32_cpu_offload=True",)
    return ConfigCall("BitsAndBytesConfig", arguments, "llm_int8_skip_modules", split)


def _kernels_from_the_hub(facts: Facts) -> Iterator[Finding]:
    if facts.versions.get("kernels") and facts.cpu.flags.get("avx512_bf16"):
        yield findings.caution(
            "On this processor bitsandbytes asks the Hugging Face hub for a kernel whenever an engine starts, because "
            "the package kernels is installed.",
            remedy(
                "Uninstall kernels, or set HF_HUB_OFFLINE=1, to start without the network.",
                "Set HF_HUB_OFFLINE=1 to start without the network.",
            ),
        )


def _cpu_without_avx2(facts: Facts) -> Iterator[Finding]:
    if findings.has_flag(facts, "avx2") is False:
        yield findings.problem(
            "This processor has no AVX2, for which bitsandbytes is built on x86: int8 and 4-bit can end the engine.",
            "Use fp32 or bf16 here, or another machine.",
        )


def _cpu_without_avx512(facts: Facts) -> Iterator[Finding]:
    if findings.has_flag(facts, "avx2") is not False and findings.has_flag(facts, "avx512f") is False:
        yield findings.caution(
            "This processor has no AVX-512. bitsandbytes unpacks 4-bit weights one by one and computes int8 in fp32. "
            "Both are slower than bf16 or fp32.",
            "Expect less memory, not more speed; nothing needs to be done.",
        )


def _windows_build(facts: Facts) -> Iterator[Finding]:
    if (
        facts.system.startswith("Windows")
        and is_x86(facts.cpu.architecture)
        and findings.has_flag(facts, "avx512f") is not False
    ):
        yield findings.caution(
            "bitsandbytes for Windows unpacks 4-bit weights on the processor one by one, whatever that can do.",
            "Expect less memory, not more speed; on Linux the same processor is faster.",
        )


def _apple_gpu(facts: Facts) -> Iterator[Finding]:
    if facts.mps:
        yield findings.caution(
            "On Apple's GPU bitsandbytes quantizes with slow substitutes unless macOS 26 and the package kernels are "
            "there.",
            "Compare on the CPU as well.",
        )


def _no_bitsandbytes_library(facts: Facts) -> Iterator[Finding]:
    cuda = facts.cuda
    if not facts.gpus or cuda is None or not cuda.torch_cuda:
        return
    if findings.version_numbers(cuda.torch_cuda)[:1] not in {
        findings.version_numbers(version)[:1] for version in cuda.bitsandbytes_cuda
    }:
        shipped = ", ".join(cuda.bitsandbytes_cuda) or "none"
        yield findings.problem(
            f"bitsandbytes {facts.versions.get('bitsandbytes', '')} has no library for CUDA {cuda.torch_cuda} of this "
            f"torch; it has them for {shipped}.",
            remedy("Install a newer bitsandbytes, or a torch that is built for one of these.", findings.WITH_PIP),
        )


def _old_gpu(facts: Facts) -> Iterator[Finding]:
    if facts.cuda is None or not facts.cuda.torch_cuda:
        return
    for gpu in facts.gpus:
        if gpu.compute_capability is None or gpu.compute_capability >= _INT8_CAPABILITY:
            continue
        methods = "int8" if gpu.compute_capability >= _FOUR_BIT_CAPABILITY else "int8 and 4-bit"
        major, minor = gpu.compute_capability
        yield findings.problem(
            f"{gpu.name} has compute capability {major}.{minor}: bitsandbytes needs 7.5 for int8 and 6.0 for 4-bit.",
            f"Run {methods} on the CPU.",
        )


RULES: tuple[Callable[[Facts], Iterator[Finding]], ...] = (
    _no_bitsandbytes_library,
    _old_gpu,
    _cpu_without_avx2,
    _cpu_without_avx512,
    _windows_build,
    _apple_gpu,
    _kernels_from_the_hub,
)
