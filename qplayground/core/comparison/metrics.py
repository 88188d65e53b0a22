"""Every figure of a run that can be shown, sorted by, set in relation to the baseline's, or drawn."""

from collections.abc import Callable
from typing import NamedTuple

from qplayground.core.capabilities import Capability
from qplayground.core.comparison.caveats import spoilt
from qplayground.core.comparison.results import Comparison, Run, RunState
from qplayground.core.measures.samples import Samples
from qplayground.core.units import bytes_text, number_text, rate_text, ratio_text, seconds_text, share_text, significant


class Metric(NamedTuple):
    """One figure. `read` gives it in the `unit` that exports state, None where a run has none.

    `more_is_better` is None for what is neither good nor bad. `spread` gives a benchmark's readings, `error` the
    standard error of a mean. `itself` is what a reference has beside itself, where that is no news. `ratio_digits`:
    how many of its ratio are meant. `needs` is the capability without which an engine gives none.
    """

    key: str
    title: str
    unit: str
    description: str
    read: Callable[[Run], float | None]
    text: Callable[[float | None], str]
    more_is_better: bool | None
    spread: Callable[[Run], Samples | None] = lambda run: None
    error: Callable[[Run], float | None] = lambda run: None
    itself: float | None = None
    ratio_digits: int = 2
    needs: Capability | None = None

    def reason_missing(self, run: Run) -> str:
        """Why that run has no such figure, as a sentence: its engine cannot give it. Empty where that is not so, and of
        a run that failed, which has an error to say why.
        """
        if self.needs is None or run.state is RunState.FAILED or self.read(run) is not None:
            return ""
        return run.lacks.get(self.needs, "")


def _bytes(value: float | None) -> str:
    return bytes_text(None if value is None else int(value))


def _count(value: float | None) -> str:
    return "–" if value is None else f"{int(value):,}"


def _memory(
    key: str, title: str, description: str, needs: Capability, *, more_is_better: bool | None = False
) -> Metric:
    """Bytes, under the name that they have in a run's memory."""
    return Metric(
        key, title, "bytes", description, lambda run: getattr(run.memory, key), _bytes, more_is_better, needs=needs
    )


METRICS: tuple[Metric, ...] = (
    Metric(
        "decode_tokens_per_s",
        "Decode",
        "tokens/s",
        "Tokens a second after the first: (n-1) / (time of the last - time of the first)",
        lambda run: run.speed.decode_tokens_per_s,
        rate_text,
        True,
        lambda run: run.speed.samples,
    ),
    Metric(
        "ttft_s",
        "First token",
        "s",
        "Time to first token: from the call of generate, the prompt's reading included",
        lambda run: run.speed.ttft_s,
        seconds_text,
        False,
        lambda run: run.speed.ttft_samples,
    ),
    Metric(
        "prefill_tokens_per_s",
        "Prefill",
        "tokens/s",
        "The prompt's tokens over the time that the model took to read them",
        lambda run: run.speed.prefill_tokens_per_s,
        rate_text,
        True,
        lambda run: run.speed.prefill_samples,
    ),
    Metric(
        "load_s",
        "Load",
        "s",
        "From opening the checkpoint to a model that has run once, every weight in memory; libraries come before",
        lambda run: run.load.seconds,
        seconds_text,
        False,
        lambda run: run.load.samples,
    ),
    _memory(
        "weight_bytes",
        "Weights",
        "Bytes of the tensors that the model holds, scales and tables included, tied ones counted once",
        Capability.WEIGHTS,
    ),
    _memory(
        "resident_bytes",
        "RAM",
        "Resident memory of the engine after loading, then after its run, the libraries' own share included",
        Capability.MEMORY,
    ),
    _memory(
        "peak_resident_bytes",
        "Peak RAM w/o scoring",
        "The highest resident memory that the engine had, loading included; checking every weight and scoring are not",
        Capability.MEMORY,
    ),
    _memory(
        "predicted_weight_bytes",
        "Weights, predicted",
        "The predicted size of the weights, before any was read",
        Capability.PREDICTION,
        more_is_better=None,
    ),
    _memory(
        "predicted_resident_bytes",
        "RAM, predicted",
        "The predicted resident memory of the engine after its run, before a weight was read",
        Capability.PREDICTION,
        more_is_better=None,
    ),
    _memory(
        "vram_allocated_bytes",
        "VRAM",
        "GPU memory that torch had allocated at the end of the run",
        Capability.MEMORY,
    ),
    _memory(
        "vram_reserved_bytes",
        "VRAM reserved",
        "GPU memory that torch held at the end of the run, blocks that it keeps for later included",
        Capability.MEMORY,
    ),
    _memory(
        "vram_peak_bytes",
        "Peak VRAM",
        "The most GPU memory that torch had allocated, loading included",
        Capability.MEMORY,
    ),
    _memory(
        "vram_load_peak_bytes",
        "Load peak VRAM",
        "The most GPU memory that torch had allocated while it loaded",
        Capability.MEMORY,
    ),
    _memory(
        "vram_driver_bytes",
        "VRAM by the driver",
        "GPU memory that the driver counted for the engine at the end of the run, CUDA's own share included",
        Capability.MEMORY,
    ),
    _memory(
        "vram_context_bytes",
        "CUDA context",
        "GPU memory that CUDA itself takes for the engine: the driver's count less what torch reserved",
        Capability.MEMORY,
        more_is_better=None,
    ),
    Metric(
        "perplexity",
        "Perplexity",
        "",
        "exp of the mean negative log-likelihood of the scored tokens; lower is better",
        lambda run: None if run.quality is None else run.quality.perplexity,
        number_text,
        False,
        error=lambda run: None if run.quality is None else run.quality.perplexity_se,
        ratio_digits=3,
        needs=Capability.SCORING,
    ),
    Metric(
        "mean_kld",
        "Mean KLD",
        "nats",
        "Kullback-Leibler divergence from the reference's next-token distribution, mean over the scored tokens",
        lambda run: None if run.quality is None else run.quality.mean_kld,
        number_text,
        False,
        error=lambda run: None if run.quality is None else run.quality.mean_kld_se,
        itself=0.0,
        needs=Capability.SCORING,
    ),
    Metric(
        "p99_kld",
        "99 % KLD",
        "nats",
        "99 % of the scored tokens diverge less",
        lambda run: None if run.quality is None else run.quality.p99_kld,
        number_text,
        False,
        itself=0.0,
        needs=Capability.SCORING,
    ),
    Metric(
        "same_top1",
        "Same top token",
        "",
        "How often it puts the same token first as the reference does",
        lambda run: None if run.quality is None else run.quality.same_top1,
        share_text,
        True,
        error=lambda run: None if run.quality is None else run.quality.same_top1_se,
        itself=1.0,
        needs=Capability.SCORING,
    ),
    Metric(
        "new_tokens",
        "Tokens",
        "tokens",
        "How many tokens it wrote",
        lambda run: len(run.token_ids) or None,
        _count,
        None,
    ),
    Metric(
        "common_prefix_tokens",
        "Same first tokens",
        "tokens",
        "How many tokens are the baseline's, up to the first that differs",
        lambda run: None if run.divergence is None else run.divergence.common_prefix_tokens,
        _count,
        None,
    ),
)

