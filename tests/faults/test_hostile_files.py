"""Hostile model folders and texts: nothing is run, escapes its folder, becomes markup or reaches the network."""

import ast
import csv
import io
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from PySide6.QtWidgets import QApplication, QLabel, QWidget
from pytestqt.qtbot import QtBot

import qplayground
from qplayground.catalog.cache import cached_snapshot, scan_cache
from qplayground.catalog.download import SIDE_FILE, check_repo_id
from qplayground.catalog.inspect import inspect_folder
from qplayground.catalog.weights import FILE_NAME
from qplayground.core.comparison.results import Comparison
from qplayground.core.errors import ErrorCode, ErrorInfo, PlaygroundError
from qplayground.core.measures.quality import TextSource
from qplayground.core.messages.commands import EstimateMemory, Generate, Score
from qplayground.core.messages.events import Failed, Generated, Scored
from qplayground.core.model import ModelEntry, ModelSource, ModelTypes
from qplayground.core.placement import Placement
from qplayground.core.precision import READY_PRECISIONS
from qplayground.report.csv import to_csv
from qplayground.report.files import write_all
from qplayground.report.html import to_html
from qplayground.report.markdown import to_markdown
from qplayground.report.script import to_script
from qplayground.report.table import plain_table
from tests.comparisons import change_model, comparison, done, failed
from tests.daily import daily
from tests.engine import tiny
from tests.engine.conftest import carry_out
from tests.unit.catalog_files import cache_repo, write_model

PACKAGE = Path(qplayground.__file__).parent


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete model. Read-only."""
    return tiny.make(tmp_path_factory.mktemp("hostile") / "good")


@pytest.fixture
def folder(good: Path, tmp_path: Path) -> Path:
    """A copy of the model, to be made hostile."""
    return Path(shutil.copytree(good, tmp_path / "model"))


# ---- nothing from a folder is run -----------------------------------------------------------------------------------


class Marking:
    """Touches a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._marker,)


AUTO_MAP = {
    "AutoConfig": "configuration_x.XConfig",
    "AutoModel": "modeling_x.XModel",
    "AutoModelForCausalLM": "modeling_x.XForCausalLM",
    "AutoTokenizer": ["tokenization_x.XTokenizer", "tokenization_x.XTokenizer"],
    "AutoProcessor": "modeling_x.XProcessor",
}
MODULES = ["modeling_x", "tokenization_x", "configuration_x", "conftest", "sitecustomize", "usercustomize", "torch"]
MODULES += ["setup", "__init__", "custom_generate/generate", "custom_generate/__init__", "kernels/__init__", "llama"]
PICKLES = ["pytorch_model.bin", "training_args.bin", "optimizer.pt", "scheduler.pt", "adapter_model.bin", "vocab.pkl"]
PICKLES += [
    "vocab.bin",
    "rng_state.pth",
    "model.pkl",
    "tokenizer.pkl",
    "config.pickle",
    "state.npy",
    "pytorch_model.pt",
]


