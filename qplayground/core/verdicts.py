"""What a precision costs in accuracy and spares in memory, in one sentence with its numbers."""

from qplayground.core.quality import Quality
from qplayground.core.results import Comparison, Run
from qplayground.core.units import number_text, share_text, significant
from qplayground.core.windows import MIN_SCORED


def quality_sentence(comparison: Comparison, run: Run) -> str | None:
    """A sentence that needs no knowledge of the measures; None for a run that was not scored."""
    quality = run.quality
    if quality is None:
        return None
    if quality.perplexity is None:
        if quality.note is not None:
            return f"{run.precision}: {quality.note}"
        count = quality.scored_tokens
        return (
            f"{run.precision}: {count} tokens were scored; there are figures from {MIN_SCORED} on. "
            "Score a longer text, or let the answer be longer."
        )
    if quality.reference is None:
        alone = (
            "there is nothing to compare it with" if len(comparison.runs) == 1 else "the others are compared with it"
        )
        reason = alone if run.precision == comparison.baseline else str(quality.note or "").rstrip(".")
        return f"{run.precision} has a perplexity of {number_text(quality.perplexity)} on this text; {reason}."
    same = share_text(quality.same_top1)
    parts = [
        f"{run.precision} puts the same next word first as {quality.reference} {same} of the time",
        _perplexity_words(quality),
        *_memory_words(comparison, run, quality.reference),
    ]
    return f"{'; '.join(parts)}."


def floor_sentence(comparison: Comparison, run: Run) -> str | None:
    """How much of a quantized run's divergence its number type alone makes; None where that does not apply."""
    quality = run.quality
    if quality is None or quality.mean_kld is None or not run.recipe.is_quantized:
        return None
    alone = next(
        (
            other
            for other in comparison.runs
            if not other.recipe.is_quantized
            and other.recipe.dtype is run.recipe.dtype
            and other.quality is not None
            and other.quality.mean_kld is not None
            and other.quality.reference == quality.reference
        ),
        None,
    )
    if alone is not None and alone.quality is not None:
        share = number_text(alone.quality.mean_kld)
        return f"Of {run.precision}'s {significant(quality.mean_kld)} nats, {alone.precision} alone makes {share}."
    if not quality.rounding_kld:
        return None
    whole, part = significant(quality.mean_kld), significant(quality.rounding_kld)
    return f"Of {run.precision}'s {whole} nats, rounding the logits to {run.recipe.dtype} makes at least {part}."


def _perplexity_words(quality: Quality) -> str:
    ratio, error = quality.ppl_ratio or 1.0, quality.ppl_ratio_se or 0.0
    change = 100 * (ratio - 1)
    if abs(ratio - 1) <= 2 * error:
        return f"its perplexity is the same within the error ({change:+.2g} ± {significant(100 * error, 2)} %)"
    return f"its perplexity is {significant(abs(change))} % {'higher' if change > 0 else 'lower'}"


def _memory_words(comparison: Comparison, run: Run, reference: str) -> list[str]:
    base = next((other for other in comparison.runs if other.precision == reference), None)
    ours, theirs = run.memory.weight_bytes, None if base is None else base.memory.weight_bytes
    return [] if not ours or not theirs else [f"its weights take {share_text(ours / theirs)} of the memory"]
