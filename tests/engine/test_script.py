"""A run's plain script writes the same tokens as the run."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from transformers import MambaConfig, MambaForCausalLM

from qplayground.core.comparison.results import ComparedModel, Comparison, Mode, Run
from qplayground.core.generation import GenerationRequest, GenerationSettings
from qplayground.core.messages.commands import Generate, Load
from qplayground.core.messages.events import Loaded, PromptRead
from qplayground.core.placement import Placement
from qplayground.core.precision import READY_PRECISIONS, Precision
from qplayground.report.script import to_script
from qplayground.runtime.comparison.bookkeeping import record_loaded
from tests.engine import tiny
from tests.engine.conftest import ModelFolder, carry_out, tokens_of

READY = {precision.name: precision for precision in READY_PRECISIONS}


def both(
    folder: Path,
    recipe: Precision,
    mode: Mode = Mode.ONCE,
    modules: dict[str, str] | None = None,
    **settings: Any,
) -> tuple[list[int], list[int]]:
    """The tokens of a run and of its script."""
    placement = Placement(device="cpu") if modules is None else Placement(device="custom", modules=modules)
    request = GenerationRequest(
        prompt=tiny.PROMPT, settings=GenerationSettings(**{"max_new_tokens": 12, "seed": 5, **settings})
    )
    benchmark = mode is Mode.BENCHMARK
    events = carry_out(
        Load(id=1, path=str(folder), precision=recipe, placement=placement, request=request),
        Generate(id=2, request=request, benchmark=benchmark),
    )
    (loaded,) = (event for event in events if isinstance(event, Loaded))
    (prompt,) = (event for event in events if isinstance(event, PromptRead))
    model = ComparedModel("tiny", "folder", None, None, str(folder))
    run = Run(id=recipe.name, model=model, precision=recipe, prompt_in_parts=prompt.in_parts)
    record_loaded(run, loaded)
    comparison = Comparison(
        environment=None,
        prompt=request.prompt,
        settings=request.settings,
        mode=mode,
        baseline=recipe.name,
        runs=[run],
    )
    names: dict[str, Any] = {}
    exec(compile(to_script(comparison, run), "script.py", "exec"), names)
    return [token.id for token in tokens_of(events)], names["new_ids"]


@pytest.mark.parametrize("precision", READY)
def test_every_precision(model_folder: ModelFolder, precision: str) -> None:
    ours, script = both(model_folder("llama"), READY[precision])
    assert ours == script
    assert len(ours) == 12


@pytest.mark.parametrize(
    "settings",
    [
        {"do_sample": True, "temperature": 1.7, "top_p": 0.8, "top_k": 40},
        {"do_sample": True, "top_k": 0, "top_p": 1.0},
        {"repetition_penalty": 1.3},
        {"chat_template": True},
    ],
)
def test_every_setting(model_folder: ModelFolder, settings: dict[str, Any]) -> None:
    ours, script = both(model_folder("llama"), READY["fp32"], **settings)
    assert ours == script


def test_a_chat_template_that_takes_parts(model_folder: ModelFolder, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(model_folder("llama"), tmp_path / "model"))
    template = "{% for m in messages %}{{ m.role }}: {{ m['content'][0]['text'] }} {% endfor %}"
    (folder / "chat_template.jinja").write_text(template)
    ours, script = both(folder, READY["fp32"], chat_template=True)
    assert ours == script


def test_weights_on_disk(model_folder: ModelFolder) -> None:
    ours, script = both(model_folder("llama"), READY["fp32"], modules={"": "cpu", "model.layers.1": "disk"})
    assert ours == script


def test_a_benchmark(model_folder: ModelFolder) -> None:
    ours, script = both(model_folder("qwen2"), READY["bf16"], Mode.BENCHMARK)
    assert ours == script


def test_attention_that_config_json_asks_for_and_that_is_not_there(tmp_path: Path) -> None:
    folder = tiny.make(tmp_path / "model")
    tiny.edit_json(folder / "config.json", _attn_implementation="flash_attention_2")
    ours, script = both(folder, READY["bf16"])
    assert ours == script


@pytest.mark.parametrize("precision", ["int8", "nf4"])
def test_layers_that_stay_as_they_are(tmp_path: Path, precision: str) -> None:
    config = MambaConfig(vocab_size=tiny.VOCABULARY, hidden_size=64, num_hidden_layers=2, eos_token_id=1)
    folder = tiny.make(tmp_path / "model", lambda: MambaForCausalLM(config))
    ours, script = both(folder, READY[precision])
    assert ours == script


@pytest.mark.parametrize("family", ["gpt2", "llama-tied"])
def test_modules_that_are_skipped(model_folder: ModelFolder, family: str) -> None:
    module = "c_attn" if family == "gpt2" else "q_proj"
    ours, script = both(model_folder(family), replace(READY["nf4"], skip_modules=(module,)))
    assert ours == script
