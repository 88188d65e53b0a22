"""What each command puts together. The window's own parts are put together in `ui/application.py`."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
from PySide6.QtCore import QCoreApplication

from qplayground.console.comparison import ConsoleComparison
from qplayground.console.details import say_details
from qplayground.console.doctor import ConsoleDoctor
from qplayground.console.estimate import ConsoleEstimate
from qplayground.console.inspect import ConsoleInspect, parse_knobs
from qplayground.core.comparison.results import Comparison, Mode, RunState, from_json, to_json
from qplayground.core.dtype import Dtype
from qplayground.core.errors import ErrorCode, ErrorInfo, PlaygroundError, fail
from qplayground.core.generation import GenerationRequest
from qplayground.core.messages.events import Hello
from qplayground.core.model import ModelEntry
from qplayground.core.placement import AUTO, BALANCED, CUSTOM, Placement, named_device, parse_max_memory, read_map
from qplayground.core.precision import Precision
from qplayground.core.system.saving import save_file
from qplayground.core.units import bytes_text, count_text
from qplayground.report.diagnosis import diagnosis_json, diagnosis_text
from qplayground.report.estimate import estimate_json, estimate_table
from qplayground.report.files import STEM, write_all
from qplayground.report.inspection import inspection_json, inspection_table, left_out_text
from qplayground.report.markdown import to_markdown
from qplayground.report.table import plain_table
from qplayground.runtime.clients.doctor import Doctor
from qplayground.runtime.clients.planner import Planner
from qplayground.runtime.comparison.request import ComparisonRequest, check_names
from qplayground.runtime.comparison.session import Session
from qplayground.runtime.inside.survey import LayerSurvey
from qplayground.runtime.machine.display import check_display
from qplayground.runtime.machine.system_libraries import explain_import
from qplayground.runtime.models.library import Library, list_models
from qplayground.runtime.processes.interrupts import Interrupts
from qplayground.runtime.processes.launcher import Launcher
from qplayground.runtime.storage.evaluation_text import quality_request
from qplayground.runtime.storage.preferences import Preferences


def run_compare(arguments: argparse.Namespace, request: GenerationRequest) -> int:
    """`qplayground compare`: 0 when every run is done, 1 when any failed. Raises PlaygroundError for wrong usage."""
    _check_target(arguments.json)
    if arguments.out is not None:
        _make_folder(Path(arguments.out))
    comparison = _compare(arguments, request)
    if comparison is None:
        return 1
    if arguments.json == "-":
        _print_json(to_json(comparison))
    else:
        print(plain_table(comparison))
    if arguments.json not in (None, "-"):
        _write(Path(arguments.json), to_json(comparison))
    if arguments.out is not None:
        _write_all(comparison, Path(arguments.out))
    return _exit_code(comparison)


def run_without_display(arguments: argparse.Namespace, request: GenerationRequest) -> int:
    """The default comparison where there is no display: the table, and a report beside it."""
    comparison = _compare(arguments, request)
    if comparison is None:
        return 1
    print(plain_table(comparison))
    _write(Path(f"{STEM}.json"), to_json(comparison))
    _write(Path(f"{STEM}.md"), to_markdown(comparison).encode())
    print(f"\nThe report is in {STEM}.md and {STEM}.json.")
    return _exit_code(comparison)


def run_estimate(arguments: argparse.Namespace) -> int:
    """`qplayground estimate`: 0 when every precision can be loaded, else 1. Raises PlaygroundError for wrong usage."""
    _check_target(arguments.json)
    precisions, placement = _precisions(arguments), placement_of(arguments)
    QCoreApplication.instance() or QCoreApplication([])
    launcher = Launcher()
    session, planner, library = Session(launcher), Planner(launcher), Library(launcher)
    console = ConsoleEstimate(session, library, planner)
    interrupts = Interrupts(console.interrupt)
    try:
        console.run(arguments.model, precisions, placement, arguments.context)
        answer, entry = console.answer, console.entry
        fits = {} if answer is None else {each.precision: planner.fit(each.precision) for each in answer.estimates}
    finally:
        library.close()
        planner.close()
        session.close()
        interrupts.close()
    if answer is None or entry is None:
        _complain(console.error, verbose=arguments.verbose)
        return 1
    problems = [(each.precision, each.problem) for each in answer.estimates if each.problem is not None]
    say_details(problems, verbose=arguments.verbose)
    code = 1 if problems else 0
    if arguments.json == "-":
        _print_json(estimate_json(entry, placement, answer, fits))
        return code
    if arguments.json is not None:
        _write(Path(arguments.json), estimate_json(entry, placement, answer, fits))
    print(estimate_table(entry, placement, answer, fits))
    return code


def run_inspect(arguments: argparse.Namespace) -> int:
    """`qplayground inspect`: 0 when every layer is measured, else 1. Raises PlaygroundError for wrong usage."""
    _check_target(arguments.json)
    dtype = Dtype(arguments.dtype)
    knobs = parse_knobs(arguments.methods, arguments.block_sizes, double_quant=arguments.double_quant, dtype=dtype)
    QCoreApplication.instance() or QCoreApplication([])
    launcher = Launcher()
    session, survey, library = Session(launcher), LayerSurvey(launcher), Library(launcher)
    console = ConsoleInspect(session, library, survey)
    interrupts = Interrupts(console.interrupt)
    try:
        console.run(arguments.model, knobs, tuple(arguments.module or ()))
    finally:
        library.close()
        survey.close()
        session.close()
        interrupts.close()
    for each in console.left_out:
        print(left_out_text(each), file=sys.stderr)
    if console.error is not None or console.entry is None:
        _complain(console.error, verbose=arguments.verbose)
        return 1
    code = 1 if console.left_out or not console.rows else 0
    if arguments.json == "-":
        _print_json(inspection_json(console.entry, dtype, console.rows, console.left_out))
        return code
    if arguments.json is not None:
        _write(Path(arguments.json), inspection_json(console.entry, dtype, console.rows, console.left_out))
    if console.rows:
        print(inspection_table(console.rows))
    return code


def run_doctor(json_target: str | None) -> int:
    """`qplayground doctor`: 0 when nothing will not work, else 1. Raises PlaygroundError for wrong usage."""
    _check_target(json_target)
    QCoreApplication.instance() or QCoreApplication([])
    launcher = Launcher()
    doctor = Doctor(launcher)
    console = ConsoleDoctor(doctor)
    interrupts = Interrupts(console.interrupt)
    try:
        console.run()
    finally:
        doctor.close()
        launcher.close()
        interrupts.close()
    diagnosis = console.diagnosis
    if diagnosis is None:
        print(f"qplayground: {console.error}", file=sys.stderr)
        return 1
    code = 0 if diagnosis.works else 1
    if json_target == "-":
        _print_json(diagnosis_json(diagnosis))
        return code
    if json_target is not None:
        _write(Path(json_target), diagnosis_json(diagnosis))
    print(diagnosis_text(diagnosis))
    return code


def run_models(json_target: str | None) -> int:
    """`qplayground models`: what the picker lists."""
    _check_target(json_target)
    application = QCoreApplication.instance() or QCoreApplication([])
    session = Session(Launcher())
    interrupted: list[bool] = []

    def stop() -> None:
        interrupted.append(True)
        application.quit()

    interrupts = Interrupts(stop)
    known: list[Hello] = []
    session.machine_known.connect(known.append)
    session.machine_known.connect(application.quit)
    session.machine_unknown.connect(application.quit)
    session.log_added.connect(lambda text: print(text, file=sys.stderr))
    session.probe()
    application.exec()
    session.close()
    interrupts.close()
    if interrupted:
        print("qplayground: Cancelled.", file=sys.stderr)
        return 1
    folders = tuple(str(folder) for folder in Preferences.load().recent_folders)
    entries = list_models(known[0].model_types if known else None, folders)
    data = msgspec.json.format(msgspec.json.encode({"models": entries}), indent=2)
    if json_target == "-":
        _print_json(data)
        return 0
    if json_target is not None:
        _write(Path(json_target), data)
    for entry in entries:
        print(_model_line(entry))
    return 0


def run_shown(files: Sequence[Path]) -> int:
    """Saved comparisons as tables, where there is no display. Raises PlaygroundError for what is not one."""
    for path in files:
        try:
            comparison = from_json(path.read_bytes())
        except OSError as error:
            raise fail(
                ErrorCode.BAD_FILE, f"{path} cannot be read: {error.strerror}.", "Name a comparison that was saved."
            ) from error
        print(plain_table(comparison))
    return 0


def run_window(*, watched: bool = False, files: Sequence[Path] = ()) -> int:
    """Open the window, and saved comparisons beside it, and run until it is closed.

    `watched`: say where it is when it is held up.
    """
    try:
        from qplayground.ui.application import run
    except ImportError as error:
        raise explain_import(error, windowed=True) from error
    check_display()
    return run(Launcher(), watched=watched, files=files)


def _compare(arguments: argparse.Namespace, request: GenerationRequest) -> Comparison | None:
    precisions = _precisions(arguments)
    QCoreApplication.instance() or QCoreApplication([])
    launcher = Launcher()
    session = Session(launcher)
    session.set_keep_loaded(arguments.keep_loaded)
    library = Library(launcher)
    console = ConsoleComparison(session, library)
    interrupts = Interrupts(console.interrupt)
    how = ComparisonRequest(
        precisions=precisions,
        request=request,
        placement=placement_of(arguments),
        mode=Mode.ONCE if arguments.runs is None else Mode.BENCHMARK,
        rounds=1 if arguments.runs is None else arguments.runs,
        baseline=arguments.baseline,
        quality=quality_request(arguments.quality, arguments.quality_tokens),
    )
    try:
        console.run(arguments.model, how)
    finally:
        library.close()
        session.close()
        interrupts.close()
    if console.error is not None:
        _complain(console.error, verbose=arguments.verbose)
    runs = () if console.comparison is None else console.comparison.runs
    say_details(((run.id, run.error) for run in runs if run.error is not None), verbose=arguments.verbose)
    return console.comparison


def _complain(error: ErrorInfo | None, *, verbose: bool) -> None:
    """Why nothing came of a command."""
    print(f"qplayground: {error}", file=sys.stderr)
    if error is not None:
        say_details((("this error", error),), verbose=verbose)


def placement_of(arguments: argparse.Namespace) -> Placement:
    """What the arguments ask for. Raises PlaygroundError for a map that cannot be read, and for what cannot be."""
    device, modules = str(arguments.device_map), {}
    if device.endswith(".json"):
        modules, device = read_map(_read(Path(device))), CUSTOM
    elif device not in (AUTO, BALANCED):
        device = _named(device)
    return Placement(
        device=device,
        modules=modules,
        max_memory=parse_max_memory(arguments.max_memory) if arguments.max_memory is not None else {},
        offload_folder="" if arguments.offload_folder is None else str(Path(arguments.offload_folder).absolute()),
        threads=arguments.threads,
    ).checked()


def _named(device: str) -> str:
    try:
        return named_device(device)
    except PlaygroundError as error:
        hint = "Name auto, balanced, cpu, cuda:N, mps, or a file that ends in .json."
        raise fail(ErrorCode.BAD_DEVICE, error.info.message, hint) from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise fail(
            ErrorCode.BAD_FILE, f"{path} cannot be read: {error.strerror}.", "Name a JSON file of a device map."
        ) from error


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


def _write(path: Path, data: bytes) -> None:
    try:
        save_file(path, data)
    except OSError as error:
        raise _unwritable(path, error.strerror or str(error)) from error


def _make_folder(folder: Path) -> None:
    """Refuse before the work where the reports could not be put."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error.strerror or str(error)) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise _unwritable(folder)


