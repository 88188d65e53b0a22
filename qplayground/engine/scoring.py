"""Scoring a text: the model's probabilities for the tokens that stand there, and how far they are from a baseline's.

Teacher-forced: each window of the text is shown to the model at once, and the second half of it counts. The
baseline's log-probabilities are kept on disk, and a candidate reads them row by row, so that neither's memory grows
with the text.
"""

import math
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import NamedTuple

import bitsandbytes
import torch
import transformers
from msgspec.structs import replace

from qplayground.core.errors import ErrorCode, ErrorInfo, fail
from qplayground.core.messages import Score, Scored
from qplayground.core.precision import Dtype
from qplayground.core.quality import (
    Floats,
    LayerError,
    Quality,
    ScoredTokens,
    TextSource,
    comparison_figures,
    perplexity_figures,
)
from qplayground.core.windows import WINDOW, Windows
from qplayground.engine.baselines import BaselineKey, Baselines, KeptBaseline, KeptCandidate, KeptScores, Writing
from qplayground.engine.fingerprint import weights_sha256
from qplayground.engine.layer_errors import measured
from qplayground.engine.loading import LoadedModel
from qplayground.engine.progress import OnProgress
from qplayground.engine.scored_text import ScoredText, read_text, windows_of, written_text

_ROWS = 32
"""Rows of the vocabulary's width that are worked on at once: a few megabytes, which stay in the processor's cache."""
_ROUNDED = (Dtype.BFLOAT16, Dtype.FLOAT16)
_ROUNDED_ROWS = 8
"""Of each window, to see what rounding the logits does: enough for a mean."""


class StoppedError(Exception):
    """Somebody asked for an end."""


class _Rows(NamedTuple):
    """Some scored tokens in a row: the `logits` before each, [rows, vocabulary], as log-probabilities too, and the
    right tokens' negative ones. `begins`: they are the first of their window.
    """

    nll: list[float]
    logits: torch.Tensor
    log_p: torch.Tensor
    begins: bool


@torch.inference_mode()
def score(
    loaded: LoadedModel,
    command: Score,
    written_ids: tuple[int, ...],
    should_stop: Callable[[], bool],
    on_progress: OnProgress,
) -> Scored:
    """Carry out a command. `written_ids` are the prompt and the text that came of it, for where that is scored.

    Raises StoppedError, and PlaygroundError: BAD_FILE for a text that cannot be scored, NON_FINITE_OUTPUT.
    """
    baselines = Baselines(Path(command.folder), command.limit_bytes)
    scoring = _Scoring(loaded, command, written_ids, baselines, should_stop, on_progress)
    is_baseline = command.baseline == loaded.precision
    key, kept, note = None, None, None
    try:
        key = scoring.key()
        kept = baselines.find(key)
    except OSError as error:
        note = _unkept(error)
    started = time.monotonic()
    before = kept.candidate(loaded.precision) if kept is not None and not is_baseline else None
    layers: tuple[LayerError, ...] = ()
    if before is not None:
        quality, tokens, layers = before.quality, before.tokens, before.layers
    elif not is_baseline:
        quality, tokens = scoring.candidate(kept, note)
    elif kept is not None:
        quality, tokens = kept.scores.quality, kept.scores.tokens
    else:
        quality, tokens = scoring.baseline(baselines, key, note)
    seconds = time.monotonic() - started
    if before is None and loaded.precision.is_quantized:
        layers = scoring.layer_errors()
    if before is None and kept is not None and not is_baseline:
        kept.keep_candidate(loaded.precision, KeptCandidate(quality=quality, tokens=tokens, layers=layers))
    return Scored(
        command_id=command.id,
        quality=replace(quality, text=scoring.text.name, seconds=seconds),  # the same text can have another name now
        tokens=tokens,
        windows=scoring.windows,
        token_ids=scoring.text.ids if command.source is TextSource.PROMPT else (),
        evaluation=scoring.text.evaluation(scoring.windows) if is_baseline else None,
        layers=layers,
        reused=before is not None or (is_baseline and kept is not None),
    )


