"""The rules on simulated machines, and the report: what it contains, and what it keeps private."""

import json
import re
import tomllib
from pathlib import Path

import pytest
from msgspec.structs import replace

from qplayground.core.commentary.known_problems import MINIMUM_VERSIONS, find_problems
from qplayground.core.diagnosis.diagnosis import (
    Cpu,
    CudaBuild,
    Diagnosis,
    Facts,
    Finding,
    Folder,
    MethodCheck,
    NvidiaGpu,
    Outcome,
    QtPlatform,
    Ram,
    Severity,
)
from qplayground.core.errors import ErrorCode, ErrorInfo
from qplayground.core.system.cpu_flags import ARM_FLAGS, X86_FLAGS, cpu_flags, cpu_name
from qplayground.core.system.redaction import Redaction
from qplayground.report.diagnosis import NOTHING_WRONG, diagnosis_json, diagnosis_text, headline

GOOD_CPU = Cpu(
    name="A processor", architecture="x86_64", flags=dict.fromkeys(X86_FLAGS, True), capability="AVX512", threads=2
)
GOOD_CHECK = MethodCheck(precision="nf4", label="NF4", device="cpu", outcome=Outcome.WORKS, relative_error=0.092)
GPU = NvidiaGpu("A GPU", 24_000_000_000, 20_000_000_000, (8, 6))
CUDA = CudaBuild(torch_cuda="12.8", available=True, bitsandbytes_cuda=("11.8", "12.8"), library="cuda128.so")
GOOD = Facts(
    python="3.11.7",
    system="Linux-6.1-x86_64",
    versions={
        "qplayground": "0.1.0",
        "PySide6": "6.11.3",
        "torch": "2.13.0+cpu",
        "transformers": "5.23.0",
        "bitsandbytes": "0.50.2",
        "accelerate": "1.15.0",
        "safetensors": "0.8.0",
        "huggingface_hub": "2.4.0",
    },
    cpu=GOOD_CPU,
    ram=Ram(16_000_000_000, 12_000_000_000, 16_000_000_000),
    cuda=CudaBuild(library="cpu.so"),
    checks=(GOOD_CHECK,),
    qt=QtPlatform(names=("xcb",)),
    folders=(
        Folder(purpose="Settings", path="~/.config/qplayground", free_bytes=10**11),
        Folder(purpose="History", path="~/elsewhere", is_there=False),
    ),
)
GOOD_GPU = replace(GOOD, gpus=(GPU,), cuda=CUDA, driver="580.65.06")


def with_versions(**versions: str) -> Facts:
    return replace(GOOD, versions={**GOOD.versions, **versions})


def with_cpu(**changes: object) -> Facts:
    return replace(GOOD, cpu=replace(GOOD_CPU, **changes))


def without(*flags: str) -> dict[str, bool]:
    return {flag: flag not in flags for flag in X86_FLAGS}


NO_AVX512 = without(*(flag for flag in X86_FLAGS if "512" in flag or "amx" in flag))
CRASH = ErrorInfo(ErrorCode.ENGINE_DIED, "The engine crashed (signal 4, SIGILL).", "Run it again.")
OLD_GPU = replace(GPU, compute_capability=(7, 0))
NO_LIBRARY = replace(CUDA, torch_cuda="13.0")
FOLDER = GOOD.folders[0]

