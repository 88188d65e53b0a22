"""What the doctor found, as text for a bug report and as JSON."""

import textwrap
from collections.abc import Iterable, Iterator

import msgspec

from qplayground.core.diagnosis.diagnosis import Cpu, Diagnosis, Facts, Finding, Folder, MethodCheck, Outcome, Severity
from qplayground.core.units import bytes_text, share_text

NOTHING_WRONG = "Nothing is known to be wrong here."

_NO_DEMO = "not made yet: picking it in the window, or `qplayground compare --model demo`, makes it"
_WIDTH = 100
_INDENT = "  "
_MARKS = {Severity.PROBLEM: "! ", Severity.CAUTION: "- "}
_OUTPUT_LINES = 15

Row = tuple[str, str]


def diagnosis_json(diagnosis: Diagnosis) -> bytes:
    """`works`, the findings and every fact; bytes throughout."""
    shown = {"works": diagnosis.works, "findings": diagnosis.findings, "facts": diagnosis.facts}
    return msgspec.json.format(msgspec.json.encode(shown), indent=2)


def diagnosis_text(diagnosis: Diagnosis) -> str:
    """Sections of plain lines, the findings first."""
    facts = diagnosis.facts
    sections = (
        ("Findings", list(_findings(diagnosis.findings))),
        ("Quantization, tried on a small matrix", _columns(_methods(facts))),
        ("Versions", _columns(_versions(facts))),
        ("Processor and memory", _columns(_processor(facts))),
        ("GPU", _columns(_gpus(facts))),
        ("Qt", _columns([("platform", _qt(facts))])),
        ("Folders", _columns((folder.purpose, _folder(folder)) for folder in facts.folders)),
        ("Environment", _columns(facts.environment.items())),
        ("The engine's last output", list(_output(facts))),
    )
    return "\n\n".join("\n".join([title, *lines]) for title, lines in sections if lines)


def headline(diagnosis: Diagnosis) -> str:
    """One sentence of what was found."""
    problems = sum(finding.severity is Severity.PROBLEM for finding in diagnosis.findings)
    if problems:
        return f"{problems} {'problem' if problems == 1 else 'problems'}: something will not work here."
    return "It works, with limits." if diagnosis.findings else NOTHING_WRONG


def _findings(findings: tuple[Finding, ...]) -> Iterator[str]:
    if not findings:
        yield f"{_INDENT}{NOTHING_WRONG}"
    for finding in findings:
        text = f"{finding.message} {finding.hint}"
        first = _INDENT + _MARKS[finding.severity]
        yield textwrap.fill(text, _WIDTH, initial_indent=first, subsequent_indent=" " * len(first))


def _methods(facts: Facts) -> Iterator[Row]:
    for check in facts.checks:
        yield f"{check.label} on {check.device}", _method(check)
    if not facts.checks:
        yield "nothing was tried", ""


def _method(check: MethodCheck) -> str:
    if check.outcome is Outcome.WORKS:
        return f"works (relative error {share_text(check.relative_error)}, as expected)"
    return f"{check.outcome}: {check.problem}"


def _versions(facts: Facts) -> list[Row]:
    versions = dict(facts.versions)
    own = versions.pop("qplayground", "")
    libraries = [(name, version or "not installed") for name, version in versions.items()]
    demo = [] if facts.demo_model is None else [("demo model", "made" if facts.demo_model else _NO_DEMO)]
    when = [("looked at", facts.when)] if facts.when else []
    return [("qplayground", own), ("Python", facts.python), *libraries, ("system", facts.system), *demo, *when]


def _processor(facts: Facts) -> list[Row]:
    cpu, ram = facts.cpu, facts.ram
    used = f"{cpu.capability}, {cpu.threads} threads" if cpu.capability else "unknown"
    limit = f" (limited; the machine has {bytes_text(ram.machine_bytes)})" if ram.limited else ""
    return [
        ("name", f"{cpu.name} ({cpu.architecture})"),
        ("flags", _flags(cpu, there=True)),
        ("without", _flags(cpu, there=False)),
        ("torch uses", used),
        ("RAM", f"{bytes_text(ram.available_bytes)} of {bytes_text(ram.total_bytes)} available{limit}"),
    ]


def _flags(cpu: Cpu, *, there: bool) -> str:
    if not cpu.flags:
        return "unknown"
    return " ".join(flag for flag, found in cpu.flags.items() if found is there) or "none"


def _gpus(facts: Facts) -> Iterator[Row]:
    for gpu in facts.gpus:
        capability = ".".join(map(str, gpu.compute_capability or ())) or "unknown"
        yield "GPU", f"{gpu.name}, {bytes_text(gpu.free_bytes)} of {bytes_text(gpu.total_bytes)} free, CC {capability}"
    if facts.mps:
        yield "GPU", "Apple's, through MPS"
    if not facts.gpus and not facts.mps:
        yield "GPU", "none"
    yield "NVIDIA driver", facts.driver or "none"
    cuda = facts.cuda
    if cuda is None:
        yield "torch's CUDA", "unknown"
        return
    usable = "" if cuda.torch_cuda is None else ", GPU usable" if cuda.available else ", no GPU usable"
    yield "torch's CUDA", f"{cuda.torch_cuda or 'none'}{usable}"
    yield "bitsandbytes", f"{cuda.library or 'no library'}; CUDA {', '.join(cuda.bitsandbytes_cuda) or 'none'}"


def _qt(facts: Facts) -> str:
    qt = facts.qt
    if not qt.names:
        return "no display"
    if qt.running:
        return f"{qt.names[0]} (in use)"
    loads = f"{qt.problem}" if qt.problem else "its plugin loads"
    return f"{', else '.join(qt.names)} ({loads})"


def _folder(folder: Folder) -> str:
    free = "" if folder.free_bytes is None else f", {bytes_text(folder.free_bytes)} free"
    can = "writable" if folder.is_there else "not there yet, can be made"
    return f"{folder.path}: {f'not writable, {folder.problem}' if folder.problem else can}{free}"


def _output(facts: Facts) -> Iterator[str]:
    details = [facts.engine_error.detail] if facts.engine_error is not None else []
    for detail in details + [check.detail for check in facts.checks]:
        for line in detail.splitlines()[-_OUTPUT_LINES:]:
            yield f"{_INDENT}{line}"


def _columns(rows: Iterable[Row]) -> list[str]:
    rows = list(rows)
    width = max((len(name) for name, _ in rows), default=0)
    return [f"{_INDENT}{name.ljust(width)}  {value}".rstrip() for name, value in rows]
