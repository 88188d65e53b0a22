"""One model type, from its config to its verdicts."""

import gc
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
import transformers

from tests.sweep import building, plain, program
from tests.sweep.outcome import Case, Outcome


def quiet() -> None:
    """One thread, so that two tries add in the same order, and silent standard error."""
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()


def try_type(model_type: str, precisions: Sequence[str] = plain.PRECISIONS) -> Outcome:
    """Build it, and run it both ways in each precision."""
    started = time.monotonic()
    outcome = Outcome(model_type=model_type)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        try:
            outcome.written = type(building.make(model_type, path)).__name__
        except Exception as error:  # sizes that do not fit together, or a missing package
            outcome.error = plain.first_line(error)
        else:
            for precision in precisions:
                outcome.cases[precision] = _try_precision(path, precision)
                gc.collect()
    outcome.seconds = round(time.monotonic() - started, 1)
    return outcome


def _try_precision(folder: Path, precision: str) -> Case:
    """Transformers skips the same layers as the program."""
    case = Case(plain=plain.run(folder, precision), ours=program.run(folder, precision))
    if case.ours.skips:
        case.alike = plain.run(folder, precision, case.ours.skips)
    return case