@pytest.fixture
def hostile(folder: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A complete model among files that each create a marker file when run, and that marker."""
    marker = tmp_path / "ran"
    code = f"import pathlib\npathlib.Path({str(marker)!r}).touch()\n"
    for name in MODULES:
        path = folder / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(code)
    for name in PICKLES:
        (folder / name).write_bytes(pickle.dumps(Marking(marker)))
    (folder / "x.pth").write_text(code.replace("\n", ";"))
    (folder / "tokenizer.model").write_bytes(pickle.dumps(Marking(marker)))
    (folder / "requirements.txt").write_text("evil\n")
    (folder / "custom_generate" / "requirements.txt").write_text("evil\n")
    (folder / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    adapter = {"base_model_name_or_path": "somebody/evil", "peft_type": "LORA", "auto_mapping": AUTO_MAP, "r": 8}
    tiny.edit_json(folder / "adapter_config.json", **adapter)
    tiny.edit_json(
        folder / "config.json", auto_map=AUTO_MAP, trust_remote_code=True, custom_pipelines={"a": {"impl": "x"}}
    )
    tiny.edit_json(folder / "generation_config.json", auto_map=AUTO_MAP, custom_generate="custom_generate/generate.py")
    tiny.edit_json(folder / "processor_config.json", auto_map=AUTO_MAP, processor_class="XProcessor")
    tiny.edit_json(folder / "preprocessor_config.json", auto_map=AUTO_MAP, image_processor_type="X")
    tiny.edit_json(folder / "tokenizer_config.json", trust_remote_code=True)
    return folder, marker


def use(folder: Path) -> list[Any]:
    """List, estimate, load, write and score, with the folder as working directory too."""
    inspect_folder(folder, source=ModelSource.FOLDER, model_types=ModelTypes(causal=frozenset({"llama"})))
    request = tiny.request(chat_template=True)
    path = str(folder)
    estimate = EstimateMemory(
        id=1, path=path, precisions=READY_PRECISIONS[:1], placement=Placement(device="cpu"), request=request
    )
    score = Score(
        id=3,
        source=TextSource.FILE,
        name="text",
        text="the cat sat on the mat " * 60,
        baseline=READY_PRECISIONS[0],
        reference="fp32",
        folder=str(folder.parent / "baselines"),
        limit_bytes=0,
    )
    return carry_out(estimate, tiny.load_command(folder, asked=request), Generate(id=2, request=request), score)


def test_nothing_in_a_folder_is_run(hostile: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, marker = hostile
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "stdin", None)
    events = use(folder)
    assert not [event for event in events if isinstance(event, Failed)]
    assert any(isinstance(event, Generated) for event in events)
    assert isinstance(events[-1], Scored) and events[-1].quality.perplexity is not None
    assert not marker.exists()
    pickle.loads((folder / "vocab.pkl").read_bytes())
    assert marker.exists()  # proves that unpickling would have run it


KEYS: list[tuple[str, dict[str, Any]]] = [
    ("config.json", {"model_type": "x"}),
    ("config.json", {"architectures": ["XForCausalLM"]}),
    ("config.json", {"attn_implementation": "somebody/kernel:evil"}),
    ("config.json", {"_attn_implementation": "somebody/kernel"}),
    ("config.json", {"experts_implementation": "somebody/kernel"}),
    ("config.json", {"use_kernels": True, "kernel_config": {"RMSNorm": "somebody/kernel:Evil"}}),
    ("config.json", {"quantization_config": {"quant_method": "modeling_x", "modules_to_not_convert": ["x"]}}),
    ("config.json", {"quantization_config": {"quant_method": "torchao", "quant_type": "modeling_x"}}),
    ("config.json", {"transformers_weights": "pytorch_model.bin"}),
    ("config.json", {"transformers_weights": "../../x.safetensors"}),
    ("config.json", {"dtype": "load"}),
    ("config.json", {"hidden_act": "modeling_x.X"}),
    ("config.json", {"tokenizer_class": "XTokenizer"}),
    ("tokenizer_config.json", {"tokenizer_class": "XTokenizer", "auto_map": AUTO_MAP}),
    ("tokenizer_config.json", {"tokenizer_class": "XTokenizer"}),
    ("tokenizer_config.json", {"tokenizer_class": "TransfoXLTokenizer", "pretrained_vocab_file": "vocab.pkl"}),
    ("tokenizer_config.json", {"tokenizer_class": "os.system", "tokenizer_file": "vocab.pkl"}),
    ("tokenizer_config.json", {"chat_template": "{% import 'modeling_x.py' as x %}"}),
    ("generation_config.json", {"custom_generate": "somebody/evil", "cache_implementation": "x"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "fields"), daily(KEYS, KEYS[0], KEYS[-2], KEYS[-1]), ids=lambda value: str(value)[:40]
)
def test_no_setting_of_a_folder_runs_anything(
    name: str, fields: dict[str, Any], hostile: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, marker = hostile
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "stdin", None)
    for variable in (
        "HF_TRUST_REMOTE_CODE",
        "TRUST_REMOTE_CODE",
        "TRANSFORMERS_TRUST_REMOTE_CODE",
        "ALLOW_ALL_KERNELS",
    ):
        monkeypatch.setenv(variable, "1")
    tiny.edit_json(folder / name, **fields)
    for event in use(folder):
        if isinstance(event, Failed) and "came before load" not in event.error.detail:
            assert event.error.code is not ErrorCode.INTERNAL, event.error
    assert not marker.exists()


def test_an_attention_from_the_hub_is_not_even_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the `kernels` package it would be downloaded and run. The model runs without it."""
    from transformers import modeling_utils

    asked: list[object] = []
    monkeypatch.setattr(modeling_utils, "is_kernel", lambda name: asked.append(name))
    tiny.edit_json(folder / "config.json", attn_implementation="somebody/kernel")
    assert isinstance(use(folder)[-1], Scored)
    assert "somebody/kernel" not in asked


def test_an_adapter_is_not_put_into_the_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Works without PEFT: the test looks at what transformers would hand to it."""
    from transformers.integrations import peft
    from transformers.models.auto import auto_factory

    found: list[str | None] = []
    look = auto_factory.find_adapter_config_file

    def looked(*arguments: Any, **options: Any) -> str | None:
        found.append(look(*arguments, **options))
        return found[-1]

    for module in (peft, auto_factory):
        monkeypatch.setattr(module, "is_peft_available", lambda: True)
        monkeypatch.setattr(module, "find_adapter_config_file", looked)
    tiny.edit_json(folder / "adapter_config.json", base_model_name_or_path="somebody/evil", peft_type="LORA")
    assert isinstance(carry_out(tiny.load_command(folder), Generate(id=2, request=tiny.request()))[-1], Generated)
    assert found and set(found) == {None}


# ---- remote code stays off ------------------------------------------------------------------------------------------

CLASSES = {"AutoConfig", "AutoTokenizer", "AutoModelForCausalLM", "AutoModel", "AutoProcessor"}


def _calls() -> Iterator[tuple[str, ast.Call]]:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                yield f"{path.relative_to(PACKAGE)}:{node.lineno}", node


def test_every_call_that_could_run_foreign_code_forbids_it() -> None:
    checked = 0
    for place, call in _calls():
        if not isinstance(call.func, ast.Attribute) or call.func.attr not in ("from_pretrained", "from_config"):
            continue
        options = {keyword.arg: keyword.value for keyword in call.keywords}
        trust = options.get("trust_remote_code")
        if call.func.attr == "from_config" and trust is None:
            continue  # makes a transformers class from a config that was already read
        if "gguf_file" in options and trust is None:
            continue  # the demo model's own file, which holds no code; off by default
        assert isinstance(trust, ast.Constant) and trust.value is False, place
        assert isinstance(options.get("local_files_only"), ast.Constant), place
        checked += 1
    assert checked >= 3


def test_nothing_that_runs_what_it_reads_is_called() -> None:
    forbidden = re.compile(
        r"\b(pickle|dill|joblib|marshal|shelve)\b|torch\.load\(|(?<![\w.])(eval|exec)\(|os\.system|shell=True"
        r"|trust_remote_code=True|allow_pickle=True|yaml\.load|__import__\("
    )
    for path in PACKAGE.rglob("*.py"):
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            code = re.sub(r'"[^"]*"|#.*', "", line)
            found = forbidden.search(code)
            if found and "pickle" in found[0] and "import" not in code:
                continue  # the word in a docstring
            assert not found, f"{path.name}:{number}: {line}"


# ---- names stay in the cache folder ---------------------------------------------------------------------------------

HOSTILE_IDS = [
    "..", "../..", "a/../../b", "/etc", "/etc/passwd", "a/b@../../x", "C:\\x", "a\\..\\b", "a/b\0", "a/b\n", "\u2025/a",
    "a/\u2024\u2024/b", "．．/a", "a//b", "./a", "~/a", "a/..", "a/.", "-a/b", "a/b.git", "models--a--b",
    "a--b/c", "a/b/c",
    "file:///etc/passwd", "https://evil.example/a", "%2e%2e/a", "a/b?x=1", "a/b#x", "", " ",
    "a/" + "b" * 300, "\ud800/a",
]  # fmt: skip


@pytest.mark.parametrize("repo_id", HOSTILE_IDS, ids=ascii)
def test_a_hub_id_never_leaves_the_cache(repo_id: str, tmp_path: Path) -> None:
    from huggingface_hub.file_download import repo_folder_name

    cache = tmp_path / "cache"
    cache.mkdir()
    (tmp_path / "config.json").write_text("{}")
    try:
        check_repo_id(repo_id)
    except PlaygroundError as error:
        assert error.info.code is ErrorCode.MODEL_NOT_FOUND and error.info.hint
        return
    name = repo_folder_name(repo_id=repo_id, repo_type="model")
    assert (cache / name).resolve().parent == cache.resolve() and cached_snapshot(repo_id, cache) is None


@pytest.mark.parametrize(
    "name",
    ["../x.json", "/etc/x.json", "a/b.json", "..", ".", "", "a\0.json", "a\n.json", "-o.json", "..\\x.json", "C:x.json",
     ".bashrc", "modeling_x.py", "vocab.pkl", "pytorch_model.bin", "x.pth", "x.so", "x.json.py", "．．／x.json"],
    ids=ascii,
)  # fmt: skip
def test_a_file_of_the_hub_that_is_not_fetched(name: str) -> None:
    assert not (FILE_NAME.fullmatch(name) and SIDE_FILE.fullmatch(name))


def test_a_cache_that_points_out_of_itself(tmp_path: Path) -> None:
    outside = write_model(tmp_path / "outside")
    repo = cache_repo(tmp_path / "cache", "a/b").parents[1]
    for target in ("../../../outside", str(outside), "..", ".", "\0", "x" * 300):
        (repo / "refs" / "main").write_text(target)
        found = scan_cache(None, tmp_path / "cache")
        assert all(entry.path is None or str(outside) not in entry.path for entry in found)


# ---- reports --------------------------------------------------------------------------------------------------------

EVIL = [
    "<script>alert(1)</script>", "</pre></p></section><img src=x onerror=alert(1)>", "<!-- ",
    "]]><svg onload=x>", "&#60;b&#62;",
    "[x](javascript:alert(1))", "![x](http://evil.example/x.png)", "`````\n# mine", "| a | b |\n|---|---|",
    "\x1b[2J\x1b]0;x\x07",
    "a\0b", "\u202e\u2066gpj.exe", "=1+1", "+cmd|' /C calc'!A0", "-1", "@SUM(A1)", "\t=1",
    "\r\n=1", '" onmouseover="x', "' or 1",
    '"""\nimport os\n', "\\", "{0.__class__} %s {title}", "<style>*{}</style>",
    "<a href='javascript:x'>x</a>", "\ufeffx", "\u2028x",
]  # fmt: skip
ELEMENTS = {
    "html", "meta", "title", "style", "h1", "h2", "h3", "p", "br", "div", "table", "tr", "th", "td", "small",
    "sup", "span",
    "section", "figure", "figcaption", "svg", "rect", "line", "text", "g", "ins", "del", "path",
}  # fmt: skip
ATTRIBUTES = {
    "lang",
    "charset",
    "name",
    "content",
    "http-equiv",
    "class",
    "title",
    "style",
    "role",
    "aria-label",
    "viewbox",
}
ATTRIBUTES |= {
    "x",
    "y",
    "x1",
    "x2",
    "y1",
    "y2",
    "width",
    "height",
    "fill",
    "rx",
    "text-anchor",
    "dominant-baseline",
    "d",
}


