"""Why figures are not what a newcomer expects: a smaller precision that is slower, or one that is not smaller."""

from qplayground.core.capabilities import Capability
from qplayground.core.comparison.caveats import spoilt
from qplayground.core.comparison.results import Comparison, Run, RunState
from qplayground.core.dtype import Dtype
from qplayground.core.placement import computes_on_gpu
from qplayground.core.quantizers.base import Place

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
    held, base = run.memory.weight_bytes, baseline.memory.weight_bytes
    if held is None or base is None or held >= base or ours is None or theirs is None or ours >= SLOWER * theirs:
        return None
    one, other = run.speed.samples, baseline.speed.samples
    if one is not None and other is not None and theirs - ours <= max(one.sd, other.sd):
        return None
    reason = _reason(comparison, run)
    return f"Smaller than {baseline.id}, and slower: {reason}" if reason else None


def why_not_smaller(comparison: Comparison, run: Run) -> str | None:
    """A sentence for a run that holds more than its options promise, else None."""
    kind = run.precision.quantization
    if kind is None or run.memory.weight_bytes is None or not _is_place_known(run):
        return None
    return kind.why_not_smaller(_place(comparison, run)) or None


def no_speed(comparison: Comparison, run: Run) -> str | None:
    """A sentence for a quantized run where no speed is to be expected, whatever its times were; else None.

    None also where `why_slower` has said more, and where sound figures say that it was faster.
    """
    kind = run.precision.quantization
    if kind is None or run.memory.weight_bytes is None or not _is_place_known(run):
        return None
    if why_slower(comparison, run) or _is_faster(comparison, run):
        return None
    return kind.no_speed(_place(comparison, run)) or None


def _is_faster(comparison: Comparison, run: Run) -> bool:
    baseline = comparison.baseline_run
    if baseline is None or any(_is_doubtful(comparison, one) for one in (baseline, run)):
        return False
    return (run.speed.decode_tokens_per_s or 0) > (baseline.speed.decode_tokens_per_s or 0)


def _is_doubtful(comparison: Comparison, run: Run) -> bool:
    return run.state is not RunState.DONE or "decode_tokens_per_s" in spoilt(comparison, run)


def _reason(comparison: Comparison, run: Run) -> str:
    if not _is_place_known(run):
        return ""
    place, dtype = _place(comparison, run), run.precision.dtype
    if run.precision.quantization is not None:
        return run.precision.quantization.why_slower(place)
    native = place.machine is not None and place.machine.avx512_bf16
    if not place.on_gpu and (dtype is Dtype.FLOAT16 or (dtype is Dtype.BFLOAT16 and not native)):
        return f"this processor has no fast {dtype} arithmetic, so torch converts as it computes."
    return ""


def _is_place_known(run: Run) -> bool:
    """Whether its engine says where the model computed. All reasons are those of a processor, or of a GPU."""
    return Capability.PLACEMENT not in run.lacks


def _place(comparison: Comparison, run: Run) -> Place:
    return Place(computes_on_gpu(run.device_map.values()), comparison.environment)