PROBLEMS = [
    (with_versions(bitsandbytes="0.44.1"), "bitsandbytes 0.44.1 is older than 0.50"),
    (with_versions(transformers="4.57.0"), "transformers 4.57.0 is older than 5.20"),
    (with_versions(torch=""), "torch is not installed"),
    (with_versions(PySide6="6.12.0"), "drops a reference to True"),
    (with_cpu(flags=without("avx2")), "no AVX2"),
    (with_cpu(flags={}, capability="DEFAULT"), "no AVX2"),
    (replace(GOOD_GPU, driver="470.82.01"), "driver 470.82.01 is too old for torch's CUDA 12.8, which needs 525"),
    (replace(GOOD_GPU, cuda=replace(CUDA, available=False)), "torch finds no GPU that it can use"),
    (replace(GOOD_GPU, cuda=NO_LIBRARY), "bitsandbytes 0.50.2 has no library for CUDA 13.0"),
    (replace(GOOD_GPU, gpus=(OLD_GPU,)), "A GPU has compute capability 7.0"),
    (replace(GOOD, engine_error=CRASH), "could not be checked to the end: The engine crashed (signal 4, SIGILL)."),
    (
        replace(GOOD, qt=QtPlatform(names=("xcb",), problem="Libraries are missing.", hint="Install them.")),
        "Libraries are",
    ),
    (replace(GOOD, folders=(replace(FOLDER, problem="read-only file system"),)), "cannot be written: read-only"),
    (replace(GOOD, folders=(replace(FOLDER, free_bytes=1_000_000),)), "has only 1.00 MB left"),
]

CAUTIONS = [
    (with_cpu(flags=NO_AVX512), "no AVX-512"),
    (with_cpu(flags={}, capability="AVX2"), "no AVX-512"),
    (replace(GOOD, system="Windows-11-10.0"), "bitsandbytes for Windows"),
    (with_versions(kernels="0.11.1"), "asks the Hugging Face hub for a kernel"),
    (replace(GOOD, mps=True, cpu=Cpu(name="M4", architecture="arm64")), "macOS 26"),
    (replace(GOOD_GPU, cuda=CudaBuild()), "torch has no CUDA, so A GPU is not used"),
    (replace(GOOD, undriven_gpus=("vfio-pci", "nouveau")), "without NVIDIA's driver (Linux drives it with nouveau)"),
    (replace(GOOD, undriven_gpus=("",)), "without NVIDIA's driver (no driver is loaded for it)"),
    (replace(GOOD, undriven_gpus=("nvidia",)), "the driver's library does not answer here"),
    (replace(GOOD, ram=Ram(4_000_000_000, 3_000_000_000, 16_000_000_000, True)), "4.00 GB of the machine's 16.0 GB"),
    (
        replace(GOOD, checks=(replace(GOOD_CHECK, unfit_inputs=(48, 80)), replace(GOOD_CHECK, unfit_inputs=(48, 80)))),
        "computes wrongly with NF4, NF4 layers of some widths, or refuses them (of those tried: 48, 80 inputs)",
    ),
    (
        replace(GOOD, checks=(replace(GOOD_CHECK, unfit_inputs=(48,), unfit_outputs=(4, 16)),)),
        "of those tried: 48 inputs and 4, 16 outputs",
    ),
    (replace(GOOD, qt=QtPlatform()), "There is no display"),
    (replace(GOOD, folders=(replace(FOLDER, free_bytes=500_000_000),)), "has only 500 MB left"),
]


@pytest.mark.parametrize(
    "facts",
    [
        GOOD,
        GOOD_GPU,
        replace(with_versions(PySide6="6.12.0"), python="3.12.1"),  # True is immortal there
        with_versions(bitsandbytes="0.50.0.dev0", PySide6="6.9"),
        with_cpu(architecture="aarch64", flags=dict.fromkeys(ARM_FLAGS, False), capability="DEFAULT"),
        with_cpu(flags={}, capability=""),  # nothing is known, so nothing is said
        replace(GOOD, undriven_gpus=("vfio-pci",)),  # it belongs to a virtual machine
        replace(GOOD, driver="390.1"),  # a machine whose GPU is not visible
        replace(GOOD_GPU, driver="525.60.13"),
        replace(GOOD_GPU, driver=""),
        replace(GOOD, qt=QtPlatform(names=("offscreen",), running=True)),
        replace(GOOD, ram=Ram(16_000_000_000, 9_000_000_000, 16_000_000_000, True)),
    ],
)
def test_a_good_machine_has_no_findings(facts: Facts) -> None:
    assert find_problems(facts) == ()


