"""Answers questions about the memory of one model at a time."""

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import torch
from msgspec.structs import replace
from transformers import PreTrainedTokenizerBase

from qplayground.catalog.config import read_config
from qplayground.catalog.outline import read_outline
from qplayground.core.dtype import Dtype
from qplayground.core.errors import ErrorCode, ErrorInfo, PlaygroundError, fail
from qplayground.core.memory.estimate import ContextSize, Estimate
from qplayground.core.memory.process_memory import read_process_memory, shared_bytes
from qplayground.core.messages.commands import EstimateMemory, PlanPlacement
from qplayground.core.messages.events import MemoryEstimated, PlacementPlanned
from qplayground.core.precision import READY_PRECISIONS, Precision
from qplayground.core.quantizers.installed import missing
from qplayground.engines.transformers.machine import allocator
from qplayground.engines.transformers.model.checkpoint import Checkpoint
from qplayground.engines.transformers.model.completeness import check_complete
from qplayground.engines.transformers.model.config import check_folder
from qplayground.engines.transformers.model.shapes import Shapes
from qplayground.engines.transformers.prediction.context import ContextSizes
from qplayground.engines.transformers.prediction.estimating import estimated, known_context, weights_by_module
from qplayground.engines.transformers.prediction.placement import plan
from qplayground.engines.transformers.quantizers.warmup import warm_libraries
from qplayground.engines.transformers.text.prompt import encode_prompt
from qplayground.engines.transformers.text.tokenizer import read_tokenizer


