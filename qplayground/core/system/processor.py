"""How much of the processor other programs had while something was timed."""

import time

import msgspec
import psutil

SHORTEST_S = 0.2
"""Systems count in steps of some ten milliseconds; a shorter span says nothing."""

_BUSY = ("user", "nice", "system", "irq", "softirq", "steal")  # steal: what a virtual machine's host took away


class ProcessorTimes(msgspec.Struct, frozen=True):
    """A reading of the clocks, in seconds. `busy_s` counts every process on every processor, `own_s` this process."""

    time_s: float
    busy_s: float
    own_s: float


def read_processor() -> ProcessorTimes:
    """Read the clocks of the whole machine and of this process."""
    times = psutil.cpu_times()
    busy_s = sum(getattr(times, kind, 0.0) for kind in _BUSY)
    return ProcessorTimes(time.monotonic(), busy_s, time.process_time())


def used_by_others(before: ProcessorTimes, after: ProcessorTimes) -> float | None:
    """How many processors, on average, were busy with anything but this process. None when the span is too short."""
    span_s = after.time_s - before.time_s
    if span_s < SHORTEST_S:
        return None
    others_s = (after.busy_s - before.busy_s) - (after.own_s - before.own_s)
    return max(0.0, others_s / span_s)
