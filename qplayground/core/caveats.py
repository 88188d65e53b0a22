"""What a reader must know before believing a run's figures."""

from qplayground.core.results import Comparison, Run

DISTURBED_SHARE = 0.1
"""Of the threads that compute. Work is divided evenly among them, so one that is held up holds up all."""


def caveats(comparison: Comparison, run: Run) -> tuple[str, ...]:
    """Sentences about what spoilt a run's figures; none when nothing is known to have."""
    threads = comparison.environment.cpu_threads if comparison.environment is not None else 1
    spoilt = [
        what
        for what, others in (("load time", run.load.other_cpus), ("speed", run.speed.other_cpus))
        if others is not None and others > DISTURBED_SHARE * threads
    ]
    if not spoilt:
        return ()
    most = max(others for others in (run.load.other_cpus, run.speed.other_cpus) if others is not None)
    figures = " and ".join(spoilt)
    return (f"Other programs kept {most:.1f} processors busy meanwhile: do not compare its {figures}. Run it again.",)