class Estimator:
    """Answers for one model at a time, and keeps its shapes and tokenizer between questions."""

    def __init__(self) -> None:
        self._runtime_bytes: dict[str, int] = {}  # with warm libraries, by the quantizer's library
        self._unusable: dict[str, ErrorInfo] = {}  # libraries that are installed and do not work
        self._shared_bytes = 0
        self._key: object = None  # the folder, and the state of its files
        self._shapes: Shapes | None = None
        self._checkpoint: Checkpoint | None = None
        self._refusal: PlaygroundError | None = None  # of the whole model
        self._note = ""  # on its files
        self._tokenizer: PreTrainedTokenizerBase | None = None
        self._tokenizer_problem: ErrorInfo | None = None
        self._contexts: ContextSizes | None = None
        self._context: tuple[object, ContextSize | None, str] = (None, None, "")  # of the last lengths requested
        self._before_bytes = 0  # of the process, before it read the model
        self._model_bytes = 0  # what that added: shapes, the first context's run, tokenizer, the first encoding

    def warm(self) -> None:
        """Measure what the libraries take by themselves. Every engine warms them before it loads."""
        if not self._runtime_bytes:
            cpu = torch.device("cpu")
            for precision in READY_PRECISIONS:
                library = _library(precision)
                if library in {*self._runtime_bytes, *self._unusable} or missing(precision.quantization) is not None:
                    continue
                try:
                    warm_libraries(precision, cpu)
                    self._runtime_bytes[library] = _resident_bytes()
                except PlaygroundError as error:
                    self._unusable[library] = error.info
            self._shared_bytes = shared_bytes()

    def estimate(self, command: EstimateMemory) -> Iterator[MemoryEstimated]:
        """Answer at once, and again with the tokenizer's share if it had to be read.

        Raises PlaygroundError for a model that cannot be loaded at all. A problem of one precision is in its estimate.
        A problem of every text is the answer's `tokenizer_problem`.
        """
        self.warm()
        path = Path(command.path)
        self._read(path)
        tokens = command.context_tokens or command.request.settings.max_new_tokens
        prompt_tokens = command.context_tokens
        self._check_context(path, prompt_tokens)
        if self._tokenizer is None and self._tokenizer_problem is None:
            yield self._answer(command, prompt_tokens, tokens, final=False)
            self._read_tokenizer(command)
        if command.context_tokens is None and self._tokenizer is not None:
            with contextlib.suppress(PlaygroundError):  # a bad prompt is reported when it is run
                prompt_tokens = len(encode_prompt(self._tokenizer, command.request).ids)
                tokens += prompt_tokens - 1  # the last one is never fed back
        answer = self._answer(command, prompt_tokens, max(tokens, 1), final=True)
        yield replace(answer, tokenizer_problem=self._tokenizer_problem)

    def _check_context(self, path: Path, wanted: int | None) -> None:
        limit = self._known_shapes.position_limit(read_config(path / "config.json").context_tokens) if wanted else None
        if limit is not None and wanted is not None and wanted > limit:
            raise fail(
                ErrorCode.PROMPT_TOO_LONG,
                f"A context of {wanted:,} tokens is more than the model has positions for, {limit:,}.",
                f"Ask for {limit:,} at most.",
            )

    def plan(self, command: PlanPlacement) -> PlacementPlanned:
        """Where the model's parts would be. Raises as `estimate` does."""
        self._read(Path(command.path))
        shapes = self._known_shapes
        assert self._checkpoint is not None
        tensors = tuple(self._checkpoint.tensor_bytes)
        plans = tuple(
            plan(shapes, each, command.placement, command.limits, partial(weights_by_module, shapes, each), tensors)
            for each in command.precisions
        )
        return PlacementPlanned(command_id=command.id, plans=plans)

    def _read(self, path: Path) -> None:
        if read_outline(path) is None:
            check_folder(path)
        files = ((file.name, file.stat()) for file in path.iterdir() if file.is_file())
        key = (str(path), tuple(sorted((name, found.st_mtime_ns, found.st_size) for name, found in files)))
        if key != self._key:
            self._key = self._shapes = self._checkpoint = self._tokenizer = self._tokenizer_problem = None
            self._context = (None, None, "")
            self._before_bytes = _resident_bytes()
            self._refusal = None
            try:
                shapes, checkpoint = Shapes.read(path), Checkpoint.read(path)
                self._note = check_complete(shapes.skeleton(Dtype.BFLOAT16), checkpoint)
                self._shapes, self._checkpoint = shapes, checkpoint
                self._contexts = ContextSizes(shapes)
            except PlaygroundError as error:  # found once, raised for each question about these files
                self._refusal = error
            self._key = key
        if self._refusal is not None:
            raise self._refusal

    def _read_tokenizer(self, command: EstimateMemory) -> None:
        """Every engine also holds what the tokenizer takes, and what its first encoding takes."""
        before, path = _resident_bytes(), Path(command.path)
        try:
            self._tokenizer = read_tokenizer(path)
            with contextlib.suppress(PlaygroundError):
                encode_prompt(self._tokenizer, command.request)
        except PlaygroundError as error:
            if read_outline(path) is None:  # an outline may lack a file that the model has
                self._tokenizer_problem = error.info
        self._model_bytes += max(0, _resident_bytes() - before)

    def _answer(
        self, command: EstimateMemory, prompt_tokens: int | None, tokens: int, *, final: bool
    ) -> MemoryEstimated:
        assert self._contexts is not None
        key = (prompt_tokens, tokens)
        if self._context[0] != key:
            first = self._context[0] is None
            self._context = (key, *known_context(self._contexts, prompt_tokens, tokens))
            if first:
                self._model_bytes = max(0, _resident_bytes() - self._before_bytes)
        estimates = tuple(self._estimate(command, precision) for precision in command.precisions)
        return MemoryEstimated(command_id=command.id, estimates=estimates, context_tokens=tokens, final=final)

    def _estimate(self, command: EstimateMemory, precision: Precision) -> Estimate:
        assert self._checkpoint is not None
        problem = self._unusable.get(_library(precision))
        if problem is not None:
            return Estimate(precision=precision.name, problem=problem)
        return estimated(
            self._known_shapes,
            precision,
            placement=command.placement,
            limits=command.limits,
            checkpoint=self._checkpoint,
            note=self._note,
            context=self._context[1],
            unknown=self._context[2],
            runtime_bytes=self._runtime_bytes.get(_library(precision), 0) + self._model_bytes,
            shared_bytes=self._shared_bytes,
        )

    @property
    def _known_shapes(self) -> Shapes:
        assert self._shapes is not None
        return self._shapes


def _library(precision: Precision) -> str:
    return "" if precision.quantization is None else precision.quantization.library


def _resident_bytes() -> int:
    allocator.release()
    return read_process_memory(psutil.Process()).resident_bytes
