"""A comparison's circumstances in a few words, for every report alike."""

from qplayground.core.comparison.results import Comparison, Mode, Run, RunState
from qplayground.core.messages.events import Phase

PHASE_TEXT = {
    Phase.START: "preparing",
    Phase.LOAD: "loading",
    Phase.QUANTIZE: "loading and quantizing",
    Phase.COPY: "copying into memory",
    Phase.WARM_UP: "warming up",
    Phase.CHECK: "checking every weight",
    Phase.PREFILL: "reading the prompt",
    Phase.DECODE: "generating",
    Phase.SCORE: "scoring the text",
    Phase.UNLOAD: "unloading",
}
"""What an engine is busy with, in words."""


def name_text(run: Run) -> str:
    """The precision's name, and whether it is what a precision of that name is elsewhere."""
    return f"{run.id} (edited)" if run.precision.is_edited else run.id


def state_text(run: Run) -> str:
    """How it ended, in the words that the window uses."""
    if run.state is not RunState.CANCELLED:
        stopped = run.quality is not None and run.quality.was_stopped
        return f"{run.state}, scoring stopped" if stopped else str(run.state)
    return "stopped" if run.finish_reason is not None else "not run"


def title_text(comparison: Comparison) -> str:
    """A heading."""
    count = len(comparison.runs)
    return f"{comparison.title}: {count} precision{'s' * (count != 1)} compared"


def machine_text(comparison: Comparison) -> str:
    """Processor, threads, GPUs and library versions."""
    machine = comparison.environment
    if machine is None:
        return "unknown"
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    gpus = f"; {', '.join(machine.gpus)}" if machine.gpus else ""
    threads = comparison.placement.threads or machine.cpu_threads
    return f"{machine.cpu} ({machine.cpu_capability}), {threads} threads{gpus}; {versions}"


def settings_text(comparison: Comparison) -> str:
    """How the texts were made."""
    settings = comparison.settings
    how = (
        f"sampling (temperature {settings.temperature:g}, top-p {settings.top_p:g}, top-k {settings.top_k}, "
        f"seed {settings.seed}, which does not make precisions comparable)"
        if settings.do_sample
        else "greedy"
    )
    length = f"at most {settings.max_new_tokens} new tokens"
    if comparison.mode is Mode.BENCHMARK:
        length = f"benchmark, {comparison.rounds} rounds of {settings.max_new_tokens} new tokens, end tokens ignored"
    elif comparison.mode is Mode.RACE:
        length = f"race, {length}"
    penalty = f", repetition penalty {settings.repetition_penalty:g}" if settings.repetition_penalty != 1 else ""
    chat = ", as a user's turn of a chat" if settings.chat_template else ""
    placed = f", placement: {comparison.placed}" if comparison.placed else ""
    return f"{length}, {how}{penalty}{chat}, baseline {comparison.baseline}{placed}"


def when_text(comparison: Comparison) -> str:
    """When it was started, as people write it."""
    return f"{comparison.started_at.replace('T', ' ').removesuffix('+00:00')} UTC" if comparison.started_at else ""
