"""A child of the quality benchmark: scores one precision and runs bare forward passes in turns.

It also recomputes the figures independently.
"""

import importlib
import json
import math
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from msgspec.structs import replace

from qplayground.core.generation import GenerationRequest
from qplayground.core.measures.quality import Quality, TextSource
from qplayground.core.measures.windows import ROWS
from qplayground.core.messages.commands import Load, Score
from qplayground.core.placement import Placement
from qplayground.core.precision import READY_PRECISIONS
from qplayground.engines.transformers.loading.load import LoadedModel, load_model
from qplayground.engines.transformers.scoring.score import score_text
from qplayground.engines.transformers.scoring.scored_text import read_text
from qplayground.runtime.storage.evaluation_text import builtin_text

_MOST_TURNS = 9
_WINDOWS = (2, 8)
_PASS_S = 12.0
_TURNS_S = 90.0
"""Without 16-bit instructions a processor takes minutes for all windows. It then gets fewer windows and turns."""
_SCORED = 128
_READY = {precision.name: precision for precision in READY_PRECISIONS}


def main(path: str, name: str, folder: str) -> None:
    base = _load(path, "fp32")
    loaded = base if name == "fp32" else _load(path, name)
    ids = list(read_text(base.tokenizer, "builtin", builtin_text()).ids)
    command = Score(
        id=1,
        source=TextSource.BUILTIN,
        name="builtin",
        text=builtin_text(),
        tokens=_SCORED * _windows(loaded, ids),
        baseline=_READY["fp32"],
        reference="fp32",
        folder=f"{folder}/truth",
        limit_bytes=4 << 30,
    )
    scored = score_text(base, command, (), lambda: False, lambda *_: None)
    assert scored.windows is not None
    p = _log_probabilities(base, ids, scored.windows.starts)
    found = scored.quality
    if name != "fp32":
        found = score_text(loaded, replace(command, windows=scored.windows), (), lambda: False, lambda *_: None).quality
    q = _log_probabilities(loaded, ids, scored.windows.starts)
    targets = torch.tensor([ids[position] for position in scored.windows.positions]).unsqueeze(-1)
    off = _off(found, p, q, targets, compared=name != "fp32")
    starts = scored.windows.starts
    unkept = replace(command, limit_bytes=0, windows=scored.windows)
    shares: list[float] = []
    unkept_shares: list[float] = []
    written_shares: list[float] = []
    began = time.perf_counter()
    while len(shares) < _MOST_TURNS and (not shares or time.perf_counter() - began < _TURNS_S):
        bare, scored_s = _seconds(loaded, command, starts)
        shares.append(bare / scored_s)
        if name == "fp32":
            written_shares.append(bare / (bare + _written_s(command, q)))
            bare, scored_s = _seconds(loaded, unkept, starts)
            unkept_shares.append(bare / scored_s)
    print(
        json.dumps(
            {
                "windows": len(starts),
                "shares": shares,
                "unkept_shares": unkept_shares,
                "written_shares": written_shares,
                "off": off,
                "lm_eval_off": _beside_lm_eval(loaded, ids, scored.windows.starts, found),
            }
        )
    )


def _load(path: str, name: str) -> LoadedModel:
    command = Load(
        id=1, path=path, precision=_READY[name], placement=Placement(device="cpu"), request=GenerationRequest()
    )
    return load_model(command, lambda phase: None, lambda *_: None)


def _windows(loaded: LoadedModel, ids: list[int]) -> int:
    """How many windows pass forward in `_PASS_S`, within bounds."""
    passed = []
    for _ in range(2):  # the first pass warms up
        began = time.perf_counter()
        with torch.inference_mode():
            loaded.model(input_ids=torch.tensor([ids[: 2 * _SCORED - 1]]), use_cache=False, logits_to_keep=_SCORED)
        passed.append(time.perf_counter() - began)
    least, most = _WINDOWS
    return max(least, min(most, int(_PASS_S / passed[-1])))


