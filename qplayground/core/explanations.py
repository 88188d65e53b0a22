"""Why figures are not what a newcomer expects: a smaller precision that is slower, or one that is not smaller."""

from qplayground.core.caveats import spoilt
from qplayground.core.placement import computes_on_gpu
from qplayground.core.precision import Dtype, FourBit, Int8
from qplayground.core.results import Comparison, Run, RunState

_WITHOUT_AVX512 = "AVX2"
"""What torch calls the x86 processors that bitsandbytes is built for and that have nothing newer."""
SLOWER = 0.95
"""Below this share of the baseline's decode speed; closer ones are no more than noise."""


def why_slower(comparison: Comparison, run: Run) -> str | None:
    """A sentence for a run that holds fewer bytes than the baseline and yet decodes slower, else None.

    In a benchmark the difference must also exceed the spread of the samples.
    """
    baseline = comparison.baseline_run
    if baseline is None or baseline is run or any(_is_doubtful(comparison, one) for one in (baseline, run)):
        return None
    ours, theirs = run.speed.decode_tokens_per_s, baseline.speed.decode_tokens_per_s
    smaller = (run.memory.weight_bytes or 0) < (baseline.memory.weight_bytes or 0)
    if not smaller or ours is None or theirs is None or ours >= SLOWER * theirs:
        return None
    one, other = run.speed.samples, baseline.speed.samples
    if one is not None and other is not None and theirs - ours <= max(one.sd, other.sd):
        return None
    reason = _reason(comparison, run)
    return f"Smaller than {baseline.precision}, and slower: {reason}" if reason else None


def why_not_smaller(comparison: Comparison, run: Run) -> str | None:
    """A sentence for double quantization that was undone, so that it holds what its precision holds without."""
    kind, machine = run.recipe.quantization, comparison.environment
    on_gpu = computes_on_gpu(run.device_map.values())
    undone = isinstance(kind, FourBit) and kind.double_quantization and not on_gpu
    if not undone or run.memory.weight_bytes is None or machine is None or not machine.avx512_bf16:
        return None
    return (
        "Double quantization saves nothing on this processor: for its fused kernel bitsandbytes turns the scales "
        "back into 16 bits at the first token."
    )


def no_speed(comparison: Comparison, run: Run) -> str | None:
    """A sentence for a quantized run on a processor that has no AVX-512, whatever its times were; else None.

    None also where `why_slower` has said more, and where sound figures say that it was faster.
    """
    machine, kind = comparison.environment, run.recipe.quantization
    on_gpu = computes_on_gpu(run.device_map.values())
    was_loaded = run.memory.weight_bytes is not None
    if kind is None or on_gpu or not was_loaded or machine is None or machine.cpu_capability != _WITHOUT_AVX512:
        return None
    if why_slower(comparison, run) or _is_faster(comparison, run):
        return None
    return (
        "The processor has no AVX-512, so bitsandbytes unpacks 4-bit weights one by one and computes int8 in fp32: "
        "expect less memory, not more speed."
    )


def _is_faster(comparison: Comparison, run: Run) -> bool:
    baseline = comparison.baseline_run
    if baseline is None or any(_is_doubtful(comparison, one) for one in (baseline, run)):
        return False
    return (run.speed.decode_tokens_per_s or 0) > (baseline.speed.decode_tokens_per_s or 0)


def _is_doubtful(comparison: Comparison, run: Run) -> bool:
    return run.state is not RunState.DONE or "decode_tokens_per_s" in spoilt(comparison, run)


def _reason(comparison: Comparison, run: Run) -> str:
    on_gpu = computes_on_gpu(run.device_map.values())
    kind = run.recipe.quantization
    if isinstance(kind, Int8):
        apart = ", and columns with outliers are computed apart in 16 bits" if kind.threshold else ""
        where = "in several kernels a layer" if on_gpu else "without a fused kernel on this processor"
        return f"LLM.int8() quantizes the activations of every layer at every token{apart}, {where}."
    if isinstance(kind, FourBit):
        if on_gpu:
            return "4-bit weights become 16-bit ones again at every token; a small model gains less than that costs."
        if _fused_four_bit(comparison, kind):
            return "the fused 4-bit kernel of this processor still unpacks every weight at every token."
        return (
            f"every 4-bit weight is turned back into {kind.compute_dtype} at every token, since bitsandbytes has no "
            "fused kernel for this processor and compute dtype."
        )
    native = comparison.environment is not None and comparison.environment.avx512_bf16
    if not on_gpu and (run.recipe.dtype is Dtype.FLOAT16 or (run.recipe.dtype is Dtype.BFLOAT16 and not native)):
        return f"this processor has no fast {run.recipe.dtype} arithmetic, so torch converts as it computes."
    return ""


def _fused_four_bit(comparison: Comparison, kind: FourBit) -> bool:
    machine = comparison.environment
    return machine is not None and bool(machine.avx512_bf16) and kind.compute_dtype is Dtype.BFLOAT16
