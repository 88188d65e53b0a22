"""Comparisons for tests of views, figures and reports."""

from typing import Any

import msgspec

from qplayground.core.comparison.results import (
    ComparedModel,
    Comparison,
    LoadFigures,
    MemoryFigures,
    Run,
    RunState,
    SpeedFigures,
)
from qplayground.core.errors import ErrorCode, ErrorInfo
from qplayground.core.generation import GenerationSettings
from qplayground.core.model import ModelSource
from qplayground.core.precision import READY_PRECISIONS
from qplayground.core.system.machine import Machine
from qplayground.core.tokens import Alternative, Token
from tests.fakes.remote import LACKS

READY = {precision.name: precision for precision in READY_PRECISIONS}
MACHINE = Machine(
    python="3.11",
    platform="linux",
    cpu="Some <CPU>",
    cpu_capability="AVX512",
    cpu_threads=2,
    ram_total_bytes=8 * 10**9,
    versions={"torch": "2.9.1", "transformers": "5.20"},
    gpus=("A | GPU",),
)
MODEL = ComparedModel("demo", ModelSource.DEMO, "LlamaForCausalLM", 134_515_008, "/models/demo", "from a package")
OUT_OF_MEMORY = ErrorInfo(ErrorCode.OUT_OF_MEMORY, "Memory ran out.", "Close other programs.", "Killed: 9")


def _words(text: str) -> list[tuple[int, str]]:
    return list(enumerate(text.split()))


def done(name: str = "fp32", text: str = " to help.") -> Run:
    return Run(
        id=name,
        model=MODEL,
        precision=READY[name],
        state=RunState.DONE,
        text=text,
        prompt_tokens=5,
        token_ids=[1, 2, 3],
        tokens=[Token(place, word, 0.1 * place, 0.5, 1, (Alternative(word, 0.5),)) for place, word in _words(text)],
        finish_reason="length",
        load=LoadFigures(1.5),
        speed=SpeedFigures(ttft_s=0.0421, prefill_tokens_per_s=118.8, decode_tokens_per_s=24.13),
        memory=MemoryFigures(538_060_288, 1_000_000_000, 1_200_000_000, 400_000_000),
    )


def remote(name: str = "nf4") -> Run:
    """A run of the scripted engine that lacks every capability."""
    run = done(name)
    run.engine = "remote"
    run.lacks = {capability.value: reason for capability, reason in LACKS.items()}
    run.memory = MemoryFigures()
    run.tokens = [Token(token.id, token.text, token.time_s) for token in run.tokens]
    return run


def failed(name: str = "nf4") -> Run:
    return Run(
        id=name,
        model=MODEL,
        precision=READY[name],
        state=RunState.FAILED,
        error=OUT_OF_MEMORY,
        text=" half a",
        token_ids=[1, 2],
    )


def cancelled(name: str = "int8", text: str = " to be") -> Run:
    return Run(
        id=name,
        model=MODEL,
        precision=READY[name],
        state=RunState.CANCELLED,
        text=text,
        token_ids=[1, 2] if text else [],
        finish_reason="cancelled",
    )


def comparison(*runs: Run, model: str = "demo", machine: Machine | None = MACHINE, prompt: str = "AI is") -> Comparison:
    for run in runs:
        run.model = msgspec.structs.replace(MODEL, id=model)
    return Comparison(
        environment=machine,
        prompt=prompt,
        settings=GenerationSettings(),
        baseline="fp32",
        runs=list(runs),
    )


def change_model(made: Comparison, **changes: Any) -> None:
    """Change fields of the model in every run."""
    for run in made.runs:
        run.model = msgspec.structs.replace(run.model, **changes)