@torch.inference_mode()
def _log_probabilities(loaded: LoadedModel, ids: list[int], starts: Sequence[int]) -> torch.Tensor:
    rows = []
    for start in starts:
        logits = loaded.model(input_ids=torch.tensor([ids[start : start + 255]]), use_cache=False).logits[0, 127:]
        rows.append(logits.double().log_softmax(-1))
    return torch.cat(rows)


def _off(found: Quality, p: torch.Tensor, q: torch.Tensor, targets: torch.Tensor, *, compared: bool) -> float:
    """The largest relative difference of any figure."""
    nll_p, nll_q = -p.gather(-1, targets).squeeze(-1), -q.gather(-1, targets).squeeze(-1)
    count = len(nll_q)
    expected = {
        "perplexity": nll_q.mean().exp().item(),
        "perplexity_se": (nll_q.std() / math.sqrt(count) * nll_q.mean().exp()).item(),
    }
    if compared:
        kld = (p.exp() * (p - q)).sum(-1)
        difference, change = nll_q - nll_p, (-nll_q).exp() - (-nll_p).exp()
        expected |= {
            "ppl_ratio": difference.mean().exp().item(),
            "mean_kld": kld.mean().item(),
            "mean_kld_se": (kld.std() / math.sqrt(count)).item(),
            "median_kld": float(np.percentile(kld.numpy(), 50)),
            "p99_kld": float(np.percentile(kld.numpy(), 99)),
            "max_kld": kld.max().item(),
            "same_top1": (p.argmax(-1) == q.argmax(-1)).double().mean().item(),
            "rms_delta_p": change.square().mean().sqrt().item(),
        }
    return float(max(abs(getattr(found, key) - value) / abs(value) for key, value in expected.items()))


def _seconds(loaded: LoadedModel, command: Score, starts: Sequence[int]) -> tuple[float, float]:
    """Seconds of the bare forward passes, and of scoring. Kept scores are deleted each time."""
    for kept in Path(command.folder).glob("*/" if loaded.precision == command.baseline else "*/candidate-*"):
        shutil.rmtree(kept) if kept.is_dir() else kept.unlink()
    ids = read_text(loaded.tokenizer, "builtin", builtin_text()).ids
    shown = {start: torch.tensor([ids[start : start + 255]]) for start in starts}
    began = time.perf_counter()
    with torch.inference_mode():
        for start in starts:
            loaded.model(input_ids=shown[start], use_cache=False, logits_to_keep=128)
    bare = time.perf_counter() - began
    scored = score_text(loaded, command, (), lambda: False, lambda *_: None)
    return bare, float(scored.quality.seconds)


def _written_s(command: Score, log_p: torch.Tensor) -> float:
    """Seconds of a plain write of as many bytes as are kept, to the same disk, through the page cache."""
    rows = log_p[:ROWS].float().numpy().tobytes()
    with (Path(command.folder) / "plain").open("wb", buffering=0) as file:
        began = time.perf_counter()
        for _ in range(len(log_p) // ROWS):
            file.write(rows)
        seconds = time.perf_counter() - began
    Path(file.name).unlink()
    return seconds


def _beside_lm_eval(loaded: LoadedModel, ids: list[int], starts: Sequence[int], found: Quality) -> float | None:
    """lm-evaluation-harness's log-likelihoods of the same windows' second halves. None if it is not installed."""
    try:
        models: Any = importlib.import_module("lm_eval.models.huggingface")
    except ImportError:
        return None
    harness = models.HFLM(pretrained=loaded.model, tokenizer=loaded.tokenizer, batch_size=1, softmax_dtype="float32")
    requests = [((None, None), ids[start : start + 128], ids[start + 128 : start + 256]) for start in starts]
    total = sum(log_likelihood for log_likelihood, _ in harness._loglikelihood_tokens(requests, disable_tqdm=True))
    theirs = math.exp(-total / (128 * len(starts)))
    assert found.perplexity is not None
    return abs(found.perplexity - theirs) / theirs


if __name__ == "__main__":
    main(*sys.argv[1:])
