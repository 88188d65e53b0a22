"""Which of the precisions that were compared a person would pick, as far as the figures say."""

from qplayground.core.commentary.verdicts import coarse_sentence, has_clear_loss, more_to_score, references
from qplayground.core.comparison.caveats import spoilt
from qplayground.core.comparison.results import Comparison, Run, RunState
from qplayground.core.units import bytes_text, share_text, significant

_SPEED = "decode_tokens_per_s"


def recommendation(comparison: Comparison) -> str | None:
    """Names the precision with the fewest bytes of weights whose perplexity shows no clear loss, and its speed.

    Both are beside the precision that the others were scored against. Where too few tokens were scored to judge a
    smaller one, it says what to do instead. None before every run is over, and where none was scored against another.
    """
    reference = _reference(comparison)
    if reference is None or not comparison.is_finished:
        return None
    candidates = [run for run in comparison.runs if _is_candidate(run, reference)]
    if not candidates:
        return None
    unknown = [run for run in candidates if coarse_sentence(comparison, run) is not None]
    sound = [run for run in candidates if run not in unknown and run.quality and not has_clear_loss(run.quality)]
    chosen = min([reference, *sound], key=_weight_bytes)
    smaller = [run for run in candidates if _weight_bytes(run) < _weight_bytes(chosen)]
    hidden = [run for run in smaller if run in unknown]
    if hidden and hidden[0].quality is not None:
        names = ", ".join(run.id for run in hidden)
        more = more_to_score(comparison, hidden[0].quality)
        return f"No precision can be picked yet: too few tokens were scored to see a loss of {names}. {more}"
    return f"Pick {chosen.id}. {_why(comparison, chosen, reference, smaller)}{_left_out(comparison)}"


def _why(comparison: Comparison, chosen: Run, reference: Run, smaller: list[Run]) -> str:
    if chosen is not reference:
        share = share_text(_weight_bytes(chosen) / _weight_bytes(reference))
        return (
            f"Its weights take {bytes_text(_weight_bytes(chosen))}, {share} of {reference.id}'s, with no clear loss in "
            f"perplexity on this text. {_speed_words(comparison, chosen, reference)}"
        )
    if smaller:
        return "Each smaller precision that was scored has a clearly higher perplexity on this text."
    return "No other precision that was scored has smaller weights."


def _left_out(comparison: Comparison) -> str:
    """That some were scored, and cannot be weighed; empty where that is not so."""
    found = [
        run for run in comparison.runs if run.state is RunState.DONE and _is_scored(run) and not _weight_bytes(run)
    ]
    names = ", ".join(run.id for run in found)
    return f" Left out, because the size of the weights is not known: {names}." if found else ""


def _reference(comparison: Comparison) -> Run | None:
    """The run that all others were scored against, as long as that is one and its own figures are there."""
    names = references(comparison)
    found = [run for run in comparison.runs if run.id in names and run.state is RunState.DONE]
    has_figures = len(names) == 1 and bool(found) and found[0].quality is not None and _weight_bytes(found[0]) > 0
    return found[0] if has_figures else None


def _is_candidate(run: Run, reference: Run) -> bool:
    return run is not reference and run.state is RunState.DONE and _is_scored(run) and _weight_bytes(run) > 0


def _is_scored(run: Run) -> bool:
    quality = run.quality
    return quality is not None and quality.ppl_ratio is not None and quality.ppl_ratio_se is not None


def _weight_bytes(run: Run) -> int:
    return run.memory.weight_bytes or 0


def _speed_words(comparison: Comparison, chosen: Run, reference: Run) -> str:
    if any(_SPEED in spoilt(comparison, run) for run in (chosen, reference)):
        return "The speeds cannot be compared: something disturbed them (*)."
    ours, theirs = chosen.speed.decode_tokens_per_s, reference.speed.decode_tokens_per_s
    if not ours or not theirs:
        return "The speed was not measured."
    return f"It decodes at {significant(ours / theirs, 2)} times the speed of {reference.id}."
