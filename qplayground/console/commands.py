"""What each command puts together. The window's own parts are put together in `ui/application.py`."""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec
from PySide6.QtCore import QCoreApplication

from qplayground.console.arguments import placement_of
from qplayground.console.comparison import ConsoleComparison
from qplayground.console.details import say_details
from qplayground.console.doctor import ConsoleDoctor
from qplayground.console.estimate import ConsoleEstimate
from qplayground.console.inspect import ConsoleInspect, parse_params
from qplayground.console.output import check_target, complain, make_folder, write, write_reports, write_result
from qplayground.core.comparison.results import Comparison, Mode, RunState, from_json, to_json
from qplayground.core.dtype import Dtype
from qplayground.core.errors import ErrorCode, fail
from qplayground.core.generation import GenerationRequest
from qplayground.core.messages.events import Hello
from qplayground.core.model import ModelEntry
from qplayground.core.precision import Precision
from qplayground.core.units import bytes_text, count_text
from qplayground.report.diagnosis import diagnosis_json, diagnosis_text
from qplayground.report.estimate import estimate_json, estimate_table
from qplayground.report.files import STEM
from qplayground.report.inspection import inspection_json, inspection_table, left_out_text
from qplayground.report.markdown import to_markdown
from qplayground.report.table import plain_table
from qplayground.runtime.clients.doctor import Doctor
from qplayground.runtime.clients.planner import Planner
from qplayground.runtime.comparison.request import ComparisonRequest, check_names
from qplayground.runtime.comparison.session import Session
from qplayground.runtime.inside.survey import LayerSurvey
from qplayground.runtime.models.library import Library, list_models
from qplayground.runtime.processes.interrupts import Interrupts
from qplayground.runtime.processes.launcher import Launcher
from qplayground.runtime.storage.evaluation_text import quality_request
from qplayground.runtime.storage.preferences import Preferences


def run_compare(arguments: argparse.Namespace, request: GenerationRequest) -> int:
    """`qplayground compare`: 0 when every run is done, 1 when any failed. Raises PlaygroundError for wrong usage."""
    check_target(arguments.json)
    if arguments.out is not None:
        make_folder(Path(arguments.out))
    comparison = _compare(arguments, request)
    if isinstance(comparison, int):
        return comparison
    write_result(arguments.json, to_json(comparison), plain_table(comparison))
    if arguments.out is not None:
        write_reports(comparison, Path(arguments.out))
    return _exit_code(comparison)


def run_without_display(arguments: argparse.Namespace, request: GenerationRequest) -> int:
    """The default comparison where there is no display: the table, and a report beside it."""
    comparison = _compare(arguments, request)
    if isinstance(comparison, int):
        return comparison
    print(plain_table(comparison))
    write(Path(f"{STEM}.json"), to_json(comparison))
    write(Path(f"{STEM}.md"), to_markdown(comparison).encode())
    print(f"\nThe report is in {STEM}.md and {STEM}.json.")
    return _exit_code(comparison)


def run_estimate(arguments: argparse.Namespace) -> int:
    """`qplayground estimate`: 0 when every precision can be loaded and run, else 1, or 2 for wrong usage, of which it
    also raises PlaygroundError.
    """
    check_target(arguments.json)
    precisions, placement = _precisions(arguments), placement_of(arguments)
    with _parts() as parts:
        planner = parts.own.enter_context(closing(Planner(parts.launcher)))
        console = ConsoleEstimate(parts.session, parts.library, planner)
        parts.last.enter_context(_interruptible(console.interrupt))
        console.run(arguments.model, precisions, placement, arguments.context)
        answer, entry = console.answer, console.entry
        fits = {} if answer is None else {each.precision: planner.fit(each.precision) for each in answer.estimates}
    if answer is None or entry is None:
        return complain(console.error, verbose=arguments.verbose)
    found = [(each.precision, each.problem) for each in answer.estimates] + [("tokenizer", answer.tokenizer_problem)]
    problems = [(name, problem) for name, problem in found if problem is not None]
    say_details(problems, verbose=arguments.verbose)
    data, table = estimate_json(entry, placement, answer, fits), estimate_table(entry, placement, answer, fits)
    write_result(arguments.json, data, table)
    return 1 if problems else 0


def run_inspect(arguments: argparse.Namespace) -> int:
    """`qplayground inspect`: 0 when every layer is measured, else 1. Raises PlaygroundError for wrong usage."""
    check_target(arguments.json)
    dtype = Dtype(arguments.dtype)
    params = parse_params(arguments.methods, arguments.block_sizes, double_quant=arguments.double_quant, dtype=dtype)
    with _parts() as parts:
        survey = parts.own.enter_context(closing(LayerSurvey(parts.launcher)))
        console = ConsoleInspect(parts.session, parts.library, survey)
        parts.last.enter_context(_interruptible(console.interrupt))
        console.run(arguments.model, params, tuple(arguments.module or ()))
    for each in console.left_out:
        print(left_out_text(each), file=sys.stderr)
    if console.error is not None or console.entry is None:
        return complain(console.error, verbose=arguments.verbose)
    data = inspection_json(console.entry, dtype, console.rows, console.left_out)
    write_result(arguments.json, data, inspection_table(console.rows) if console.rows else "")
    return 1 if console.left_out or not console.rows else 0