BY_KEY = {metric.key: metric for metric in METRICS}


def figure_text(metric: Metric, run: Run, comparison: Comparison) -> str:
    """`24.1 tok/s`, with * when something spoilt it."""
    value = metric.read(run)
    return metric.text(value) + "*" * (value is not None and metric.key in spoilt(comparison, run))


def range_text(metric: Metric, run: Run) -> str:
    """The lowest and the highest of a benchmark's readings, `18.1 … 24.6 tok/s`, or a mean's error, `± 0.31`.

    Empty where there is neither.
    """
    error = metric.error(run)
    if error:
        percent = metric.text is share_text
        return f"± {significant(100 * error, 2)} %" if percent else f"± {significant(error, 2)}"
    samples = metric.spread(run)
    if samples is None or samples.n < 2:
        return ""
    low, high = metric.text(min(samples.values)), metric.text(max(samples.values))
    number, _, unit = low.rpartition(" ")
    return f"{number if high.endswith(f' {unit}') else low} … {high}"


def ratio(metric: Metric, run: Run, comparison: Comparison) -> float | None:
    """A candidate's figure over the baseline's. None for the baseline, and where either has none or a spoilt one."""
    if metric.more_is_better is None or comparison.baseline is None or run.id == comparison.baseline:
        return None
    baseline = comparison.baseline_run
    if baseline is None or any(metric.key in spoilt(comparison, one) for one in (run, baseline)):
        return None
    ours, theirs = metric.read(run), metric.read(baseline)
    return None if ours is None or not theirs else ours / theirs


def beside_text(metric: Metric, run: Run, comparison: Comparison) -> str:
    """That ratio, `×0.31`; empty where there is none."""
    return ratio_text(ratio(metric, run, comparison), metric.ratio_digits)


def shown_metrics(comparison: Comparison) -> tuple[Metric, ...]:
    """Those that at least one run has; memory of a GPU only where there is one."""
    return tuple(metric for metric in METRICS if any(metric.read(run) is not None for run in comparison.runs))


def efficient(points: list[tuple[float, float]], more_x: bool, more_y: bool) -> list[int]:
    """Indices of the points that no other one beats or equals in both, in order of x: the efficient front."""

    def beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
        better_x = one[0] >= other[0] if more_x else one[0] <= other[0]
        better_y = one[1] >= other[1] if more_y else one[1] <= other[1]
        return better_x and better_y and one != other

    front = [index for index, point in enumerate(points) if not any(beats(other, point) for other in points)]
    return sorted(front, key=lambda index: points[index])
