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
        sentence = f"{run.precision} has a perplexity of {number_text(quality.perplexity)} on this text"
        if quality.note is not None:
            reason = str(quality.note).rstrip(".")
        elif _is_reference(comparison, run):
            is_baseline = run.precision == comparison.baseline
            reason = "the others are compared with it" if is_baseline else "the others were scored against it"
        else:
            reason = "there is nothing to compare it with"
        return f"{sentence}; {reason}."
    same = share_text(quality.same_top1)
    parts = [
        f"{run.precision} puts the same next token first as {quality.reference} {same} of the time",
        _perplexity_words(quality),
        *_memory_words(comparison, run, quality.reference),
    ]
    return f"{'; '.join(parts)}."


def limit_sentence(run: Run) -> str | None:
    """That fewer tokens were scored than were asked for; None where that is not so."""
    if run.quality is None or not run.quality.limited_by_disk:
        return None
    return (
        f"Only {run.quality.scored_tokens:,} tokens were scored, spread evenly over the text: the disk's limit "
        "holds the baseline's probabilities of no more."
    )


def reference_sentence(comparison: Comparison) -> str | None:
    """That what was scored is against another precision than the baseline; None where it is not.

    Another baseline can be chosen at any time, but a text is scored once.
    """
    others = sorted(_references(comparison) - {comparison.baseline or ""})
    if not others:
        return None
    return (
        f"The figures of quality are against {', '.join(others)}, which this comparison was scored with, and not "
        f"against the baseline, {comparison.baseline}. Compare again with that baseline to have them against it."
    )


def _references(comparison: Comparison) -> set[str]:
    """Which precisions the scored runs were compared with."""
    return {run.quality.reference for run in comparison.runs if run.quality is not None and run.quality.reference}


def _is_reference(comparison: Comparison, run: Run) -> bool:
    """Of what was compared already, or of what is to come."""
    references = _references(comparison)
    if references:
        return run.precision in references
    return run.precision == comparison.baseline and len(comparison.runs) > 1


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
        whole = significant(quality.mean_kld)
        return f"Of {run.precision}'s mean divergence of {whole} nats, {alone.precision} alone makes {share}."
    if not quality.rounding_kld:
        return None
    whole, part = significant(quality.mean_kld), significant(quality.rounding_kld)
    return (
        f"Of {run.precision}'s mean divergence of {whole} nats, rounding the logits to {run.recipe.dtype} makes "
        f"at least {part}."
    )


def _perplexity_words(quality: Quality) -> str:
    ratio, error = quality.ppl_ratio or 1.0, quality.ppl_ratio_se or 0.0
    change = 100 * (ratio - 1)
    if abs(ratio - 1) <= 2 * error:
        return f"its perplexity is the same within the error ({change:+.2g} ± {significant(100 * error, 2)} %)"
    return f"its perplexity is {significant(abs(change))} % {'higher' if change > 0 else 'lower'}"


def _memory_words(comparison: Comparison, run: Run, reference: str) -> list[str]:
    base = next((other for other in comparison.runs if other.precision == reference), None)
    ours, theirs = run.memory.weight_bytes, None if base is None else base.memory.weight_bytes
    return [] if not ours or not theirs else [f"its weights take {share_text(ours / theirs)} of the bytes"]
