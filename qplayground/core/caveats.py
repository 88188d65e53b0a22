"""What a reader must know before believing a run's figures."""

from qplayground.core.results import Comparison, Mode, Run

DISTURBING_CPUS = 0.2
"""Work is divided evenly among the threads, so one that is held up by this much holds up all. The window takes less."""
COLD_SHARE = 0.1


def caveats(comparison: Comparison, run: Run) -> tuple[str, ...]:
    """Sentences about what spoilt a run's figures, or sets them apart; none when nothing is known to have."""
    found = []
    if comparison.mode is Mode.RACE and len(comparison.runs) > 1:
        found.append("It ran beside the others on a share of the processor: its times are a show, not a comparison.")
    disturbed = _disturbed(comparison, run)
    if disturbed:
        found.append(f"Something else kept {disturbed}: do not compare. Run it again.")
    share = run.load.disk_share
    if share is not None and share > COLD_SHARE:
        found.append(
            f"{share:.0%} of the checkpoint came from the disk (a cold load): the next one, from memory, will be faster."
        )
    return tuple(found)


def _disturbed(comparison: Comparison, run: Run) -> str:
    machine = comparison.environment
    threads = machine.cpu_threads if machine is not None else 1
    cpus = machine.cpus if machine is not None and machine.cpus is not None else threads
    free = max(0, cpus - threads) + DISTURBING_CPUS  # what others may use without taking it from the threads
    on_gpu = bool(run.device_map) and all(device.startswith("cuda") for device in run.device_map.values())
    parts = [
        f"{others:.1f} processors busy {when}"
        for others, when in (
            (run.load.other_cpus, "while it loaded"),
            (None if on_gpu else run.speed.other_cpus, "while it wrote"),
        )
        if others is not None and others > free
    ]
    return " and ".join(parts)