def evil(text: str) -> Comparison:
    """A comparison with that text in every field that the program does not control."""
    broken = failed("int8")
    broken.error = ErrorInfo(ErrorCode.BAD_FILE, text, text, text)
    own = done("nf4", text)
    own.precision = replace(own.precision, label=text)
    own.caution = text
    made = comparison(done(text=text), own, broken, model=text, prompt=text)
    assert made.environment is not None
    change_model(made, source=ModelSource.FOLDER, architecture=text, path=text, provenance=text)
    made.environment = replace(made.environment, cpu=text, gpus=(text,), versions={text: text}, platform=text)
    made.started_at = text
    return made


class Strict(HTMLParser):
    """Fails on elements and attributes that the report does not use itself, and on anything that would be fetched."""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert tag in ELEMENTS, tag
        for name, value in attributes:
            assert name in ATTRIBUTES, name
            assert ("url(" not in (value or "") and "javascript:" not in (value or "")) or name == "title"

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    def handle_pi(self, data: str) -> None:
        raise AssertionError(data)


@pytest.mark.parametrize("text", EVIL, ids=ascii)
def test_no_text_becomes_anything_else_in_a_report(text: str) -> None:
    made = evil(text)
    page = to_html(made)
    Strict().feed(page)
    assert "default-src 'none'" in page
    outside = re.sub(r"(?ms)^(`{3,})text\n.*?\n\1$", "", to_markdown(made).replace("\r\n", "\n"))
    assert not re.search(r"(?<!\\)<[a-zA-Z/!]", outside) and not re.search(r"(?<!\\)\]\(", outside)
    for row in csv.reader(io.StringIO(to_csv(made))):
        assert not [cell for cell in row if cell.startswith(("=", "+", "-", "@", "\t", "\r"))], row
    assert "\x1b" not in plain_table(made) and "\0" not in plain_table(made)
    for run in made.runs:
        tree = ast.parse(to_script(made, run).replace("\0", ""))
        assert not [node for node in tree.body if isinstance(node, ast.Import) and node.names[0].name == "os"]


