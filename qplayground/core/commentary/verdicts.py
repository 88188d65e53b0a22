"""What a precision costs in accuracy and spares in memory, in one sentence with its numbers."""

from qplayground.core.capabilities import Capability
from qplayground.core.comparison.results import Comparison, Run
from qplayground.core.measures.quality import Quality, TextSource
from qplayground.core.measures.windows import MIN_SCORED
from qplayground.core.units import number_text, share_text, significant

COARSE = 0.03
"""A ratio of perplexities that hides a loss as large as this in twice its standard error says little."""


def quality_sentence(comparison: Comparison, run: Run) -> str | None:
    """A sentence that needs no knowledge of the measures; None for a run that was not scored."""
    quality = run.quality
    if quality is None:
        return None
    if quality.perplexity is None:
        if quality.note is not None:
            return f"{run.id}: {quality.note}"
        count = quality.scored_tokens
        return (
            f"{run.id}: {count} tokens were scored; there are figures from {MIN_SCORED} on. "
            "Score a longer text, or let the answer be longer."
        )
    if quality.reference is None:
        sentence = f"{run.id} has a perplexity of {number_text(quality.perplexity)} on this text"
        if quality.note is not None:
            reason = str(quality.note).rstrip(".")
        elif _is_reference(comparison, run):
            is_baseline = run.id == comparison.baseline
            reason = "the others are compared with it" if is_baseline else "the others were scored against it"
        else:
            reason = "there is nothing to compare it with"
        return f"{sentence}; {reason}."
    same = share_text(quality.same_top1)
    parts = [
        f"{run.id} puts the same next token first as {quality.reference} {same} of the time",
        _perplexity_words(quality),
        *_memory_words(comparison, run, quality.reference),
    ]
    return f"{'; '.join(parts)}."


def coarse_sentence(comparison: Comparison, run: Run) -> str | None:
    """That too few tokens were scored to see a loss of several percent, and what to do; None where that is not so.

    A loss that is clear was seen; where its perplexity is no worse, or lower, chance may hide one.
    """
    quality = run.quality
    if quality is None or quality.ppl_ratio is None or quality.ppl_ratio_se is None:
        return None
    hidden = 2 * quality.ppl_ratio_se
    if hidden < COARSE or quality.ppl_ratio - 1 > hidden:
        return None
    return (
        f"{run.id}: only {quality.scored_tokens:,} tokens were scored, so that a loss in perplexity of less "
        f"than about {significant(100 * hidden, 2)} % cannot be told from chance. {more_to_score(comparison, quality)}"
    )


def more_to_score(comparison: Comparison, quality: Quality) -> str:
    """What gives more scored tokens: another half of a window of the text, as long as there is one, or another text."""
    text = comparison.evaluation
    left = 0 if text is None else text.text_tokens - text.window // 2 - quality.scored_tokens
    ways = ["more of this text"] if text is not None and left >= text.window - text.window // 2 else []
    ways += ["a longer text"] if quality.text == TextSource.BUILTIN else ["a longer text", "the built-in one"]
    *first, last = ways
    return f"Score {', '.join(first)}{' or ' * bool(first)}{last}."


def limit_sentence(run: Run) -> str | None:
    """That fewer tokens were scored than were asked for; None where that is not so."""
    if run.quality is None or not run.quality.limited_by_disk:
        return None
    return (
        f"Only {run.quality.scored_tokens:,} tokens were scored, spread evenly over the text: the disk's limit "
        "holds the baseline's probabilities of no more."
    )


def further_sentences(comparison: Comparison, run: Run) -> list[str]:
    """What else is to be known of a score: how much chance may hide, what limited it, and what its type alone makes."""
    found = (coarse_sentence(comparison, run), limit_sentence(run), floor_sentence(comparison, run))
    return [sentence for sentence in found if sentence is not None]


def reference_sentence(comparison: Comparison) -> str | None:
    """That what was scored is against another precision than the baseline; None where it is not.

    Another baseline can be chosen at any time, but a text is scored once; and a baseline's engine may not score.
    """
    others = sorted(references(comparison) - {comparison.baseline or ""})
    if not others:
        return None
    baseline = comparison.baseline_run
    why = "" if baseline is None else baseline.lacks.get(Capability.SCORING, "")
    again = "Compare again with that baseline to have them against it."
    return (
        f"The figures of quality are against {', '.join(others)}, which this comparison was scored with, and not "
        f"against the baseline, {comparison.baseline}. {why or again}"
    )