class _Scoring:
    """One text, one loaded model."""

    def __init__(
        self,
        loaded: LoadedModel,
        command: Score,
        written_ids: tuple[int, ...],
        baselines: Baselines,
        should_stop: Callable[[], bool],
        on_progress: OnProgress,
    ) -> None:
        self._loaded = loaded
        self._command = command
        self._should_stop = should_stop
        self._on_progress = on_progress
        self._vocabulary = int(loaded.model.config.get_text_config().vocab_size)
        self._room_bytes = baselines.room_bytes
        self.text = self._read_text(written_ids)
        self.windows = command.windows or self._plan()

    # ---- what is scored --------------------------------------------------------------------------------------

    def _read_text(self, written_ids: tuple[int, ...]) -> ScoredText:
        command, tokenizer = self._command, self._loaded.tokenizer
        if command.source is not TextSource.PROMPT:
            return read_text(tokenizer, command.name, command.text)
        is_baseline = command.baseline == self._loaded.precision
        ids = command.token_ids or (written_ids if is_baseline else ())
        if not ids:
            raise fail(ErrorCode.UNSUPPORTED, "The baseline wrote no text that could be scored.", "Run it again first.")
        return written_text(tokenizer, command.name, ids)

    def _plan(self) -> Windows:
        """As many windows as were asked for, and as can be kept; where hardly any can, nothing is kept."""
        most = self._room_bytes // (2 * self._vocabulary)
        return windows_of(
            self.text,
            whole=self._command.source is TextSource.PROMPT,
            limit=self._command.tokens,
            most=most if most >= WINDOW else None,
            context_tokens=self._loaded.context_tokens,
        )

    def key(self) -> BaselineKey:
        """What the baseline's log-probabilities for this are kept under. Raises OSError."""
        command, loaded = self._command, self._loaded
        libraries = (torch, transformers, bitsandbytes)
        return BaselineKey(
            weights_sha256=weights_sha256(loaded.files, Path(command.folder), self._on_progress),
            precision=command.baseline,
            device=loaded.device.type,
            versions=tuple(str(library.__version__) for library in libraries),
            ids_sha256=self.text.ids_sha256,
            starts=self.windows.starts,
            window=self.windows.window,
            vocabulary=self._vocabulary,
        )

    # ---- scoring ---------------------------------------------------------------------------------------------

    def baseline(
        self, baselines: Baselines, key: BaselineKey | None, note: ErrorInfo | None
    ) -> tuple[Quality, ScoredTokens]:
        """Score, and keep the log-probabilities under the key; without one `note` says why that cannot be."""
        tally = _Tally()
        storage_kld, rounded_tokens = 0.0, 0
        rounding_klds = dict.fromkeys(map(str, _ROUNDED), 0.0)
        with ExitStack() as stack:
            writing = None
            dtype = self._storage_dtype()
            if key is not None:
                writing, note = _begin(stack, baselines, key, dtype)
            for rows in self._rows():
                tally.add(rows)
                if rows.begins:
                    rounded_tokens += len(rows.nll[:_ROUNDED_ROWS])
                    for name in rounding_klds:
                        rounded = log_probabilities(rows.logits[:_ROUNDED_ROWS].to(getattr(torch, name)))
                        rounding_klds[name] += float(divergences(rows.log_p[:_ROUNDED_ROWS], rounded).sum())
                if writing is not None:
                    try:
                        stored = writing.write(rows.log_p)
                    except OSError as error:
                        writing, note = None, _unkept(error)
                        continue
                    if dtype != "float32":
                        storage_kld += float(divergences(rows.log_p, stored.to(rows.log_p.device)).abs().sum())
            tokens = tally.tokens(self._loaded)
            quality = replace(
                self._quality(perplexity_figures(tokens.nll.values)),
                reference_dtype=dtype if writing else None,
                note=note,
            )
            if writing is not None:
                klds = {name: total / rounded_tokens for name, total in rounding_klds.items()}
                scores = KeptScores(
                    dtype=dtype or "",
                    quality=quality,
                    tokens=tokens,
                    storage_kld=storage_kld / len(tokens.nll),
                    rounding_klds=klds,
                )
                try:
                    writing.finish(scores)
                except OSError as error:
                    quality = replace(quality, reference_dtype=None, note=_unkept(error))
        return quality, tokens

    def candidate(self, kept: KeptBaseline | None, note: ErrorInfo | None) -> tuple[Quality, ScoredTokens]:
        """Score, against what was kept of the baseline where there is something."""
        tally, done = _Tally(), 0
        for rows in self._rows():
            tally.add(rows)
            count = len(rows.nll)
            if kept is not None:
                reference = kept.rows(done, count).to(rows.log_p.device)
                top = kept.scores.tokens.top_ids[done : done + count]
                self._compare(tally, rows, reference, top, done)
            done += count
        tokens = tally.tokens(self._loaded)
        quality = self._quality(perplexity_figures(tokens.nll.values))
        if kept is None:
            return replace(quality, note=note or _WITHOUT_BASELINE), tokens
        own = str(self._loaded.precision.dtype)
        return replace(
            quality,
            **comparison_figures(tokens, kept.scores.tokens),
            reference=self._command.baseline.name,
            reference_dtype=kept.scores.dtype,
            storage_kld=kept.scores.storage_kld,
            rounding_kld=kept.scores.rounding_klds.get(own),
        ), tokens

    def layer_errors(self) -> tuple[LayerError, ...]:
        """Of every quantized layer, on the first window."""
        errors: list[LayerError] = []
        windows = self.windows
        ids = torch.tensor([self.text.window_ids(windows.starts[0], windows.window)], device=self._loaded.device)
        if self._should_stop():
            raise StoppedError
        self._on_progress("Measuring each layer", 0, 0)
        with measured(self._loaded, errors):
            self._loaded.model(input_ids=ids, use_cache=False, **_last(self._loaded, 1))
        return tuple(errors)

    def _compare(self, tally: "_Tally", rows: _Rows, reference: torch.Tensor, top: tuple[int, ...], done: int) -> None:
        klds = divergences(reference, rows.log_p).tolist()
        for place, kld in enumerate(klds):
            if not math.isfinite(kld):
                raise self._not_finite(done + place)
        tally.kld.extend(klds)
        tally.same_top += bytes(one == other for one, other in zip(tally.top[done:], top, strict=True))

    def _rows(self) -> Iterator[_Rows]:
        """All scored tokens, some at a time."""
        windows, loaded, total = self.windows, self._loaded, self.windows.scored_tokens
        keep = windows.window - windows.context
        done = 0
        for start in windows.starts:
            if self._should_stop():
                raise StoppedError
            self._on_progress("Scoring", done, total)
            ids = torch.tensor([self.text.window_ids(start, windows.window)], device=loaded.device)
            shown = ids[:, :-1]  # what follows the last token is not asked
            logits = loaded.model(input_ids=shown, use_cache=False, **_last(loaded, keep)).logits[0, -keep:]
            targets = ids[0, windows.context :]
            for first in range(0, len(targets), _ROWS):
                some = logits[first : first + _ROWS]
                log_p = log_probabilities(some)
                right = targets[first : first + _ROWS]
                nll = [-value for value in log_p.gather(-1, right.unsqueeze(-1)).squeeze(-1).tolist()]
                for place, value in enumerate(nll):  # one that is no number makes its whole row so
                    if not math.isfinite(value):
                        raise self._not_finite(done + first + place)
                yield _Rows(nll, some, log_p, begins=first == 0)
            done += len(targets)
        self._on_progress("Scoring", total, total)

    # ---- what is said ----------------------------------------------------------------------------------------

    def _storage_dtype(self) -> str | None:
        """`float32`, `float16` where only that fits, None where nothing does."""
        for dtype, itemsize in (("float32", 4), ("float16", 2)):
            if self.windows.scored_tokens * self._vocabulary * itemsize <= self._room_bytes:
                return dtype
        return None

    def _quality(self, figures: dict[str, float]) -> Quality:
        quality = Quality(
            text=self.text.name,
            text_sha256=self.text.sha256,
            window=self.windows.window,
            stride=self.windows.stride,
            scored_tokens=self.windows.scored_tokens,
        )
        return replace(quality, **figures)

    def _not_finite(self, place: int) -> Exception:
        position = self.windows.positions[place]
        return fail(
            ErrorCode.NON_FINITE_OUTPUT,
            f"The model's output is not a number, first at token {position:,} of the text "
            f"({self.text.pieces[position]!r}): its values became too large for this precision.",
            "Use bf16 or fp32, whose range is wider.",
        )


