"""Hostile tokenizers, in Rust code that nothing interrupts: only the run fails, with a sentence."""

import json
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from qplayground.core.comparison.results import RunState
from qplayground.core.errors import ErrorCode, PlaygroundError
from qplayground.engines.transformers.text.detokenizer import Detokenizer
from qplayground.engines.transformers.text.prompt import encode_prompt
from qplayground.engines.transformers.text.tokenizer import read_tokenizer
from qplayground.runtime.processes.launcher import ENGINE_TARGET, Launcher
from qplayground.runtime.storage.preferences import Preferences
from qplayground.ui.application import make_window
from tests.daily import daily
from tests.engine import tiny
from tests.process.stages import engines

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits and signals as Linux has them")

EVIL_PROMPT = f"the {'t' * 3000}!"

Harm = Callable[[dict[str, Any]], None]


def replacing(*pairs: tuple[Any, str]) -> list[dict[str, Any]]:
    """Replacements, applied one after the other."""
    named = [(pattern if isinstance(pattern, dict) else {"String": pattern}, content) for pattern, content in pairs]
    return [{"type": "Replace", "pattern": pattern, "content": content} for pattern, content in named]


def multiplying(model: dict[str, Any]) -> None:
    """Each letter becomes a terabyte."""
    model["normalizer"] = {"type": "Sequence", "normalizers": replacing(*[("t", "t" * 1000)] * 4)}


def endless(model: dict[str, Any]) -> None:
    """A word of half a million letters. Every prefix is looked up, then every prefix of the rest."""
    model["normalizer"] = {"type": "Sequence", "normalizers": replacing(("t", "t" * 1000), ("h", "t" * 500_000))}
    model["pre_tokenizer"] = None
    vocabulary = {"<s>": 0, "</s>": 1, "t": 2, "##t": 3}
    model["model"] = {
        "type": "WordPiece",
        "unk_token": "<s>",
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 10**9,
        "vocab": vocabulary,
    }


def giving_up(model: dict[str, Any]) -> None:
    """Makes Rust panic."""
    model["normalizer"] = replacing(({"Regex": "(t+)+$"}, "x"))[0]


def made(folder: Path, harm: Harm) -> Path:
    file = tiny.make(folder) / "tokenizer.json"
    model = json.loads(file.read_bytes())
    harm(model)
    file.write_text(json.dumps(model))
    return folder


TOLD: dict[Harm, tuple[ErrorCode, str]] = {
    multiplying: (ErrorCode.OUT_OF_MEMORY, "tokenizer ran out of memory"),
    endless: (ErrorCode.BROKEN_TOKENIZER, "tokenizer did not come to an end"),
    giving_up: (ErrorCode.BROKEN_TOKENIZER, "tokenizer is damaged"),
}


@pytest.mark.parametrize("harm", daily(TOLD, next(iter(TOLD))))
def test_the_command_line_says_that_it_is_the_tokenizer(harm: Harm, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "qplayground", "compare", "--model", str(made(tmp_path / "evil", harm))]
    command += ["--precisions", "fp32", "--prompt", EVIL_PROMPT, "--json", "-"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    (run,) = json.loads(done.stdout)["runs"]
    code, part = TOLD[harm]
    assert (run["state"], run["error"]["code"]) == ("failed", code), run["error"]
    assert part in run["error"]["message"] and run["error"]["hint"].endswith(".")


@pytest.mark.exhaustive
@pytest.mark.parametrize("harm", TOLD)
def test_the_window_goes_on_after_a_tokenizer_that_means_harm(
    qtbot: QtBot, qapp: QApplication, tmp_path: Path, harm: Harm
) -> None:
    """Each precision's run fails with its own sentence. The next comparison, of a sound model, works."""
    preferences = Preferences.load()
    preferences.set_ticked(("fp32", "bf16"))
    preferences.close()
    window = make_window(Launcher(ENGINE_TARGET))
    qtbot.addWidget(window)
    window.show()
    evil, good = made(tmp_path / "evil", harm), tiny.make(tmp_path / "good")
    for folder, prompt in ((evil, EVIL_PROMPT), (good, tiny.PROMPT)):
        with qtbot.waitSignal(window.library.folder_opened, timeout=20_000):
            window.library.open_folder(str(folder))
        window.prompt.set_request(tiny.request(prompt))
        with qtbot.waitSignal(window.session.comparison_finished, timeout=400_000):
            window.models.compare.click()
        comparison = window.session.comparison
        assert comparison is not None and len(comparison.runs) == 2
        for run in comparison.runs:
            shown = window.results.columns[run.id]
            if folder == evil:
                assert run.state is RunState.FAILED and TOLD[harm][1] in shown.state.text()
                assert run.error is not None and run.error.hint in shown.state.text()
                assert shown.details.isVisible()
            else:
                assert run.state is RunState.DONE and len(run.token_ids) == 12, run.error
    window.close()
    qtbot.waitUntil(lambda: engines() == [], timeout=5_000)


# ---- decoding -------------------------------------------------------------------------------------------------------


def test_a_decoder_that_multiplies_is_refused_before_it_decodes(tmp_path: Path) -> None:
    def harm(model: dict[str, Any]) -> None:
        inner = {"type": "Sequence", "decoders": replacing(*[("t", "tt")] * 20)}
        model["decoder"] = {"type": "Sequence", "decoders": [{"type": "Fuse"}, inner]}

    with pytest.raises(PlaygroundError, match="more than 10,000 times longer") as raised:
        read_tokenizer(made(tmp_path, harm))
    assert raised.value.info.code is ErrorCode.BROKEN_TOKENIZER and raised.value.info.hint


def test_a_decoder_that_replaces_as_models_do_is_taken(tmp_path: Path) -> None:
    tiny.make(tmp_path, tokenizer=tiny.byte_fallback_tokenizer())
    assert read_tokenizer(tmp_path).is_fast


def test_a_token_of_a_megabyte_is_refused(tmp_path: Path) -> None:
    def harm(model: dict[str, Any]) -> None:
        model["added_tokens"].append(
            {**model["added_tokens"][0], "id": tiny.VOCABULARY, "content": "t" * 1_000_000, "special": False}
        )

    tokenizer = read_tokenizer(made(tmp_path, harm))
    with pytest.raises(PlaygroundError, match="characters of 1 tokens"):
        Detokenizer(tokenizer, []).push(tiny.VOCABULARY)


def test_limits_are_gone_afterwards(tmp_path: Path) -> None:
    tokenizer = read_tokenizer(tiny.make(tmp_path))
    before = resource.getrlimit(resource.RLIMIT_DATA)
    assert Detokenizer(tokenizer, []).push(encode_prompt(tokenizer, tiny.request()).ids[-1])
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
    assert signal.getitimer(signal.ITIMER_PROF) == (0, 0)