@pytest.mark.parametrize(("facts", "part"), PROBLEMS, ids=[part for _, part in PROBLEMS])
def test_what_will_not_work_is_a_problem(facts: Facts, part: str) -> None:
    (finding,) = find_problems(facts)
    assert part in finding.message and finding.severity is Severity.PROBLEM
    assert finding.hint
    assert not Diagnosis(facts, (finding,)).works


@pytest.mark.parametrize(("facts", "part"), CAUTIONS, ids=[part for _, part in CAUTIONS])
def test_what_works_with_limits_is_a_caution(facts: Facts, part: str) -> None:
    (finding,) = find_problems(facts)
    assert part in finding.message and finding.severity is Severity.CAUTION
    assert finding.hint
    assert Diagnosis(facts, (finding,)).works


@pytest.mark.parametrize(("facts", "part"), [*PROBLEMS, *CAUTIONS])
def test_a_frozen_program_speaks_of_no_pip(facts: Facts, part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.frozen", True, raising=False)
    for finding in find_problems(facts):
        assert finding.hint and not re.search(r"\bpip\b|constraints|python -m|pytorch\.org|is built for", finding.hint)


def test_methods_that_fail_alike_are_one_finding() -> None:
    wrong = replace(GOOD_CHECK, outcome=Outcome.WRONG, problem="the result is wrong.")
    alike = replace(wrong, precision="fp4", label="FP4")
    elsewhere = replace(wrong, device="cuda:0")
    both, other = find_problems(replace(GOOD, checks=(wrong, alike, elsewhere)))
    assert both.message == "NF4, FP4 do not work on cpu: the result is wrong."
    assert other.message == "NF4 does not work on cuda:0: the result is wrong."


def test_what_will_not_work_comes_first() -> None:
    facts = replace(with_cpu(flags=NO_AVX512), qt=QtPlatform(), engine_error=CRASH)
    facts = replace(facts, folders=(replace(FOLDER, problem="denied"),))
    severities = [finding.severity for finding in find_problems(facts)]
    assert severities == [Severity.PROBLEM] * 2 + [Severity.CAUTION] * 2


def test_the_minimum_versions_are_those_of_the_package() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    declared = dict(re.findall(r"^([\w-]+)>=([\d.]+)", "\n".join(project["dependencies"]), re.MULTILINE))
    declared["PySide6"] = declared.pop("PySide6-Essentials")
    assert MINIMUM_VERSIONS.items() <= declared.items()


# ---- privacy --------------------------------------------------------------------------------------------------------

ALICE = Redaction(("/home/alice", "/mnt/disk/alice"), "alice", "wonder.example.org")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/home/alice", "~"),
        ("/home/alice/.cache/x", "~/.cache/x"),
        ("/mnt/disk/alice/x", "~/x"),
        ("cannot open /home/alice/lib.so: file:///home/alice.", "cannot open ~/lib.so: file://~."),
        ("/home/alicent/x", "/home/alicent/x"),
        ("/home/alice.old/x", "/home/<user>.old/x"),
        ("/media/alice/disk", "/media/<user>/disk"),
        ("/tmp/pytest-of-alice/0", "/tmp/pytest-of-<user>/0"),
        ("/backup/home/alice/x", "/backup/home/<user>/x"),
        ("Alice is on wonder and on WONDER.example.org", "<user> is on <host> and on <host>"),
        ("malice and wonderful", "malice and wonderful"),
    ],
)
def test_home_user_and_host_are_taken_out(text: str, shown: str) -> None:
    assert ALICE.apply(text) == shown


def test_windows_paths_are_shortened_whatever_their_case() -> None:
    redaction = Redaction(("C:\\Users\\Alice",), "Alice", "DESKTOP-1")
    assert redaction.apply("c:\\users\\alice\\AppData on desktop-1") == "~\\AppData on <host>"


def test_names_that_say_nothing_stay() -> None:
    assert Redaction(("/",), "root", "localhost").apply("/root of localhost") == "/root of localhost"
    assert Redaction((), "", "").apply("/home/alice") == "/home/alice"


# ---- flags --------------------------------------------------------------------------------------------------------

