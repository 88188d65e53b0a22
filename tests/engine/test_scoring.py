"""Scoring a text: every figure against an independent computation in double precision, from logits alone."""

import copy
import errno
import hashlib
import math
import os
import random
import shutil
import tempfile
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from tokenizers import normalizers
from tokenizers.processors import TemplateProcessing

from qplayground.core.errors import ErrorCode, PlaygroundError
from qplayground.core.measures.quality import TextSource
from qplayground.core.measures.windows import ROWS
from qplayground.core.messages.commands import Generate, Score
from qplayground.core.messages.events import Progressed, Scored
from qplayground.core.precision import READY_PRECISIONS
from qplayground.core.system.temporary import owned_prefix
from qplayground.engines.transformers.loading.load import LoadedModel
from qplayground.engines.transformers.model.shapes import Shapes
from qplayground.engines.transformers.quantizers.bitsandbytes_4bit import FourBitBackend
from qplayground.engines.transformers.scoring import baselines as baselines_module
from qplayground.engines.transformers.scoring import scored_text
from qplayground.engines.transformers.scoring.fingerprint import HASHING
from qplayground.engines.transformers.scoring.score import StoppedError, score_text
from qplayground.engines.transformers.scoring.token_scores import Rows, VocabularySums
from tests.daily import daily
from tests.engine import tiny
from tests.engine.conftest import LoadShared, ModelFolder, carry_out, load_quietly

WORDS = "the cat sat on the mat and saw a small red dog under an old tree near 12 of 345 ways to go home"
TEXT = " ".join(random.Random(1).choices(WORDS.split(), k=900))
READY = {precision.name: precision for precision in READY_PRECISIONS}
GIGABYTE = 1 << 30


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "baselines"


def asked(folder: Path, **changes: object) -> Score:
    command = Score(
        id=3,
        source=TextSource.BUILTIN,
        name="builtin",
        text=TEXT,
        baseline=READY["fp32"],
        reference="fp32",
        folder=str(folder),
        limit_bytes=GIGABYTE,
    )
    return replace(command, **changes)


def score(loaded: LoadedModel, command: Score, written: tuple[int, ...] = ()) -> Scored:
    return score_text(loaded, command, written, lambda: False, lambda label, done, total, unit="bytes": None)