def test_names_of_runs_become_no_paths(tmp_path: Path) -> None:
    written = write_all(evil("../x"), tmp_path / "out")
    assert {path.parent for path in written} == {tmp_path / "out"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


# ---- the window -----------------------------------------------------------------------------------------------------

MARKUP = "<img src='file:///etc/hostname'><b>bold</b>"


def as_markup(widget: QWidget) -> list[str]:
    """The texts in a widget that Qt would take for markup, and that contain our text unescaped."""
    labels = [label for label in widget.findChildren(QLabel) if label.textFormat() != label.textFormat().PlainText]
    shown = [label.text() for label in labels] + [inner.toolTip() for inner in [widget, *widget.findChildren(QWidget)]]
    return [text for text in shown if "<img" in text]


def test_the_model_bar_shows_names_and_errors_as_they_are(
    qtbot: QtBot, qapp: QApplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PySide6.QtCore import Qt

    from qplayground.runtime.models import library as library_module
    from qplayground.runtime.models.library import Library
    from qplayground.runtime.processes.launcher import Launcher
    from qplayground.ui.setup.model_bar import ModelBar

    library = Library(Launcher("tests.fakes.engine", fork=False))
    bar = ModelBar(library, [])
    qtbot.addWidget(bar)
    problem = ErrorInfo(ErrorCode.BAD_FILE, MARKUP, MARKUP, MARKUP)
    for entry in (
        ModelEntry(
            id=MARKUP, source=ModelSource.FOLDER, path="/x", architecture=MARKUP, complete=True, provenance=MARKUP
        ),
        ModelEntry(id=MARKUP, source=ModelSource.FOLDER, path="/x", problem=problem),
    ):
        monkeypatch.setattr(library_module, "list_models", lambda types, folders, entry=entry: [entry])
        with qtbot.waitSignal(library.entries_changed, timeout=10_000):
            library.refresh()
        bar.show_error(problem)
        tips = [bar.models.model().index(0, 0).data(Qt.ItemDataRole.ToolTipRole)]
        assert MARKUP.replace("<", "&lt;")[:10] in tips[0].replace("'", "&#x27;")
        assert as_markup(bar) == [] and "<img" not in tips[0]
        assert MARKUP in bar.error.text()
    library.close()


def test_other_parts_of_the_window_show_foreign_texts_as_they_are(qtbot: QtBot, qapp: QApplication) -> None:
    from qplayground.runtime.storage.preferences import Preferences
    from qplayground.ui.setup.precision_panel import PrecisionPanel
    from qplayground.ui.setup.prompt_box import PromptBox
    from qplayground.ui.widgets import theme

    preferences = Preferences.load()
    prompt, panel = PromptBox(preferences), PrecisionPanel(preferences)
    for widget in (prompt, panel):
        qtbot.addWidget(widget)
    prompt.show_error(MARKUP)
    panel.set_size_text("fp32", MARKUP, MARKUP)
    assert as_markup(prompt) == as_markup(panel) == []
    assert theme.literal("a plain text") == "a plain text" and "<img" not in theme.literal(MARKUP)


def test_every_label_whose_text_can_change_is_plain() -> None:
    """Qt guesses whether text is markup, and would read the pictures that it names."""
    for path in (PACKAGE / "ui").rglob("*.py"):
        source = path.read_text("utf-8")
        for name in re.findall(r"(self\.\w+|\w+) = QLabel\(\)", source):
            assert f"{name}.setTextFormat(Qt.TextFormat.PlainText)" in source, f"{path.name}: {name}"


# ---- no network access ----------------------------------------------------------------------------------------------

GUARD = """
import os, socket
def _refuse(name):
    def refuse(*arguments, **options):
        family = getattr(arguments[0], "family", None) if arguments else None
        if family == getattr(socket, "AF_UNIX", -1):
            return _kept[name](*arguments, **options)
        with open({log!r}, "a") as log:
            log.write(f"{{name}} {{arguments!r}}\\n")
        raise OSError("no network in this test")
    return refuse
_kept = {{name: getattr(socket.socket, name) for name in ("connect", "connect_ex", "sendto")}}
for _name in _kept:
    setattr(socket.socket, _name, _refuse(_name))
for _name in ("getaddrinfo", "gethostbyname", "create_connection"):
    setattr(socket, _name, _refuse(_name))
with open({log!r} + ".there", "a") as _there:
    _there.write(f"{{os.getpid()}}\\n")
"""


def run_guarded(arguments: list[str], tmp_path: Path) -> "tuple[subprocess.CompletedProcess[str], str, int]":
    """Run Python with the network blocked. Returns the result, attempted connections, and the number of processes."""
    log = tmp_path / "attempts"
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(GUARD.format(log=str(log)))
    environment = {key: value for key, value in os.environ.items() if key != "HF_HUB_OFFLINE"}
    environment["PYTHONPATH"] = os.pathsep.join([str(site), str(PACKAGE.parent)])
    ran = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment, timeout=120)
    attempts = log.read_text() if log.exists() else ""
    there = log.with_name("attempts.there")
    return ran, attempts, len(there.read_text().split()) if there.exists() else 0


def test_the_guard_notices(tmp_path: Path) -> None:
    ran, attempts, _ = run_guarded(["-c", "import urllib.request as r; r.urlopen('http://a.example')"], tmp_path)
    assert ran.returncode != 0 and "a.example" in attempts


@pytest.mark.parametrize("command", daily(["compare", "estimate"], "compare"))
def test_a_model_that_is_here_calls_nobody(command: str, hostile: tuple[Path, Path], tmp_path: Path) -> None:
    """This includes a model with an adapter for a hub model, and a hub library that is not switched offline."""
    folder, marker = hostile
    arguments = ["-m", "qplayground", command, "--model", str(folder), "--precisions", "fp32,nf4", "--json", "-"]
    arguments += ["--max-new-tokens", "3", "--quality", "builtin"] if command == "compare" else []
    ran, attempts, processes = run_guarded(arguments, tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert attempts == "" and processes >= 2
    assert not marker.exists()
    found = json.loads(ran.stdout)
    if command == "compare":
        assert [each["state"] for each in found["runs"]] == ["done", "done"]


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "command",
    [
        ("inspect", "--methods", "nf4", "--block-sizes", "64", "--json", "-"),
        ("doctor", "--json", "-"),
        ("models", "--json", "-"),
    ],
    ids=lambda command: command[0],
)
def test_looking_at_models_and_at_this_machine_calls_nobody(
    command: tuple[str, ...], hostile: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, marker = hostile
    arguments = [*command, "--model", str(folder)] if command[0] == "inspect" else [*command]
    ran, attempts, processes = run_guarded(["-m", "qplayground", *arguments], tmp_path)
    assert ran.returncode in ((0, 1) if command[0] == "doctor" else (0,)), ran.stderr
    assert json.loads(ran.stdout) is not None
    assert attempts == "" and processes >= 2  # an engine is asked too
    assert not marker.exists()


@pytest.mark.exhaustive
def test_the_window_calls_nobody(hostile: tuple[Path, Path], tmp_path: Path) -> None:
    """From its start, through a comparison with scoring, to its end."""
    folder, marker = hostile
    ran, attempts, processes = run_guarded(["-m", "tests.faults.comparing_window", str(folder)], tmp_path)
    assert ran.returncode == 0, ran.stderr
    ends = ran.stdout.splitlines()
    assert len(ends) >= 2 and all(end.endswith("done scored") for end in ends), (ends, ran.stderr)
    assert attempts == "" and processes >= 2
    assert not marker.exists()
