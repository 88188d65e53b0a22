"""The program as people start it: exit codes, output streams, Ctrl-C, and no display."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from qplayground import __version__
from qplayground.console.arguments import COMMANDS, build_parser, split_files
from qplayground.core.comparison.results import to_json
from qplayground.core.generation import GenerationSettings
from qplayground.runtime.storage.preferences import Preferences
from tests.comparisons import comparison
from tests.comparisons import done as done_run
from tests.daily import daily
from tests.engine import tiny
from tests.process.command_line import SCRIPTED, Running, check_refused, run, run_scripted
from tests.unit.catalog_files import cache_repo, write_model
from tests.unit.stub_hub import running_hub


@pytest.fixture
def demo_cache(demo_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the program find the prepared demo model in the cache."""
    monkeypatch.setenv("QPLAYGROUND_CACHE", str(demo_model.parent.parent))
    return demo_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that passes for a model until an engine reads it."""
    return write_model(tmp_path / "a model")


# ---- without an engine --------------------------------------------------------------------------------------------


def test_help_names_the_commands() -> None:
    done = run("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"compare\s+compare precisions", done.stdout)
    assert re.search(r"models\s+list the models", done.stdout)


def test_files_are_told_from_commands(tmp_path: Path) -> None:
    there = tmp_path / "saved"
    there.touch()
    assert split_files(["a.json", "--watchdog", str(there)]) == (["--watchdog"], [Path("a.json"), there])
    long = ["compare", "--prompt", "word " * 5000]
    for others in (["compare"], ["compare", "--json", "a.json"], ["compair"], long[2:], long, ["--version"], []):
        assert split_files(others) == (others, [])


def test_commands_are_those_that_the_parser_knows() -> None:
    assert tuple(re.findall(r"^    (\w+) ", build_parser().format_help(), re.MULTILINE)) == COMMANDS


def test_a_saved_comparison_without_a_display_is_a_table(tmp_path: Path) -> None:
    saved = tmp_path / "one.qplayground.json"
    saved.write_bytes(to_json(comparison(done_run("fp32"), done_run("nf4"))))
    done = run(str(saved), DISPLAY="", WAYLAND_DISPLAY="", QT_QPA_PLATFORM="")
    assert done.returncode == 0, done.stderr
    assert "nf4" in done.stdout


OPENING = """
import functools
import sys
from PySide6.QtCore import QTimer
from qplayground import cli
from qplayground.runtime.processes import launcher
from qplayground.ui import application

def make_window(launcher, files, made=application.make_window):
    window = made(launcher, files)
    window.start_up.charts_ready.connect(lambda: QTimer.singleShot(0, lambda: look_and_close(window)))
    return window

def look_and_close(window):
    for reader in window.readers.windows:
        print(*(run.id for run in reader.comparisons[0].runs))
    window.close()

if __name__ == "__main__":
    application.make_window = make_window
    launcher.Launcher = functools.partial(launcher.Launcher, "tests.fakes.engine")
    sys.exit(getattr(cli, sys.argv[1])(sys.argv[2:]))