class _Tally:
    """Values of the scored tokens so far."""

    def __init__(self) -> None:
        self.top = array("i")
        self.kld = array("f")
        self.same_top = bytearray()
        self._nll = array("f")
        self._top_p = array("f")

    def add(self, rows: _Rows) -> None:
        top = rows.log_p.max(-1)
        self.top.extend(top.indices.tolist())
        self._top_p.extend(top.values.exp().tolist())
        self._nll.extend(rows.nll)

    def tokens(self, loaded: LoadedModel) -> ScoredTokens:
        @cache
        def text(token: int) -> str:
            return str(loaded.tokenizer.decode([token], clean_up_tokenization_spaces=False))

        return ScoredTokens(
            nll=Floats.of(self._nll),
            top=tuple(text(token) for token in self.top),
            top_ids=tuple(self.top),
            top_p=Floats.of(self._top_p),
            kld=Floats.of(self.kld),
            same_top=bytes(self.same_top),
        )


def log_probabilities(logits: torch.Tensor) -> torch.Tensor:
    """Of each row, in single precision; summed in double, since a divergence is a small difference of large sums."""
    values = logits.float()
    shifted = values - values.amax(-1, keepdim=True)
    return shifted.sub_(shifted.exp().sum(-1, keepdim=True, dtype=torch.float64).log().float())


def divergences(reference: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Kullback-Leibler divergence of each row of log-probabilities from the reference's, in nats, [rows].

    Equal rows give exactly 0.
    """
    found: torch.Tensor = torch.linalg.vecdot(reference.exp(), reference - other)
    return found


_WITHOUT_BASELINE = ErrorInfo(
    ErrorCode.UNSUPPORTED,
    "There are no probabilities of the baseline to compare with.",
    "Run the baseline again, then this one.",
)


def _begin(
    stack: ExitStack, baselines: Baselines, key: BaselineKey, dtype: str | None
) -> tuple[Writing | None, ErrorInfo | None]:
    if dtype is None:
        return None, _unkept(None)
    try:
        return stack.enter_context(baselines.writing(key, dtype)), None
    except OSError as error:
        return None, _unkept(error)


def _unkept(error: OSError | None) -> ErrorInfo:
    return ErrorInfo(
        ErrorCode.DISK_FULL,
        "The baseline's probabilities could not be kept, so nothing is compared with them"
        f"{'' if error is None else f': {error.strerror or error}'}.",
        "Make room on the disk of the cache, or raise the limit.",
        "" if error is None else str(error),
    )


def _last(loaded: LoadedModel, positions: int) -> dict[str, int]:
    """Have the model compute the last logits only, where it can."""
    return {"logits_to_keep": positions} if loaded.model._supports_logits_to_keep() else {}