def source_text(comparison: Comparison) -> str:
    """Which text was scored, how much of it, and how it was read; empty where none was."""
    evaluation = comparison.evaluation
    scored = next(
        (run.quality for run in comparison.runs if run.quality is not None and run.quality.scored_tokens), None
    )
    if evaluation is None or scored is None:
        return ""
    parts = [
        *(f"Compared with {name}" for name in sorted(references(comparison))),
        f"Text: {evaluation.text}, {evaluation.text_tokens:,} tokens, SHA-256 {evaluation.text_sha256[:12]}…",
        f"{scored.scored_tokens:,} tokens scored",
        f"the second half of windows of {evaluation.window}, {evaluation.stride:,} apart",
        "± is the standard error",
    ]
    storage = next(
        (run.quality for run in comparison.runs if run.quality is not None and run.quality.storage_kld), None
    )
    if storage is not None:
        parts.append(
            f"the reference was kept as {storage.reference_dtype} for want of room, which by itself changes "
            f"{significant(storage.storage_kld or 0.0)} nats"
        )
    return " · ".join(parts)


def references(comparison: Comparison) -> set[str]:
    """Which precisions the scored runs were compared with."""
    return {run.quality.reference for run in comparison.runs if run.quality is not None and run.quality.reference}


def _is_reference(comparison: Comparison, run: Run) -> bool:
    """Of what was compared already, or of what is to come."""
    scored_against = references(comparison)
    if scored_against:
        return run.id in scored_against
    return run.id == comparison.baseline and len(comparison.runs) > 1


def floor_sentence(comparison: Comparison, run: Run) -> str | None:
    """How much of a quantized run's divergence its number type alone makes; None where that does not apply."""
    quality = run.quality
    if quality is None or quality.mean_kld is None or not run.precision.is_quantized:
        return None
    alone = next(
        (
            other
            for other in comparison.runs
            if not other.precision.is_quantized
            and other.precision.dtype is run.precision.dtype
            and other.quality is not None
            and other.quality.mean_kld is not None
            and other.quality.reference == quality.reference
        ),
        None,
    )
    begin = (
        f"{run.id}'s next-token probabilities are {significant(quality.mean_kld)} nats from "
        f"{quality.reference}'s on average (0 would be the same)"
    )
    if alone is not None and alone.quality is not None:
        share = number_text(alone.quality.mean_kld)
        return f"{begin}; {alone.id}, the same number type without quantization, is {share} from them."
    if not quality.rounding_kld:
        return None
    part = significant(quality.rounding_kld)
    return f"{begin}; rounding to {run.precision.dtype} by itself, without quantization, makes at least {part}."


def _perplexity_words(quality: Quality) -> str:
    ratio, error = quality.ppl_ratio or 1.0, quality.ppl_ratio_se or 0.0
    if ratio == 1 and not error:
        return "its perplexity is the same"
    change = 100 * (ratio - 1)
    if not error:
        return f"its perplexity is {significant(abs(change))} % {'higher' if change > 0 else 'lower'}"
    beside = significant(100 * error, 2)
    places = len(beside.partition(".")[2])
    if _is_clear(ratio - 1, error):
        return f"its perplexity is {abs(change):,.{places}f} ± {beside} % {'higher' if change > 0 else 'lower'}"
    return f"no clear difference in perplexity ({change:+,.{places}f} ± {beside} %, less than twice the error)"


def has_clear_loss(quality: Quality) -> bool:
    """Whether its perplexity is higher than the reference's by more than chance."""
    change = (quality.ppl_ratio or 1.0) - 1
    return change > 0 and _is_clear(change, quality.ppl_ratio_se or 0.0)


def _is_clear(difference: float, error: float) -> bool:
    """Twice the standard error is what chance alone exceeds one time in twenty."""
    return abs(difference) > 2 * error


def _memory_words(comparison: Comparison, run: Run, reference: str) -> list[str]:
    base = comparison.find(reference)
    ours, theirs = run.memory.weight_bytes, None if base is None else base.memory.weight_bytes
    return [] if not ours or not theirs else [f"its weights take {share_text(ours / theirs)} of the bytes"]