"""


@pytest.mark.parametrize("command", ["main", "main_window"])
def test_saved_comparisons_that_are_named_are_opened_beside_the_window(tmp_path: Path, command: str) -> None:
    for name, precisions in (("one", ("fp32", "nf4")), ("two", ("fp32", "int8"))):
        saved = comparison(*(done_run(precision) for precision in precisions))
        (tmp_path / f"{name}.json").write_bytes(to_json(saved))
    script = tmp_path / "opening.py"
    script.write_text(OPENING)
    done = subprocess.run(
        [sys.executable, str(script), command, str(tmp_path / "one.json"), str(tmp_path / "two.json")],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        timeout=300,
    )
    assert (done.returncode, done.stdout.splitlines()) == (0, ["fp32 nf4", "fp32 int8"]), done.stderr


def test_help_of_compare_names_every_setting() -> None:
    done = run("compare", "--help")
    assert done.returncode == 0
    for name in GenerationSettings.__struct_fields__:
        option = {"do_sample": "sample"}.get(name, name).replace("_", "-")
        assert f"--{option}" in done.stdout


def test_help_tells_the_exit_codes() -> None:
    for arguments in (["--help"], ["compare", "--help"]):
        assert "2 wrong usage" in " ".join(run(*arguments).stdout.split())


def test_version() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"qplayground {__version__}\n")


FOLDER = ["--model", "a model"]
"""A folder that passes for a model until an engine reads it."""
REFUSED = [
    (["reboot"], "invalid choice: 'reboot'"),
    (["missing.json"], "No such file"),
    (["other.json"], "not a comparison"),
    (["compare", "--max-new-tokens", "many"], "invalid int value: 'many'"),
    (["compare", "--unheard-of"], "unrecognized arguments"),
    (["compare", "--precisions", "fp32,nf5"], "There is no precision named 'nf5'. Known ones: fp32, bf16"),
    (["compare", "--precisions", " , "], "No precision is named."),
    (["compare", "--precisions", "nf4,nf4", *FOLDER], "named twice"),
    (["compare", "--prompt", " \n"], "The prompt is empty."),
    (["compare", "--prompt", "\udcff", *FOLDER], "not valid text"),
    (["compare", "--max-new-tokens", "0"], "Max new tokens must be between"),
    (["compare", "--temperature", "nan", "--sample"], "The temperature must be"),
    (["compare", "--top-p", "1.5", "--sample"], "Top-p must be"),
    (["compare", "--top-k", "-1", "--sample"], "Top-k must be"),
    (["compare", "--repetition-penalty", "0"], "The repetition penalty must be"),
    (["compare", "--seed", "-1", "--sample"], "The seed must be"),
    (["compare", "--temperature", "0.5", "--seed", "7"], "--temperature, --seed without --sample"),
    (["compare", "--model", "./no/such/folder"], "There is no folder ./no/such/folder"),
    (["compare", "--model", "/no/such/folder"], "There is no folder /no/such/folder"),
    (["compare", "--model", "empty"], "config.json"),
    (["compare", "--device-map", "sequential"], "'sequential' is not the name of a device"),
    (["compare", "--device-map", "no/such/map.json"], "cannot be read"),
    (["compare", "--max-memory", "cpu=banana"], "'cpu=banana' is not a memory limit"),
    (["compare", "--max-memory", "cpu=1GB", "--device-map", "cpu"], "Memory limits have no effect"),
    (["compare", "--threads", "0"], "0 threads compute nothing"),
    (["compare", "--precisions", "fp32", "--baseline", "q9", *FOLDER], "baseline 'q9' is not among"),
    (["compare", "--runs", "0", *FOLDER], "1 to 100 rounds"),
    (["compare", "--runs", "3", "--sample", *FOLDER], "A benchmark is greedy"),
    (["compare", "--out", "/proc/nowhere", *FOLDER], "/proc/nowhere cannot be written"),
    (["compare", "--json", "no/such/folder/result.json", *FOLDER], "no/such/folder/result.json cannot be written:"),
    (["compare", "--json", ".", *FOLDER], ". cannot be written:"),
    (["models", "--json", "no/such/folder/result.json"], "no/such/folder/result.json cannot be written:"),
    (["models", "--json", "."], ". cannot be written:"),
    (["estimate", "--threads", "many"], "invalid int value: 'many'"),
    (["estimate", "--model", " "], "The model's name is empty."),
    (["estimate", "--model", "/no/such/folder"], "There is no folder /no/such/folder"),
    (["estimate", "--context", "0", *FOLDER], "'0' is not a number of tokens"),
    (["estimate", "--precisions", "fp32,nf5", *FOLDER], "There is no precision named 'nf5'"),
    (["estimate", "--precisions", "nf4,nf4", *FOLDER], "named twice"),
    (["estimate", "--json", "no/such/folder/x.json", *FOLDER], "cannot be written"),
    (["inspect", "--methods", "nf5", *FOLDER], "There is no method named 'nf5'"),
    (["inspect", "--block-sizes", "63", *FOLDER], "'63' is no block size"),
    (["inspect", "--dtype", "float8", *FOLDER], "invalid choice: 'float8'"),
    (["inspect", "--model", "/no/such/folder"], "There is no folder /no/such/folder"),
    (["inspect", "--model", "empty"], "config.json"),
    (["inspect", "--json", "no/such/folder/x.json", *FOLDER], "cannot be written"),
    (["doctor", "--json", "no/such/folder/x.json"], "cannot be written"),
]
REFUSING = """
import contextlib, io, json, sys
from qplayground import cli