def run_doctor(json_target: str | None) -> int:
    """`qplayground doctor`: 0 when nothing will not work, else 1. Raises PlaygroundError for wrong usage."""
    check_target(json_target)
    QCoreApplication.instance() or QCoreApplication([])
    with ExitStack() as last, closing(Launcher()) as launcher, closing(Doctor(launcher)) as doctor:
        console = ConsoleDoctor(doctor)
        last.enter_context(_interruptible(console.interrupt))
        console.run()
    diagnosis = console.diagnosis
    if diagnosis is None:
        print(f"qplayground: {console.error}", file=sys.stderr)
        return 1
    write_result(json_target, diagnosis_json(diagnosis), diagnosis_text(diagnosis))
    return 0 if diagnosis.works else 1


def run_models(json_target: str | None) -> int:
    """`qplayground models`: what the picker lists."""
    check_target(json_target)
    application = QCoreApplication.instance() or QCoreApplication([])
    interrupted: list[bool] = []

    def stop() -> None:
        interrupted.append(True)
        application.quit()

    known: list[Hello] = []
    with _interruptible(stop), closing(Session(Launcher())) as session:
        session.machine_known.connect(known.append)
        session.machine_known.connect(application.quit)
        session.machine_unknown.connect(application.quit)
        session.log_added.connect(lambda text: print(text, file=sys.stderr))
        session.probe()
        application.exec()
    if interrupted:
        print("qplayground: Cancelled.", file=sys.stderr)
        return 1
    folders = tuple(str(folder) for folder in Preferences.load().recent_folders)
    entries = list_models(known[0].model_types if known else None, folders)
    data = msgspec.json.format(msgspec.json.encode({"models": entries}), indent=2)
    write_result(json_target, data, "\n".join(map(_model_line, entries)))
    return 0


def run_shown(files: Sequence[Path]) -> int:
    """Saved comparisons as tables, where there is no display. Raises PlaygroundError for what is not one."""
    for path in files:
        try:
            comparison = from_json(path.read_bytes())
        except OSError as error:
            raise fail(
                ErrorCode.BAD_FILE, f"{path} cannot be read: {error.strerror}.", "Name a saved comparison."
            ) from error
        print(plain_table(comparison))
    return 0


def _compare(arguments: argparse.Namespace, request: GenerationRequest) -> Comparison | int:
    """The comparison, or the exit code where there is none."""
    precisions = _precisions(arguments)
    how = ComparisonRequest(
        precisions=precisions,
        request=request,
        placement=placement_of(arguments),
        mode=Mode.ONCE if arguments.runs is None else Mode.BENCHMARK,
        rounds=1 if arguments.runs is None else arguments.runs,
        baseline=arguments.baseline,
        quality=quality_request(arguments.quality, arguments.quality_tokens),
    )
    with _parts() as parts:
        parts.session.set_keep_loaded(arguments.keep_loaded)
        console = ConsoleComparison(parts.session, parts.library)
        parts.last.enter_context(_interruptible(console.interrupt))
        console.run(arguments.model, how)
    if console.comparison is None:
        return complain(console.error, verbose=arguments.verbose)
    failed = ((run.id, run.error) for run in console.comparison.runs if run.error is not None)
    say_details(failed, verbose=arguments.verbose)
    return console.comparison


class _Parts(NamedTuple):
    """What a command with a model is made of. Its `own` parts are closed before these, and the `last` ones after."""

    launcher: Launcher
    session: Session
    library: Library
    own: ExitStack
    last: ExitStack


@contextmanager
def _parts() -> Iterator[_Parts]:
    QCoreApplication.instance() or QCoreApplication([])
    launcher = Launcher()
    with (
        ExitStack() as last,
        closing(Session(launcher)) as session,
        closing(Library(launcher)) as library,
        ExitStack() as own,
    ):
        yield _Parts(launcher, session, library, own, last)


def _interruptible(interrupt: Callable[[], None]) -> closing[Interrupts]:
    return closing(Interrupts(interrupt))


def _precisions(arguments: argparse.Namespace) -> tuple[Precision, ...]:
    """Those that are named. Raises PlaygroundError for unknown ones, and for none."""
    preferences = Preferences.load()
    names = [name.strip() for name in arguments.precisions.split(",") if name.strip()]
    precisions = [preferences.precision(name) for name in names]
    if not precisions:
        raise fail(ErrorCode.BAD_PRECISION, "No precision is named.", "Give one or more, such as fp32,nf4.")
    check_names(tuple(precisions))
    return tuple(precisions)


def _exit_code(comparison: Comparison) -> int:
    """A text that was to be scored and could not be counts as failed; one too short for a summary does not."""
    unscored = [
        run
        for run in comparison.runs
        if run.quality is not None and run.quality.note and run.quality.perplexity is None
    ]
    return 0 if all(run.state is RunState.DONE for run in comparison.runs) and not unscored else 1


def _model_line(entry: ModelEntry) -> str:
    state = "" if entry.usable else f"  ({entry.problem.message if entry.problem else 'not prepared yet'})"
    return f"{entry.id}  {count_text(entry.parameters)} parameters, {bytes_text(entry.size_bytes)}{state}"