@torch.inference_mode()
def independent(loaded: LoadedModel, ids: list[int], starts: tuple[int, ...], window: int) -> torch.Tensor:
    """Log-probabilities before each scored token, [tokens, vocabulary], in double precision."""
    rows = []
    for start in starts:
        shown = ids[start : start + window]
        if begins_texts(loaded):
            shown[0] = loaded.tokenizer.bos_token_id
        logits = loaded.model(input_ids=torch.tensor([shown[:-1]]), use_cache=False).logits[0].double()
        rows.append(logits[window // 2 - 1 :])
    return torch.cat(rows).log_softmax(-1)


def begins_texts(loaded: LoadedModel) -> bool:
    return bool(loaded.tokenizer("a")["input_ids"][0] == loaded.tokenizer.bos_token_id)


def close(value: float | None, expected: float) -> bool:
    return value == pytest.approx(expected, rel=1e-4, abs=1e-9)


@pytest.mark.parametrize(
    ("family", "candidate"),
    daily(list(product(["llama", "gpt2", "gemma2"], ["bf16", "int8", "nf4"])), ("llama", "bf16"), ("gpt2", "nf4")),
)
def test_every_figure_is_that_of_an_independent_computation(
    load_shared: LoadShared, folder: Path, family: str, candidate: str
) -> None:
    reference, loaded = load_shared(family, "fp32"), load_shared(family, candidate)
    base = score(reference, asked(folder))
    other = score(loaded, asked(folder, windows=base.windows))
    assert base.windows is not None and base.evaluation is not None
    ids = [int(token) for token in reference.tokenizer(TEXT, add_special_tokens=False)["input_ids"]]
    p = independent(reference, ids, base.windows.starts, base.windows.window)
    q = independent(loaded, ids, base.windows.starts, base.windows.window)
    targets = torch.tensor([ids[position] for position in base.windows.positions]).unsqueeze(-1)
    nll_p, nll_q = -p.gather(-1, targets).squeeze(-1), -q.gather(-1, targets).squeeze(-1)
    kld = (p.exp() * (p - q)).sum(-1)
    count, found = len(kld), other.quality
    assert found.scored_tokens == base.quality.scored_tokens == count >= 100
    assert close(base.quality.perplexity, nll_p.mean().exp().item())
    assert close(found.perplexity, nll_q.mean().exp().item())
    assert close(found.perplexity_se, (nll_q.std() / math.sqrt(count) * nll_q.mean().exp()).item())
    difference = nll_q - nll_p
    assert close(found.ppl_ratio, difference.mean().exp().item())
    assert close(found.ppl_ratio_se, (difference.std() / math.sqrt(count) * difference.mean().exp()).item())
    assert close(found.mean_kld, kld.mean().item())
    assert close(found.mean_kld_se, (kld.std() / math.sqrt(count)).item())
    percentiles = (found.median_kld, found.p90_kld, found.p95_kld, found.p99_kld, found.p999_kld, found.max_kld)
    for value, percent in zip(percentiles, (50, 90, 95, 99, 99.9, 100), strict=True):
        assert close(value, float(np.percentile(kld.numpy(), percent)))
    same = (p.argmax(-1) == q.argmax(-1)).double().mean().item()
    assert close(found.same_top1, same)
    change = (-nll_q).exp() - (-nll_p).exp()
    assert close(found.rms_delta_p, change.square().mean().sqrt().item())
    assert close(found.mean_delta_p, change.mean().item())
    assert found.reference == "fp32" and found.reference_dtype == "float32" and found.storage_kld == 0


def test_a_baseline_beside_itself_diverges_by_exactly_nothing(load_shared: LoadShared, folder: Path) -> None:
    loaded = load_shared("llama", "fp32")
    base = score(loaded, asked(folder))
    other = LoadedModel(**{**vars(loaded), "precision": replace(loaded.precision, name="twin")})
    itself = score(other, asked(folder, windows=base.windows)).quality
    assert (itself.mean_kld, itself.max_kld, itself.same_top1) == (0, 0, 1)
    assert (itself.ppl_ratio, itself.rms_delta_p) == (1, 0)


def test_a_baseline_is_scored_once(load_shared: LoadShared, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_shared("llama", "fp32")
    first = score(loaded, asked(folder))
    monkeypatch.setattr(VocabularySums, "of", None)
    again = score(loaded, asked(folder))
    assert again.reused and not first.reused
    assert replace(again.quality, seconds=0.0) == replace(first.quality, seconds=0.0)
    assert again.tokens == first.tokens and again.evaluation == first.evaluation


def test_a_candidate_is_scored_once_too(load_shared: LoadShared, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base, loaded = score(load_shared("llama", "fp32"), asked(folder)), load_shared("llama", "nf4")
    command = asked(folder, windows=base.windows)
    first = score(loaded, command)
    monkeypatch.setattr(VocabularySums, "of", None)
    again = score(loaded, command)
    assert again.reused and not first.reused and again.layers == first.layers and again.tokens == first.tokens
    assert replace(again.quality, seconds=0.0) == replace(first.quality, seconds=0.0)
    edited = LoadedModel(**{**vars(loaded), "precision": replace(loaded.precision, skip_modules=("mlp",))})
    with pytest.raises(TypeError):
        score(edited, command)  # another recipe is not reused


def test_what_was_scored_in_another_place_is_scored_again(
    load_shared: LoadShared, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, loaded = score(load_shared("llama", "fp32"), asked(folder)), load_shared("llama", "nf4")
    command = asked(folder, windows=base.windows, place=base.place)
    assert score(loaded, command).quality.mean_kld and score(loaded, command).reused
    place = "split, [('lm_head', 'cpu')]"
    monkeypatch.setattr("qplayground.engines.transformers.scoring.score.place_of", lambda loaded: place)
    again = score(loaded, command)
    assert again.quality.mean_kld and not again.reused  # against the baseline, which was still there
    assert not score(load_shared("llama", "fp32"), asked(folder)).reused


@pytest.mark.parametrize("precision", ["int8", "nf4", "nf4-dq"])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_each_layers_error_is_that_of_its_own_weights(
    load_shared: LoadShared, model_folder: ModelFolder, folder: Path, family: str, precision: str
) -> None:
    base, loaded = score(load_shared(family, "fp32"), asked(folder)), load_shared(family, precision)
    layers = score(loaded, asked(folder, windows=base.windows)).layers
    converted = set(Shapes.read(model_folder(family)).converted_layers(READY[precision]))
    assert {layer.name for layer in layers} == converted
    exact = load_shared(family, "fp32").model
    low, high = (0.001, 0.02) if precision == "int8" else (0.05, 0.15)
    for layer in layers:
        assert low < layer.weights < high, layer
        assert 0 < layer.outputs < 3 * high, layer
    if precision == "int8":  # computed by hand for one of them
        name = layers[0].name
        weight = exact.get_submodule(name).weight.detach()
        weight = weight.T if family == "gpt2" else weight
        half = weight.bfloat16().half().float()  # LLM.int8() quantizes these values
        scale = half.abs().amax(1, keepdim=True)
        held = (half / scale * 127).round() * scale / 127
        assert layers[0].weights == pytest.approx(((held - weight).norm() / weight.norm()).item(), rel=0.02)


@pytest.mark.parametrize("changed", ["text", "baseline", "weights", "config"])
def test_what_is_kept_of_something_else_is_never_used(
    load_shared: LoadShared, model_folder: ModelFolder, folder: Path, tmp_path: Path, changed: str
) -> None:
    base = score(load_shared("llama", "fp32"), asked(folder))
    loaded, command = load_shared("llama", "nf4"), asked(folder, windows=base.windows)
    assert score(loaded, command).quality.reference == "fp32"
    if changed == "text":
        command = replace(command, text=TEXT.replace("cat", "dog"))
    elif changed == "baseline":
        command = replace(command, baseline=READY["bf16"])
    else:
        files = {name: (model_folder("llama") / name).read_bytes() for name in ("model.safetensors", "config.json")}
        other = tmp_path / "model.safetensors"
        (tmp_path / "config.json").write_bytes(files["config.json"] + b" " * (changed == "config"))
        last = files["model.safetensors"][-1] ^ (changed == "weights")
        other.write_bytes(files["model.safetensors"][:-1] + bytes([last]))
        loaded = LoadedModel(**{**vars(loaded), "files": (other,)})
    quality = score(loaded, command).quality
    assert quality.reference is None and quality.mean_kld is None and quality.perplexity is not None
    assert quality.note is not None and "Run the baseline again" in quality.note.hint


def test_a_limit_on_the_disk_costs_precision_first_and_then_windows(
    load_shared: LoadShared, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, candidate = load_shared("llama", "fp32"), load_shared("llama", "bf16")
    whole = score(loaded, asked(folder)).windows
    assert whole is not None
    needed = whole.scored_tokens * tiny.VOCABULARY
    half = asked(folder / "half", limit_bytes=2 * needed)
    base = score(loaded, half)
    assert base.windows == whole and base.quality.reference_dtype == "float16"
    found = score(candidate, replace(half, windows=base.windows)).quality
    exact = score(candidate, asked(folder, windows=whole)).quality
    assert found.storage_kld and 0 < found.storage_kld < 1e-4
    assert found.mean_kld == pytest.approx(exact.mean_kld, rel=0.01)
    few = score(loaded, asked(folder / "few", limit_bytes=needed))
    assert few.windows is not None and 0 < few.windows.scored_tokens <= whole.scored_tokens // 2 + 1
    assert few.windows.starts[-1] > whole.starts[-1] // 2  # spread over the whole text
    assert few.quality.reference_dtype == "float16"
    assert few.quality.limited_by_disk and not base.quality.limited_by_disk
    again = score(loaded, replace(half, limit_bytes=4 * needed))  # now there is room
    assert again.quality.reference_dtype == "float32" and not again.reused
    then = score(candidate, replace(half, limit_bytes=4 * needed, windows=again.windows)).quality
    assert then.reference_dtype == "float32" and not then.storage_kld


def test_the_oldest_leave_when_there_is_no_room(load_shared: LoadShared, folder: Path) -> None:
    loaded = load_shared("llama", "fp32")
    size = 2.5 * score(loaded, asked(folder)).quality.scored_tokens * tiny.VOCABULARY * 4
    texts = [TEXT, TEXT.replace("cat", "dog"), TEXT.replace("cat", "tree")]
    for place, text in enumerate(texts):
        score(loaded, asked(folder, text=text, limit_bytes=int(size)))
        for kept in folder.glob("*/scores.msgpack"):
            stamp = kept.stat().st_mtime - 100
            os.utime(kept, (stamp, stamp))
        assert len(list(folder.glob("*/scores.msgpack"))) == min(place + 1, 2)
    assert not score(loaded, asked(folder, text=texts[0], limit_bytes=int(size))).reused


@pytest.mark.parametrize("when", ["write", "finish", "mkdir"])
def test_a_full_disk_costs_the_comparison_and_not_the_score(
    load_shared: LoadShared, folder: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    def refuse(*_arguments: object, **_settings: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if when == "mkdir":
        monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    else:
        monkeypatch.setattr(baselines_module.Writing, when, refuse)
    base = score(load_shared("llama", "fp32"), asked(folder))
    assert base.quality.perplexity and base.quality.reference_dtype is None
    assert base.quality.note is not None and base.quality.note.code is ErrorCode.DISK_FULL
    assert not [path for path in folder.glob("*") if path.is_dir()]


def test_what_a_killed_engine_was_writing_is_cleared_up(load_shared: LoadShared, folder: Path) -> None:
    prefix = owned_prefix("baseline")
    killed = folder / f"{prefix.replace(str(os.getpid()), str(999999999))}x"
    living = [folder / f"{prefix}x", folder / "qplayground-baseline-00000000-999999999-1-of-another-container"]
    for each in (killed, *living):
        each.mkdir(parents=True)
    score(load_shared("llama", "fp32"), asked(folder))
    assert not killed.exists() and all(each.exists() for each in living)
    score(load_shared("llama", "bf16"), asked(folder, baseline=READY["bf16"], limit_bytes=1))
    assert all(each.exists() for each in living)  # they are not removed to make room


def test_a_damaged_baseline_is_scored_again(load_shared: LoadShared, folder: Path) -> None:
    loaded = load_shared("llama", "fp32")
    score(loaded, asked(folder))
    (kept,) = folder.glob("*/log-probabilities")
    kept.write_bytes(kept.read_bytes()[:-4])
    assert not score(loaded, asked(folder)).reused
    assert score(loaded, asked(folder)).reused


def test_the_prompt_and_its_continuation_are_scored_in_one_window(model_folder: ModelFolder, folder: Path) -> None:
    load = tiny.load_command(model_folder("llama"), "fp32", tiny.request(max_new_tokens=12))
    command = asked(folder, source=TextSource.PROMPT, name="prompt", text="")
    events = carry_out(load, Generate(id=2, request=load.request), command)
    scored = events[-1]
    assert isinstance(scored, Scored) and scored.windows is not None
    assert scored.token_ids and scored.windows.starts == (0,)
    assert scored.quality.scored_tokens == len(scored.token_ids) // 2 and scored.quality.perplexity is None
    assert scored.tokens is not None and len(scored.tokens.nll) == scored.quality.scored_tokens
    assert any(isinstance(event, Progressed) and event.unit == "tokens" for event in events)


@pytest.mark.parametrize(("text", "said"), [("", "no text"), ("the cat", "tokens; 256 are needed")])
def test_what_cannot_be_scored_is_a_note(model_folder: ModelFolder, folder: Path, text: str, said: str) -> None:
    scored = carry_out(tiny.load_command(model_folder("llama"), "fp32"), asked(folder, text=text))[-1]
    assert isinstance(scored, Scored) and scored.quality.note is not None
    assert said in scored.quality.note.message and scored.quality.note.hint


def test_scoring_can_be_stopped(model_folder: ModelFolder, folder: Path) -> None:
    scored = carry_out(tiny.load_command(model_folder("llama"), "fp32"), asked(folder), cancel_after=0)[-1]
    assert isinstance(scored, Scored) and scored.quality.note is not None and "stopped" in str(scored.quality.note)
    assert not list(folder.glob("*/scores.msgpack"))


def test_progress_says_what_is_counted(load_shared: LoadShared, folder: Path) -> None:
    base, units = score(load_shared("llama", "fp32"), asked(folder)), {}

    def note(label: str, _done: int, _total: int, unit: str = "bytes") -> None:
        units[label] = unit

    command = asked(folder / "other", windows=base.windows)
    score_text(load_shared("llama", "nf4"), command, (), lambda: False, note)
    assert units == {HASHING: "bytes", "Scoring": "tokens", "Measuring each layer": "layers"}


def test_reading_the_weights_for_their_hash_can_be_stopped(load_shared: LoadShared, folder: Path) -> None:
    said: list[str] = []
    with pytest.raises(StoppedError):
        score_text(load_shared("llama", "fp32"), asked(folder), (), lambda: True, lambda label, *_: said.append(label))
    assert not said and not list(folder.glob("*"))


@torch.inference_mode()
def test_values_that_are_no_numbers_are_the_models_fault(model_folder: ModelFolder, folder: Path) -> None:
    loaded = load_quietly(model_folder("llama"), "fp32")
    weight = loaded.model.get_input_embeddings().weight
    dog = loaded.tokenizer(" dog", add_special_tokens=False)["input_ids"][-1]
    weight.data[dog] = float("inf")
    with pytest.raises(PlaygroundError, match="first at token") as raised:
        score(loaded, asked(folder))
    assert raised.value.info.code is ErrorCode.NON_FINITE_OUTPUT


def test_a_long_text_takes_no_more_memory(
    load_shared: LoadShared, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Live memory grows with the text only by a few bytes per token."""
    rows: list[int] = []
    original = VocabularySums.of

    def watched(sums: VocabularySums, logits: torch.Tensor, right: torch.Tensor) -> Rows:
        rows.append(logits.shape[0])
        return original(sums, logits, right)

    monkeypatch.setattr(VocabularySums, "of", watched)
    score(load_shared("llama", "fp32"), asked(folder, text=" ".join([TEXT] * 5)))
    assert max(rows) <= ROWS


def test_a_tokenizer_that_begins_texts_begins_windows_too(load_shared: LoadShared, folder: Path) -> None:
    loaded = load_shared("llama", "fp32")
    tokenizer = copy.deepcopy(loaded.tokenizer)
    begin = tokenizer.bos_token_id
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{tiny.BEGIN} $A", special_tokens=[(tiny.BEGIN, begin)]
    )
    text = scored_text.read_text(tokenizer, "builtin", TEXT)
    assert text.first_id == begin and text.ids[0] != begin
    assert text.window_ids(128, 256) == [begin, *text.ids[129:384]]
    assert "".join(text.pieces) == TEXT
    plain = scored_text.read_text(loaded.tokenizer, "builtin", TEXT)
    assert plain.ids == text.ids and plain.ids_sha256 != text.ids_sha256


def test_a_text_that_was_scored_under_another_name_has_its_own(load_shared: LoadShared, folder: Path) -> None:
    base, candidate = load_shared("llama", "fp32"), load_shared("llama", "nf4")
    windows = score(base, asked(folder, name="one.txt")).windows
    score(candidate, asked(folder, name="one.txt", windows=windows))
    for loaded in (base, candidate):
        again = score(loaded, asked(folder, name="two.txt", windows=windows))
        assert again.reused and again.quality.text == "two.txt"


def test_another_text_of_the_same_tokens_is_called_by_its_own_hash(
    load_shared: LoadShared, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, candidate = load_shared("llama", "fp32"), load_shared("llama", "nf4")
    for loaded in (base, candidate):
        monkeypatch.setattr(loaded.tokenizer.backend_tokenizer, "normalizer", normalizers.Lowercase())
    windows = score(base, asked(folder)).windows
    score(candidate, asked(folder, windows=windows))
    for loaded in (base, candidate):
        again = score(loaded, asked(folder, text=TEXT.upper(), windows=windows))
        assert again.reused and again.quality.text_sha256 == hashlib.sha256(TEXT.upper().encode()).hexdigest()


def test_a_small_divergence_is_that_of_an_independent_computation() -> None:
    """Of fp16's size, where terms of both signs, a thousand times larger, cancel."""
    generator = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(8, 5000, generator=generator)
    other = logits + 1e-3 * torch.randn(8, 5000, generator=generator)
    sums, more = (VocabularySums(5000, torch.device("cpu")) for _ in range(2))
    right = torch.zeros(8, dtype=torch.int64)
    p, q = logits.double().log_softmax(-1), other.double().log_softmax(-1)
    expected = (p.exp() * (p - q)).sum(-1)
    assert expected.max() < 1e-6
    found = sums.divergences(sums.of(logits, right).log_p, more.of(other, right).log_p)
    assert found == pytest.approx(expected.tolist(), rel=1e-4)


def test_what_both_rule_out_is_no_divergence() -> None:
    logits = torch.tensor([[1.0, 2.0, -math.inf], [1.0, 2.0, 3.0]])
    other = torch.tensor([[2.0, 1.0, -math.inf], [1.0, 2.0, 3.0]])
    sums, more = (VocabularySums(3, torch.device("cpu")) for _ in range(2))
    right = torch.zeros(2, dtype=torch.int64)
    p, q = logits[0, :2].log_softmax(-1), other[0, :2].log_softmax(-1)
    found = sums.divergences(sums.of(logits, right).log_p, more.of(other, right).log_p)
    assert found == pytest.approx([(p.exp() * (p - q)).sum().item(), 0.0])


def test_a_perplexity_beyond_all_numbers_is_the_models_fault(load_shared: LoadShared, folder: Path) -> None:
    loaded = load_shared("llama", "fp32")
    with torch.inference_mode():
        head = loaded.model.get_output_embeddings()
        original = head.forward
        head.forward = lambda hidden: 1e6 * original(hidden)
        try:
            with pytest.raises(PlaygroundError, match="larger than any number") as raised:
                score(loaded, asked(folder))
        finally:
            head.forward = original
    assert "another model" in raised.value.info.hint


def test_layers_that_cannot_be_measured_cost_no_figures(
    load_shared: LoadShared, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, loaded = score(load_shared("llama", "fp32"), asked(folder)), load_shared("llama", "nf4")

    def out_of_memory(module: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(FourBitBackend, "dequantized", staticmethod(out_of_memory))
    found = score(loaded, asked(folder, windows=base.windows))
    assert found.layers == () and found.quality.mean_kld
    monkeypatch.undo()
    again = score(loaded, asked(folder, windows=base.windows))
    assert again.layers and not again.reused  # incomplete scores are not reused


def test_a_comparison_that_an_eviction_cuts_short_is_none(
    load_shared: LoadShared, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, loaded = score(load_shared("llama", "fp32"), asked(folder)), load_shared("llama", "nf4")
    rows = baselines_module.KeptBaseline.rows

    def evicted(kept: baselines_module.KeptBaseline, first: int, count: int) -> torch.Tensor:
        if first >= ROWS:
            raise FileNotFoundError(errno.ENOENT, "No such file")
        return rows(kept, first, count)

    monkeypatch.setattr(baselines_module.KeptBaseline, "rows", evicted)
    found = score(loaded, asked(folder, windows=base.windows))
    assert found.quality.perplexity and found.quality.mean_kld is None and found.quality.note is not None
    assert found.tokens and not found.tokens.same_top
    monkeypatch.undo()
    again = score(loaded, asked(folder, windows=base.windows))
    assert not again.reused and again.quality.mean_kld


def test_the_oldest_leave_when_the_disk_is_full(
    load_shared: LoadShared, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_shared("llama", "fp32")
    first = score(loaded, asked(folder))
    size = first.quality.scored_tokens * tiny.VOCABULARY * 4
    usage = shutil.disk_usage(folder)

    def nearly_full(path: Path) -> object:
        kept = sum(1 for each in folder.iterdir() if each.is_dir() and not each.name.startswith("."))
        return usage._replace(free=baselines_module.SPARE_BYTES + int(size * (1.5 - kept)))

    monkeypatch.setattr(shutil, "disk_usage", nearly_full)
    assert score(loaded, asked(folder, text=TEXT.replace("cat", "dog"))).quality.reference_dtype == "float32"
    assert not score(loaded, asked(folder)).reused  # it was removed to make room


def test_the_layers_of_a_quantized_baseline_are_kept_too(
    load_shared: LoadShared, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_shared("llama", "nf4")
    first = score(loaded, asked(folder, baseline=READY["nf4"]))
    monkeypatch.setattr("qplayground.engines.transformers.scoring.score.measured", None)
    again = score(loaded, asked(folder, baseline=READY["nf4"]))
    assert first.layers and again.layers == first.layers and again.reused
