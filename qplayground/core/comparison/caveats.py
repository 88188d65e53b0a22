"""What a reader must know before believing a run's figures."""

from typing import NamedTuple

from qplayground.core.capabilities import Capability
from qplayground.core.comparison.results import Comparison, Run
from qplayground.core.placement import CPU, DISK, computes_on_gpu, is_gpu, moved
from qplayground.core.units import bytes_text

DISTURBING_CPUS = 0.2
"""Work is divided evenly among the threads, so one that is held up by this much holds up all. The window takes less."""
DISK_SHARE = 0.1

_SPEED = frozenset({"decode_tokens_per_s", "ttft_s", "prefill_tokens_per_s"})
_LOAD = frozenset({"load_s"})


class Caveat(NamedTuple):
    """What is true of every run that it befalls, the run's own measure of it, and the keys of the spoilt metrics.

    `text` begins in the middle of a sentence, `measure` stands before it: `2 parts of the model`, `not placed as …`.
    """

    text: str
    measure: str
    spoils: frozenset[str]

    @property
    def is_grave(self) -> bool:
        """Whether it is about more than a load time, which the disk alone makes longer every time after a start."""
        return not is_load_alone(self.spoils)

    @property
    def sentence(self) -> str:
        """Both in one."""
        begin = f"{self.measure}: {self.text}" if self.measure else self.text
        return begin[:1].upper() + begin[1:]


def caveats(comparison: Comparison, run: Run) -> tuple[Caveat, ...]:
    """What spoilt a run's figures, or sets them apart; none when nothing is known to have."""
    found = []
    if run.caution:
        found.append(Caveat(run.caution, "", frozenset()))
    unplaced = run.lacks.get(Capability.PLACEMENT)
    if unplaced is not None and comparison.placed:
        found.append(Caveat(f"not placed as was asked ({comparison.placed}). {unplaced}", "", frozenset()))
    made_for, tokens = run.model.context_tokens, (run.prompt_tokens or 0) + len(run.token_ids)
    if made_for is not None and tokens > made_for:
        text = f"more than the {made_for:,} that the model was made for, so the text can become nonsense."
        found.append(Caveat(text, f"{tokens:,} tokens", frozenset()))
    elsewhere = moved(run.requested_map, run.device_map)
    if elsewhere:
        name, (expected, device) = next(iter(elsewhere.items()))
        text = f"not placed as was shown before, {name or 'the model'} on {device} and not on {expected} for one"
        measure = f"{len(elsewhere)} part{'s' * (len(elsewhere) != 1)} of the model"
        found.append(Caveat(f"{text}: the memory that is free, or a limit, had changed.", measure, frozenset()))
    if DISK in run.device_map.values():
        on_disk = run.memory.by_device.get(DISK)
        amount = "" if on_disk is None else f"{bytes_text(on_disk.total)} of the weights on disk"
        found.append(Caveat("not in RAM, and read again for each token.", amount, frozenset()))
    devices = set(run.device_map.values())
    if CPU in devices and computes_on_gpu(devices):
        found.append(Caveat("part of the weights is in RAM and is copied to the GPU for each token.", "", frozenset()))
    if run.beside:
        found.append(Caveat("ran in a race, with a share of the processor. Its times are for show.", "", _SPEED))
    if run.load.kept:
        text = "was in memory already. Its load time and its load peak are from that earlier load."
        if run.memory.predicted_resident_bytes is None and Capability.PREDICTION not in run.lacks:
            text += " What it takes with this text was not predicted."
        found.append(Caveat(text, "", _LOAD))
    found += _disturbances(comparison, run)
    share = run.load.disk_share
    if share is not None and share > DISK_SHARE and not run.load.kept:
        text = "a load from memory is faster."
        found.append(Caveat(text, f"{100 * share:.0f} % of the file read from the disk", _LOAD))
    return tuple(found)


def is_load_alone(keys: frozenset[str]) -> bool:
    """Whether these metrics are about loading, and there are any."""
    return bool(keys) and keys <= _LOAD


def spoilt(comparison: Comparison, run: Run) -> frozenset[str]:
    """Keys of all metrics that a caveat is about."""
    return frozenset().union(*(caveat.spoils for caveat in caveats(comparison, run)))


def _disturbances(comparison: Comparison, run: Run) -> list[Caveat]:
    """One at most, since what to do about them is the same."""
    free = _free_cpus(comparison)
    loading = None if run.load.kept else run.load.other_cpus  # of another time, when nothing could be run again
    writing = None if _needs_no_processor(run) or run.beside else run.speed.other_cpus
    moments = [
        (f"{others:.1f}", when, spoils)
        for others, when, spoils in ((loading, "loading", _LOAD), (writing, "writing", _SPEED))
        if others is not None and others > free
    ]
    if not moments:
        return []
    used, whens, spoils = zip(*moments, strict=True)
    text = f"disturbed while {' and '.join(whens)}. Run it again to compare."
    return [
        Caveat(text, f"other programs used {' and '.join(dict.fromkeys(used))} processors", frozenset().union(*spoils))
    ]


def _free_cpus(comparison: Comparison) -> float:
    """What others may use without taking it from the threads."""
    machine = comparison.environment
    if machine is None or machine.cpus is None:
        return DISTURBING_CPUS
    return max(0, machine.cpus - (comparison.placement.threads or machine.cpu_threads)) + DISTURBING_CPUS


def _needs_no_processor(run: Run) -> bool:
    """Whether all of it is on GPUs, so that none of it is computed or copied by the processor."""
    return bool(run.device_map) and all(is_gpu(device) for device in run.device_map.values())