def _write_all(comparison: Comparison, folder: Path) -> None:
    try:
        written = write_all(comparison, folder)
    except OSError as error:
        raise _unwritable(folder, error.strerror or str(error)) from error
    print(f"{len(written)} files are in {folder}.", file=sys.stderr)


def _check_target(target: str | None) -> None:
    """Refuse before the work where its result could not be put."""
    if target is not None and target != "-":
        path = Path(target)
        if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
            raise _unwritable(path, "it is a folder" if path.is_dir() else "its folder is missing or closed to you")


def _unwritable(path: Path, detail: str = "") -> PlaygroundError:
    why = f": {detail}" if detail else ""
    return fail(ErrorCode.BAD_SETTINGS, f"{path} cannot be written{why}.", "Name another place.")


def _print_json(data: bytes) -> None:
    """JSON is UTF-8, whatever the terminal speaks."""
    sys.stdout.flush()
    sys.stdout.buffer.write(data + b"\n")
    sys.stdout.buffer.flush()


def _model_line(entry: ModelEntry) -> str:
    state = "" if entry.usable else f"  ({entry.problem.message if entry.problem else 'not prepared yet'})"
    return f"{entry.id}  {count_text(entry.parameters)} parameters, {bytes_text(entry.size_bytes)}{state}"