X86 = "processor\t: 0\nmodel name\t: Some CPU @ 2.0GHz\nflags\t\t: fpu fma avx2 f16c avx512f\n\n"
ARM = "processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd i8mm\n\n"


def test_flags_of_an_x86_processor() -> None:
    flags = cpu_flags(X86, "x86_64")
    assert tuple(flags) == X86_FLAGS
    assert {flag for flag, there in flags.items() if there} == {"fma", "avx2", "f16c", "avx512f"}
    assert cpu_flags(X86, "AMD64") == flags
    assert cpu_name(X86) == "Some CPU @ 2.0GHz"


def test_a_flag_counts_only_where_every_processor_has_it() -> None:
    assert not cpu_flags(X86 + X86.replace("avx2", ""), "x86_64")["avx2"]


def test_flags_of_an_arm_processor() -> None:
    assert cpu_flags(ARM, "aarch64") == {"asimd": True, "bf16": False, "i8mm": True, "sve": False}
    assert cpu_name(ARM) == ""


def test_flags_that_are_not_told_are_unknown() -> None:
    for text, architecture in (("", "x86_64"), (X86, "riscv64"), ("nonsense", "aarch64"), (X86, "arm64")):
        assert cpu_flags(text, architecture) == {}


# ---- the report ---------------------------------------------------------------------------------------------------


def test_the_text_has_every_section_and_aligned_columns() -> None:
    crashed = replace(GOOD_CHECK, precision="fp4", label="FP4", outcome=Outcome.FAILED, problem="Died.", detail="last")
    facts = replace(GOOD_GPU, checks=(GOOD_CHECK, crashed))
    text = diagnosis_text(Diagnosis(facts, find_problems(facts)))
    assert "  ! FP4 does not work on cpu: Died." in text
    assert "  NF4 on cpu  works (relative error 9.20 %, as expected)" in text
    assert "  FP4 on cpu  failed: Died." in text
    assert "  torch            2.13.0+cpu" in text
    assert "  GPU            A GPU, 20.0 GB of 24.0 GB free, CC 8.6" in text
    assert "  NVIDIA driver  580.65.06" in text
    assert "  platform  xcb (its plugin loads)" in text
    assert "  Settings  ~/.config/qplayground: writable, 100 GB free" in text
    assert "  History   ~/elsewhere: not there yet, can be made" in text
    assert text.endswith("The engine's last output\n  last")


def test_the_text_of_a_good_machine() -> None:
    text = diagnosis_text(Diagnosis(GOOD, ()))
    assert text.startswith(f"Findings\n  {NOTHING_WRONG}\n")
    assert "last output" not in text
    assert "unknown" in diagnosis_text(Diagnosis(with_cpu(flags={}, capability=""), ()))


def test_the_headline_counts_what_will_not_work() -> None:
    problem, caution = Finding(Severity.PROBLEM, "a", "b"), Finding(Severity.CAUTION, "a", "b")
    assert headline(Diagnosis(GOOD, ())) == NOTHING_WRONG
    assert headline(Diagnosis(GOOD, (caution,))) == "It works, with limits."
    assert headline(Diagnosis(GOOD, (problem, problem, caution))).startswith("2 problems:")


def test_a_demo_model_that_is_not_there_is_said_with_what_makes_it() -> None:
    shown = diagnosis_text(Diagnosis(facts=replace(GOOD, demo_model=False), findings=()))
    assert "not made yet: picking it in the window, or `qplayground compare --model demo`" in " ".join(shown.split())
    assert "not made" not in diagnosis_text(Diagnosis(facts=replace(GOOD, demo_model=True), findings=()))


def test_the_json_has_facts_findings_and_the_verdict() -> None:
    facts = replace(GOOD, qt=QtPlatform())
    told = json.loads(diagnosis_json(Diagnosis(facts, find_problems(facts))))
    assert told["works"] is True
    assert told["findings"][0]["severity"] == "caution"
    assert told["facts"]["checks"][0]["outcome"] == "works"
    assert told["facts"]["cpu"]["flags"]["avx2"] is True