done = []
for arguments in json.loads(sys.argv[1]):
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        try:
            code = cli.main(arguments)
        except SystemExit as end:
            code = end.code
    done.append((code, output.getvalue(), errors.getvalue()))
json.dump(done, sys.stdout)
"""
Answers = dict[str, "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    """The program's answer to each of REFUSED, in one process because the start takes longest."""
    place = tmp_path_factory.mktemp("refused")
    write_model(place / "a model")
    (place / "empty").mkdir()
    (place / "other.json").write_text("{}")
    asked = [arguments for arguments, _ in REFUSED]
    display = dict.fromkeys(("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"), "")
    kept = {f"QPLAYGROUND_{name}": str(place / name) for name in ("CONFIG", "CACHE")} | {"HF_HOME": str(place / "hf")}
    done = subprocess.run(
        [sys.executable, "-c", REFUSING, json.dumps(asked)],
        capture_output=True,
        text=True,
        cwd=place,
        env={**os.environ, **display, **kept},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return {
        str(arguments): subprocess.CompletedProcess(arguments, *answer)
        for arguments, answer in zip(asked, found, strict=True)
    }


@pytest.mark.parametrize(("arguments", "part"), REFUSED)
def test_wrong_usage(arguments: list[str], part: str, answers: Answers) -> None:
    done = answers[str(arguments)]
    check_refused(done, part, code=1 if "empty" in arguments else 2)  # that folder exists, but is not a model
    assert "starting" not in done.stderr  # the error comes before any work


def test_wrong_usage_ends_the_program_with_a_code_of_its_own(tmp_path: Path) -> None:
    check_refused(run("compare", "--model", str(tmp_path / "none")), "There is no folder")


def test_what_is_wrong_with_a_model_is_no_wrong_usage(tmp_path: Path) -> None:
    """Whether the model's files show it or only an engine finds it."""
    (write_model(tmp_path / "model") / "config.json").write_text("{")
    check_refused(run("compare", "--model", str(tmp_path / "model")), "config.json cannot be read as JSON", code=1)


def test_a_name_that_is_nothing_here_is_said_to_be_that(tmp_path: Path) -> None:
    done = run("estimate", "--model", "smolm", HF_HUB_OFFLINE="1")
    assert done.returncode == 1
    assert "smolm is neither a folder nor a model in the Hugging Face cache." in done.stderr
    assert "Perhaps demo is meant." in run("estimate", "--model", "demoo", HF_HUB_OFFLINE="1").stderr


def test_a_file_in_the_place_of_a_folder_is_said_to_be_one(folder: Path) -> None:
    check_refused(run("compare", "--model", str(folder / "config.json")), "config.json is a file.")


def test_without_a_display_there_is_nothing_to_watch() -> None:
    done = run_scripted("--watchdog", DISPLAY="", WAYLAND_DISPLAY="", QT_QPA_PLATFORM="")
    assert done.returncode == 1 and "--watchdog watches the window" in done.stderr


def test_a_gpu_that_is_not_there_is_wrong_usage(folder: Path) -> None:
    check_refused(run_scripted("compare", "--model", str(folder), "--device", "cuda:97"), "There is no device cuda:97")


# ---- with an engine -----------------------------------------------------------------------------------------------


def test_models_as_json(folder: Path, tmp_path: Path) -> None:
    """Lists the demo model, the cache and the opened folders. The output is UTF-8 even in an ASCII terminal."""
    unusual = folder.rename(tmp_path / "modèle")
    preferences = Preferences.load()
    preferences.remember_folder(unusual)
    preferences.close()
    write_model(cache_repo(Path(os.environ["HF_HUB_CACHE"]), "owner/name"))
    bert = {"model_type": "bert", "architectures": ["BertModel"]}
    write_model(cache_repo(Path(os.environ["HF_HUB_CACHE"]), "owner/encoder"), bert)
    done = run("models", "--json", "-", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    models = json.loads(done.stdout)["models"]
    assert [model["id"] for model in models] == ["demo", "owner/name", str(unusual)]  # an encoder cannot generate text
    for model in models:
        assert set(model) >= {"id", "source", "path", "architecture", "parameters", "size_bytes", "complete"}
    assert [model["source"] for model in models] == ["demo", "cache", "folder"]
    assert [model["complete"] for model in models] == [False, True, True]
    assert models[2]["path"] == str(unusual)
    assert (models[1]["architecture"], models[1]["parameters"]) == ("LlamaForCausalLM", 6)


def test_a_precision_that_fails_is_exit_1_and_in_the_json(folder: Path, tmp_path: Path) -> None:
    """The folder's only tensor does not make a Llama, which only an engine can tell."""
    target = tmp_path / "result.json"
    done = run("compare", "--model", str(folder), "--precisions", "fp32,nf4", "--json", str(target))
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    result = json.loads(target.read_bytes())
    for run_ in result["runs"]:
        assert run_["state"] == "failed"
        assert run_["error"]["code"] != "internal"
        assert run_["error"]["message"] in done.stdout
        assert f"{run_['id']}: failed" in done.stderr
        assert run_["error"]["detail"] and run_["error"]["detail"] not in done.stderr
    assert "Add --verbose" in done.stderr
    assert done.stderr.count(result["runs"][0]["error"]["message"]) == 1
    assert "nf4: failed for the same reason" in done.stderr


def test_what_does_not_fit_is_said_before_it_is_loaded_all_the_same(tmp_path: Path) -> None:
    """The scripted engine estimates terabytes for this model."""
    model = write_model(tmp_path / "huge")
    done = run_scripted("compare", "--model", str(model), "--precisions", "fp32,bf16,nf4")
    assert done.returncode == 0, done.stderr
    said = done.stderr.splitlines()
    too_large = "fp32 needs 538 TB where 280 TB are available; it is loaded anyway"
    tight = "bf16 needs 269 TB where 280 TB are available; that is tight"
    assert [line for line in said if " needs " in line] == [too_large, tight]
    assert said.index(too_large) < said.index("fp32: loading") < said.index(tight) < said.index("bf16: loading")


@pytest.mark.exhaustive
def test_an_estimate_for_a_gpu_that_is_not_there_is_wrong_usage(folder: Path) -> None:
    check_refused(run("estimate", "--model", str(folder), "--device", "cuda:97"), "There is no device cuda:97")


@pytest.mark.exhaustive
def test_an_estimate_is_what_the_comparison_then_holds(demo_cache: Path) -> None:
    names = "bf16,int8,nf4-dq"
    asked = run("estimate", "--precisions", names, "--json", "-")
    assert asked.returncode == 0, asked.stderr
    estimate = json.loads(asked.stdout)
    ran = run("compare", "--precisions", names, "--max-new-tokens", "5", "--json", "-")
    runs = {each["id"]: each["memory"] for each in json.loads(ran.stdout)["runs"]}
    assert estimate["model"] == "demo"
    for row in estimate["precisions"]:
        memory = runs[row["precision"]]
        assert row["weight_bytes"] == memory["weight_bytes"] == memory["predicted_weight_bytes"]
        assert row["by_kind"] == memory["by_kind"] and sum(row["by_kind"].values()) == row["weight_bytes"]
        assert row["fits"] in ("fits", "tight") and row["error"] is None
        assert row["load_peak_bytes"] > row["weight_bytes"] and row["resident_bytes"] > row["weight_bytes"]
        assert memory["unforeseen"] == []
        assert memory["anonymous_bytes"] + memory["file_bytes"] == memory["resident_bytes"]
        assert {phase["name"] for phase in memory["phases"]} >= {"start", "copy", "warm-up", "prefill", "decode"}


@pytest.mark.exhaustive
def test_a_model_on_the_hub_is_estimated_without_its_weights(tmp_path: Path) -> None:
    folder = tiny.make(tmp_path / "tiny", "llama-tied")
    here = json.loads(run("estimate", "--model", str(folder), "--context", "50", "--json", "-").stdout)
    with running_hub() as hub:
        hub.repos["owner/tiny"] = {path.name: path.read_bytes() for path in folder.iterdir()}
        there = run(
            *("estimate", "--model", "owner/tiny", "--context", "50", "--json", "-"),
            HF_ENDPOINT=hub.url,
            HF_HUB_OFFLINE="0",
            HF_HOME=str(tmp_path / "hf"),
            HF_HUB_CACHE=str(tmp_path / "hf" / "hub"),
            NO_PROXY="127.0.0.1",
        )
    assert there.returncode == 0, there.stderr
    found = json.loads(there.stdout)
    assert found["model"] == "owner/tiny"
    for one, other in zip(found["precisions"], here["precisions"], strict=True):
        assert (one["by_kind"], one["kv_cache_bytes"]) == (other["by_kind"], other["kv_cache_bytes"])
    assert not list((tmp_path / "hf" / "hub").glob("**/*.safetensors"))


@pytest.mark.exhaustive
def test_an_estimate_as_a_table(tmp_path: Path) -> None:
    folder = tiny.make(tmp_path / "tiny")
    asked = run("estimate", "--model", str(folder), "--precisions", "fp32,nf4,fp4", "--context", "100")
    assert asked.returncode == 0, asked.stderr
    lines = asked.stdout.splitlines()
    assert (
        lines[0].split()[:2] == ["Precision", "Weights"]
        and lines[2].startswith("fp32 ")
        and lines[3].startswith("nf4 ")
    )
    assert "a text of 100 tokens" in lines[-1]
    assert "Load peak leaves out the KV cache" in asked.stdout


SHORT = ("--precisions", "fp32,nf4", "--max-new-tokens", "8", "--threads", "1", "--json", "-")


@pytest.fixture(scope="module")
def compared(demo_model: Path, tmp_path_factory: pytest.TempPathFactory) -> "subprocess.CompletedProcess[str]":
    """The demo model compared in fp32 and nf4."""
    return run(
        *("compare", "--model", "demo", *SHORT),
        PYTHONIOENCODING="ascii",
        QPLAYGROUND_CACHE=str(demo_model.parent.parent),
        QPLAYGROUND_CONFIG=str(tmp_path_factory.mktemp("config")),
    )


def test_a_comparison_as_json(compared: "subprocess.CompletedProcess[str]") -> None:
    done = compared
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)  # nothing but JSON
    assert set(result) >= {"schema", "environment", "prompt", "settings", "baseline", "runs"}
    assert (result["schema"], result["prompt"], result["baseline"]) == (2, "The future of AI is", "fp32")
    assert (result["runs"][0]["model"]["id"], result["runs"][0]["model"]["source"]) == ("demo", "demo")
    assert result["runs"][0]["model"]["parameters"] == 134_515_008
    assert result["environment"]["versions"]["torch"]
    assert result["settings"]["max_new_tokens"] == 8
    assert [run["id"] for run in result["runs"]] == ["fp32", "nf4"]
    for run_ in result["runs"]:
        _check_done(run_, tokens=8)
    weights = [run_["memory"]["weight_bytes"] for run_ in result["runs"]]
    assert weights[1] < weights[0] / 3
    assert "fp32: done" in done.stderr


def _check_done(run: dict[str, Any], tokens: int) -> None:
    assert (run["state"], run["error"]) == ("done", None)
    assert run["text"].strip()
    assert (len(run["token_ids"]), run["finish_reason"]) == (tokens, "length")
    assert run["prompt_tokens"] > 0
    assert run["device_map"]
    assert run["load"]["seconds"] > 0
    assert run["speed"]["ttft_s"] > 0
    assert run["speed"]["decode_tokens_per_s"] > 0
    memory = run["memory"]
    assert memory["peak_resident_bytes"] >= memory["resident_bytes"] > memory["weight_bytes"] > 0
    assert {"vram_allocated_bytes", "vram_peak_bytes"} <= set(memory)


@pytest.mark.exhaustive
@pytest.mark.demo
def test_a_placement_and_what_came_of_it_are_in_the_json(
    compared: "subprocess.CompletedProcess[str]", demo_cache: Path, tmp_path: Path
) -> None:
    """The demo model takes 538 MB in fp32, so a part goes to disk. In nf4 it fits."""
    whole = json.loads(compared.stdout)
    limited = ["--device-map", "auto", "--max-memory", "cpu=300MB"]
    done = run("compare", *SHORT, *limited, "--offload-folder", str(tmp_path / "away"))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["placement"]["max_memory"] == {"cpu": 300_000_000} and found["placement"]["threads"] == 1
    first, second = found["runs"]
    assert set(first["device_map"].values()) == {"cpu", "disk"} and first["device_map"] == first["requested_map"]
    assert sum(first["memory"]["by_device"]["disk"].values()) > 200_000_000
    assert first["memory"]["resident_bytes"] < whole["runs"][0]["memory"]["resident_bytes"] - 200_000_000
    assert second["device_map"] == {"": "cpu"}
    assert [run["token_ids"] for run in found["runs"]] == [run["token_ids"] for run in whole["runs"]]
    assert not list((tmp_path / "away").glob("*"))
    estimate = run("estimate", "--precisions", "fp32", "--max-memory", "cpu=300MB")
    assert re.search(r"fp32: weights: 283 MB in RAM, 255 MB on disk", estimate.stdout), estimate.stdout


@pytest.mark.exhaustive
def test_without_a_display_it_compares_and_leaves_a_report(demo_cache: Path, tmp_path: Path) -> None:
    done = run_scripted(cwd=tmp_path, DISPLAY="", WAYLAND_DISPLAY="", QT_QPA_PLATFORM="")
    assert done.returncode == 0, done.stderr
    assert "There is no display here" in done.stderr
    assert done.stdout.startswith("Precision")
    assert "The report is in qplayground-report.md and qplayground-report.json." in done.stdout
    result = json.loads((tmp_path / "qplayground-report.json").read_bytes())
    assert [(run_["id"], run_["state"]) for run_ in result["runs"]] == [
        *(("fp32", "done"), ("bf16", "done"), ("int8", "done"), ("nf4", "done"))
    ]
    report = (tmp_path / "qplayground-report.md").read_text("utf-8")
    assert report.startswith("# SmolLM2-135M-Instruct (demo): 4 precisions compared\n")
    assert all(run_["text"] in report for run_ in result["runs"])


@pytest.mark.exhaustive
def test_a_benchmark_with_every_report(tmp_path: Path) -> None:
    folder = tiny.make(tmp_path / "tiny")
    done = run(
        *(
            "compare",
            "--model",
            str(folder),
            "--precisions",
            "bf16,nf4",
            "--max-new-tokens",
            "6",
            "--runs",
            "2",
            "--baseline",
            "nf4",
        ),
        *("--keep-loaded", "--json", "-", "--out", str(tmp_path / "reports")),
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["mode"], result["rounds"], result["baseline"]) == ("benchmark", 2, "nf4")
    bf16, nf4 = result["runs"]
    assert nf4["divergence"] == {"first_token": None, "common_prefix_tokens": 6}
    assert set(bf16["divergence"]) == {"first_token", "common_prefix_tokens"}
    for run_ in result["runs"]:
        assert len(run_["token_ids"]) == 6
        assert run_["speed"]["samples"]["n"] == 2
        assert {"median", "mean", "sd", "values"} <= set(run_["speed"]["samples"])
        assert run_["speed"]["prefill_tokens_per_s"] > 0
        assert run_["load"]["samples"]["n"] == 1  # kept loaded between the rounds
    suffixes = sorted(path.suffix for path in (tmp_path / "reports").iterdir())
    assert suffixes == [".csv", ".html", ".json", ".md", ".py", ".py"]
    assert json.loads((tmp_path / "reports" / "qplayground-report.json").read_bytes()) == result


# ---- Ctrl-C -------------------------------------------------------------------------------------------------------


@pytest.fixture
def long_comparison(demo_cache: Path) -> Iterator[Running]:
    arguments = ("--precisions", "fp32,nf4", "--max-new-tokens", "5000", "--json", "-")
    running = Running("compare", "--model", "demo", *arguments)
    yield running
    running.process.kill()
    running.process.wait()


@pytest.mark.demo
def test_a_slow_text_says_how_far_it_is(tmp_path: Path) -> None:
    """The scripted engine writes a hundred tokens a second. After five silent seconds, a line shows progress."""
    model = str(write_model(tmp_path / "model"))
    asked = ["--precisions", "fp32", "--prompt", "Once slow", "--max-new-tokens", "4000"]
    running = Running("compare", "--model", model, *asked, **SCRIPTED)
    running.wait_for(" of 4000 tokens")
    running.interrupt()
    (line,) = (line for line in running.errors.splitlines() if " of 4000 tokens" in line)
    assert re.fullmatch(r"fp32: [1-9]\d\d of 4000 tokens", line)


@pytest.mark.parametrize(
    "moment",
    daily(["fp32: starting", "fp32: load", "fp32: reading the prompt", "fp32: generating"], "fp32: generating"),
)
def test_ctrl_c_stops_a_comparison_and_keeps_what_there_is(long_comparison: Running, moment: str) -> None:
    long_comparison.wait_for(moment)
    code, output, took = long_comparison.interrupt()
    assert code == 1
    assert took < 3
    result = json.loads(output)
    assert [run_["state"] for run_ in result["runs"]] == ["cancelled", "cancelled"]


@pytest.mark.parametrize("arguments", [("compare", "--model", "no-such-owner/no-such-name"), ("models",)])
def test_ctrl_c_while_an_engine_is_awaited_ends_it(arguments: tuple[str, ...]) -> None:
    """An engine must first say what can be downloaded (for a hub id) or loaded (for a list of models)."""
    running = Running(*arguments)
    family: list[psutil.Process] = []
    while not family:  # once there is a child, Ctrl-C is handled
        family = psutil.Process(running.process.pid).children()
        assert running.process.poll() is None
    code, output, took = running.interrupt()
    assert (code, output) == (1, "")
    assert took < 3
    assert "Cancelled." in running.errors


INTERRUPTED_AT_AN_IMPORT = """
import os, runpy, signal, sys

class Interrupting:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == module:
            os.kill(os.getpid(), signal.SIGINT)

module = sys.argv.pop(1)
sys.meta_path.insert(0, Interrupting)
runpy.run_module("qplayground", run_name="__main__", alter_sys=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals as POSIX has them")
@pytest.mark.parametrize("module", ["qplayground.cli", "msgspec", "qplayground.console.commands", "PySide6.QtCore"])
def test_ctrl_c_while_the_program_is_imported_ends_it_quietly(module: str) -> None:
    command = [sys.executable, "-c", INTERRUPTED_AT_AN_IMPORT, module, "models"]
    shell = ["/bin/sh", "-c", '"$@"; echo "code $?"', "sh", *command]
    done = subprocess.run(shell, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr.replace("Interrupt", "").strip()) == ("code 130\n", "")


@pytest.mark.exhaustive
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_a_full_disk_behind_standard_output_is_said() -> None:
    with Path("/dev/full").open("w") as full:
        done = run_scripted("models", stdout=full)
    assert done.returncode == 1
    assert done.stderr == "qplayground: the result cannot be written: No space left on device. Send it elsewhere.\n"


@pytest.mark.exhaustive
def test_a_reader_who_has_heard_enough_is_left_in_peace() -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as closed:
        done = run_scripted("models", stdout=closed)
    assert (done.returncode, done.stderr) == (1, "")


def test_the_detail_of_a_refusal_is_shown_when_it_is_asked_for(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text("[")
    (folder / "model.safetensors").unlink()
    without = run("estimate", "--model", str(folder))
    assert without.returncode == 1 and "is not valid JSON" in without.stderr
    assert "Expecting value" not in without.stderr and "Add --verbose" in without.stderr
    shown = run("estimate", "--model", str(folder), "--verbose")
    assert shown.returncode == 1 and "Expecting value: line 1" in shown.stderr and "Add --verbose" not in shown.stderr
    (folder / "model.safetensors.index.json").unlink()  # what has no detail does not offer one
    assert "verbose" not in run("estimate", "--model", str(folder)).stderr


def test_the_detail_of_a_run_that_failed_is_shown_when_it_is_asked_for(tmp_path: Path) -> None:
    folder = tiny.make(tmp_path / "tiny")
    tiny.edit_json(folder / "config.json", rms_norm_eps="1e-5")
    shown = run("compare", "--model", str(folder), "--precisions", "fp32", "--device", "cpu", "--verbose")
    assert shown.returncode == 1 and "rms_norm_eps" in shown.stdout and "Add --verbose" not in shown.stderr
    assert "Detail of fp32:" in shown.stderr and "StrictDataclassFieldValidationError" in shown.stderr


@pytest.mark.exhaustive
def test_a_model_whose_cached_files_are_gone_is_told_so_without_a_network(tmp_path: Path) -> None:
    snapshot = write_model(cache_repo(tmp_path / "hub", "owner/lost"))
    for path in list(snapshot.iterdir()):
        path.unlink()
        path.symlink_to(f"../../blobs/{path.name}")
    done = run_scripted("estimate", "--model", "owner/lost", HF_HUB_CACHE=str(tmp_path / "hub"), HF_HUB_OFFLINE="1")
    assert done.returncode == 1
    assert "3 files (config.json and others) are missing in the Hugging Face cache" in done.stderr
    assert "owner/lost" in done.stderr and "HF_HUB_OFFLINE" in done.stderr
