"""`qplayground doctor` as people start it, and engines that end during a check."""

import getpass
import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from msgspec.structs import replace
from PySide6.QtCore import QThread
from pytestqt.qtbot import QtBot

from qplayground.core.diagnosis.diagnosis import Diagnosis, Facts, MethodCheck, Outcome
from qplayground.core.precision import Precision
from qplayground.runtime.clients import doctor as doctor_module
from qplayground.runtime.clients.doctor import QUANTIZED, Doctor
from qplayground.runtime.clients.engine_client import SILENCE_MS
from qplayground.runtime.machine.this_machine import gather_facts
from qplayground.runtime.processes.launcher import Launcher
from tests.fakes.engine import EXIT_CODE, FAILURE
from tests.process.command_line import Running, run, run_scripted
from tests.process.running import client_of

FAKE = "tests.fakes.engine"
INT8, NF4 = QUANTIZED[:2]


# ---- the command --------------------------------------------------------------------------------------------------


class Told(NamedTuple):
    """What the command finds on this machine, and its JSON."""

    done: "subprocess.CompletedProcess[str]"
    json: str


@pytest.fixture(scope="module")
def told_of_this_machine(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """With the real engine and separate folders."""
    place = tmp_path_factory.mktemp("doctor")
    done = run(
        *("doctor", "--json", str(place / "found.json")),
        QPLAYGROUND_CONFIG=str(place / "config"),
        QPLAYGROUND_CACHE=str(place / "cache"),
        HF_HOME=str(place / "hf"),
        SOME_SECRET="hunter2",
    )
    return Told(done, (place / "found.json").read_text("utf-8"))


def test_every_method_works_on_this_machine(told_of_this_machine: Told) -> None:
    """Really tried. Other faults of the test machine do not matter here."""
    home = str(Path.home())
    done, text = told_of_this_machine
    assert "Traceback" not in done.stderr
    told = json.loads(text)
    assert set(told) == {"works", "findings", "facts"}
    assert done.returncode == (0 if told["works"] else 1)
    for finding in told["findings"]:
        assert set(finding) == {"severity", "message", "hint"}
    facts = told["facts"]
    on_cpu = [check for check in facts["checks"] if check["device"] == "cpu"]
    assert [check["precision"] for check in on_cpu] == [precision.name for precision in QUANTIZED]
    for check in on_cpu:
        assert check["outcome"] == "works", check
        assert 0.001 < check["relative_error"] < 0.2
    assert facts["engine_error"] is None
    assert facts["cpu"]["capability"] and facts["cpu"]["threads"] >= 1
    assert facts["cuda"]["library"].startswith("libbitsandbytes")
    assert facts["qt"] == {"names": ["offscreen"], "running": False, "problem": "", "hint": ""}
    assert {folder["purpose"] for folder in facts["folders"]} >= {"Settings", "History", "Hugging Face cache"}
    for shown in (text, done.stdout):
        assert home not in shown
        for name in (getpass.getuser(), socket.gethostname()):
            assert name == "root" or f"/{name}" not in shown


def test_its_json_can_be_all_that_it_prints() -> None:
    assert set(json.loads(run_scripted("doctor", "--json", "-").stdout)) == {"works", "findings", "facts"}


def test_it_prints_what_a_bug_report_needs(told_of_this_machine: Told) -> None:
    done, text = told_of_this_machine
    assert done.returncode == (0 if json.loads(text)["works"] else 1)
    assert re.search(r"NF4 \+ DQ on cpu +works", done.stdout)
    for part in ("Findings", "bitsandbytes", "flags", "NVIDIA driver", "Temporary files"):
        assert part in done.stdout
    assert "hunter2" not in done.stdout + text
    assert "NF4 on cpu …" in done.stderr


@pytest.mark.exhaustive
def test_it_says_what_was_set_and_whether_the_demo_model_is_made(tmp_path: Path) -> None:
    done = run("doctor", HF_HOME=str(tmp_path / "hub"), OMP_NUM_THREADS="2", HF_TOKEN="secret")
    assert re.search(r"OMP_NUM_THREADS +2\n", done.stdout)
    assert re.search(r"looked at +20\d\d-\d\d-\d\d \d\d:\d\d UTC\n", done.stdout)
    assert re.search(r"demo model +(made|not made yet: .*)\n", done.stdout)
    assert "secret" not in done.stdout


@pytest.mark.exhaustive
def test_a_folder_that_cannot_be_written_is_exit_1(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = run("doctor", QPLAYGROUND_CONFIG=str(tmp_path / "file" / "config"))
    assert done.returncode == 1
    assert "! Settings (" in done.stdout
    assert "cannot be written: not a directory." in " ".join(done.stdout.split())
    assert "Traceback" not in done.stderr


def test_ctrl_c_ends_it() -> None:
    running = Running("doctor")
    running.wait_for("starting an engine")
    code, output, took = running.interrupt()
    assert (code, output) == (1, "")
    assert "Cancelled." in running.errors
    assert took < 3


def test_the_console_command_imports_no_torch() -> None:
    code = """
import sys, qplayground.console.commands
from qplayground.runtime.clients.engine_client import SILENCE_MS
from qplayground.runtime.machine.this_machine import gather_facts
gather_facts()
print(*sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert not {"torch", "bitsandbytes", "transformers"} & set(done.stdout.split())


# ---- engines that end during a check ------------------------------------------------------------------------------


class Consultation:
    """A doctor over the fake engine, and its signals."""

    def __init__(self, qtbot: QtBot, launcher: Launcher) -> None:
        self.qtbot = qtbot
        self._launcher = launcher
        self.signals: list[str] = []
        self.found: list[Diagnosis] = []
        self.doctor: Doctor | None = None

    def about(self, *behaviours: str) -> Doctor:
        """Checks int8, NF4 and so on, each with its behaviour for the fake engine. "" is none."""
        told = [_told(precision, what) for precision, what in zip(QUANTIZED, behaviours, strict=False)]
        self.doctor = doctor = Doctor(self._launcher, tuple(told))
        for name in ("started", "succeeded", "failed", "cancelled", "finished"):
            getattr(doctor, name).connect(lambda *_, name=name: self.signals.append(name))
        doctor.succeeded.connect(self.found.append)
        return doctor

    def check(self, *behaviours: str) -> dict[str, MethodCheck]:
        """Run it to its end. Returns the checks by precision."""
        doctor = self.about(*behaviours)
        with self.qtbot.waitSignal(doctor.finished, timeout=20_000):
            doctor.start()
        assert self.signals == ["started", "succeeded", "finished"]
        return {check.precision: check for check in self.found[0].facts.checks}

    @property
    def problems(self) -> str:
        return " ".join(finding.message for finding in self.found[0].findings)


def _told(precision: Precision, what: str) -> Precision:
    return replace(precision, skip_modules=(what,)) if what else precision


@pytest.fixture
def consultation(qtbot: QtBot) -> Iterator[Consultation]:
    launcher = Launcher(FAKE)
    consultation = Consultation(qtbot, launcher)
    yield consultation
    if consultation.doctor is not None:
        consultation.doctor.close()
    launcher.close()


def test_methods_that_work(consultation: Consultation) -> None:
    checks = consultation.check("", "")
    assert {name: check.outcome for name, check in checks.items()} == dict.fromkeys(("int8", "nf4"), Outcome.WORKS)
    facts = consultation.found[0].facts
    assert (facts.cpu.capability, facts.engine_error) == ("FAKE", None)
    assert facts.cuda is not None


def test_an_engine_that_crashes_costs_that_method_alone(consultation: Consultation) -> None:
    checks = consultation.check("", "segfault-checking", "exit-checking", "")
    assert [check.outcome for check in checks.values()] == ["works", "failed", "failed", "works"]
    assert "(signal 11, SIGSEGV)" in checks["nf4"].problem
    assert f"with exit code {EXIT_CODE}" in checks["nf4-dq"].problem
    assert checks["nf4-dq"].detail.endswith("about to exit")
    assert "NF4 does not work on cpu: The engine crashed" in consultation.problems
    assert not consultation.found[0].works


def test_a_wrong_result_is_a_finding(consultation: Consultation) -> None:
    checks = consultation.check("wrong")
    assert checks["int8"].outcome is Outcome.WRONG
    assert "INT8 does not work on cpu: the result is wrong" in consultation.problems


def test_what_an_engine_refuses_altogether_is_a_finding(consultation: Consultation) -> None:
    checks = consultation.check("", "fail-checking")
    assert list(checks) == ["int8"]
    assert consultation.found[0].facts.engine_error == FAILURE.info
    assert FAILURE.info.message in consultation.problems


def test_an_engine_that_hangs_is_ended(consultation: Consultation) -> None:
    doctor = consultation.about("hang-checking", "")
    client = client_of(doctor)
    doctor.progressed.connect(lambda label, *_: client.silence.setInterval(100 if "INT8" in label else SILENCE_MS))
    # so that the next engine has the usual time
    client.lost.connect(lambda _error: client.silence.setInterval(SILENCE_MS))
    with consultation.qtbot.waitSignal(doctor.finished, timeout=20_000):
        doctor.start()
    int8, nf4 = consultation.found[0].facts.checks
    assert (int8.outcome, nf4.outcome) == ("failed", "works")
    assert "did not answer for 0.1 seconds" in int8.problem


@pytest.mark.parametrize("fork", [True, False])
def test_libraries_that_cannot_be_imported_are_a_finding(
    qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fork: bool
) -> None:
    """For example, because of an instruction that the CPU lacks."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / f"dies_{fork}.py").write_text("import signal; signal.raise_signal(signal.SIGILL)")
    launcher = Launcher(f"dies_{fork}", fork=fork)
    doctor = Doctor(launcher)
    with qtbot.waitSignal(doctor.succeeded, timeout=20_000) as found:
        doctor.start()
    diagnosis = found.args[0]
    assert diagnosis.facts.checks == () and diagnosis.facts.engine_error is not None
    assert "The engine could not be checked to the end" in diagnosis.findings[0].message
    assert not diagnosis.works
    doctor.close()
    launcher.close()


def test_own_names_are_not_in_the_output_of_a_crash(
    consultation: Consultation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: "exit")
    checks = consultation.check("exit-checking")
    assert checks["int8"].detail.endswith("about to <user>")


def test_it_can_be_stopped_and_started_again(consultation: Consultation) -> None:
    doctor = consultation.about("hang-checking")
    with consultation.qtbot.waitSignal(doctor.progressed, check_params_cb=lambda label, *_: "INT8" in label):
        doctor.start()
    with consultation.qtbot.waitSignal(doctor.finished):
        doctor.cancel()
    assert consultation.signals == ["started", "cancelled", "finished"]
    doctor.cancel()  # nothing to stop
    for _ in range(2):  # also while the stopped engine is still ending
        with consultation.qtbot.waitSignal(doctor.progressed, check_params_cb=lambda label, *_: "INT8" in label):
            doctor.start()
            doctor.cancel()
            doctor.start()
        doctor.cancel()
    consultation.signals[3:] = []
    with consultation.qtbot.waitSignal(doctor.progressed, check_params_cb=lambda label, *_: "INT8" in label):
        doctor.start()
    doctor.close()
    doctor.start()  # a closed doctor starts nothing
    assert consultation.signals == ["started", "cancelled", "finished", "started"]


def test_a_check_goes_on_with_the_look_at_the_machine_that_the_one_before_began(
    consultation: Consultation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look cannot be ended. If it ends while no check runs, the next check does not use it."""
    may_end = threading.Event()
    begun: list[None] = []

    def gather() -> Facts:
        begun.append(None)
        assert may_end.wait(20)
        return gather_facts()

    monkeypatch.setattr(doctor_module, "gather_facts", gather)
    doctor, qtbot = consultation.about(""), consultation.qtbot
    doctor.start()
    qtbot.waitUntil(lambda: len(begun) == 1)
    doctor.cancel()
    with qtbot.waitSignal(doctor.succeeded, timeout=20_000):
        doctor.start()
        may_end.set()
    assert len(begun) == 1
    may_end.clear()
    doctor.start()
    qtbot.waitUntil(lambda: len(begun) == 2)
    doctor.cancel()
    may_end.set()
    qtbot.waitUntil(lambda: not doctor.findChildren(QThread), timeout=20_000)  # and its result was delivered
    with qtbot.waitSignal(doctor.succeeded, timeout=20_000):
        doctor.start()
    assert len(begun) == 3 and len(consultation.found) == 2


def test_a_machine_that_cannot_be_looked_at_is_said(qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OSError("scripted")

    monkeypatch.setattr(doctor_module, "gather_facts", fail)
    launcher = Launcher(FAKE)
    doctor = Doctor(launcher)
    with qtbot.waitSignal(doctor.failed, timeout=20_000) as failed:
        doctor.start()
    assert "scripted" in failed.args[0].detail
    assert not doctor.is_running
    doctor.close()
    launcher.close()
