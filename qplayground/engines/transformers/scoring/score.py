"""Scores a text: the model's probabilities for its tokens, and their divergence from a baseline's.

Teacher-forced: the model gets each window of the text at once, and the window's second half counts. The baseline's
log-probabilities are kept on disk. A candidate reads them row by row, so that memory does not grow with the text.

Longer than most modules, because a baseline and a candidate are scored in the same sequence of steps.
"""

import hashlib
import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import torch
from msgspec.structs import replace

from qplayground.core.dtype import Dtype
from qplayground.core.errors import ErrorCode, ErrorInfo, fail
from qplayground.core.measures.floats import Floats
from qplayground.core.measures.quality import (
    LayerError,
    Quality,
    ScoredTokens,
    TextSource,
    comparison_figures,
    perplexity_figures,
)
from qplayground.core.measures.windows import ROWS, WINDOW, Windows
from qplayground.core.messages.commands import Score
from qplayground.core.messages.events import Scored
from qplayground.core.quantizers.installed import installed_version
from qplayground.engines.transformers.loading.load import LoadedModel
from qplayground.engines.transformers.machine.devices import processor_name
from qplayground.engines.transformers.progress import OnCounted
from qplayground.engines.transformers.scoring.baselines import (
    BaselineKey,
    Baselines,
    KeptBaseline,
    KeptCandidate,
    KeptScores,
    Writing,
)
from qplayground.engines.transformers.scoring.fingerprint import weights_sha256
from qplayground.engines.transformers.scoring.layer_errors import measured
from qplayground.engines.transformers.scoring.scored_text import ScoredText, read_text, windows_of, written_text
from qplayground.engines.transformers.scoring.token_scores import RoundingFloor, Rows, TokenScores, VocabularySums

_NOTE_CHARACTERS = 200


class StoppedError(Exception):
    """Scoring was cancelled."""


@torch.inference_mode()
def score_text(
    loaded: LoadedModel,
    command: Score,
    written_ids: tuple[int, ...],
    should_stop: Callable[[], bool],
    on_progress: OnCounted,
) -> Scored:
    """Carry out a Score command. `written_ids`: the prompt and its continuation, where these are scored.

    Raises StoppedError, and PlaygroundError: BAD_FILE for a text that cannot be scored, NON_FINITE_OUTPUT.
    """
    baselines = Baselines(Path(command.folder), command.limit_bytes)
    scoring = _Scoring(loaded, command, written_ids, baselines, should_stop, on_progress)
    is_baseline = command.baseline == loaded.precision
    key, kept, note = None, None, None
    try:
        key = scoring.key()
        kept = baselines.find(key)
        if is_baseline and kept is not None and kept.scores.dtype != scoring.storage_dtype() == "float32":
            kept = None  # there was no room for float32 then, and there is now
    except OSError as error:
        note = _unkept(error)
    started = time.monotonic()
    place = place_of(loaded)
    before = kept.candidate(loaded.precision, place) if kept is not None else None
    reused = before is not None or (is_baseline and kept is not None)
    layers: tuple[LayerError, ...] = ()
    if before is not None:
        quality, tokens, layers = before.quality, before.tokens, before.layers
    elif not is_baseline:
        quality, tokens = scoring.candidate(kept, note)
    elif kept is not None:
        quality, tokens = kept.scores.quality, kept.scores.tokens
    else:
        quality, tokens = scoring.baseline(baselines, key, note)
        kept = None if key is None else baselines.find(key)
    seconds = time.monotonic() - started
    if before is None and loaded.precision.is_quantized:
        try:
            layers = scoring.layer_errors()
        except (RuntimeError, LookupError, OSError, ValueError) as error:  # the figures stay valid
            on_progress(f"The layers could not be measured: {error}"[:_NOTE_CHARACTERS], 0, 0)
            kept = None  # so that they are measured another time
    if before is None and kept is not None and (is_baseline or quality.reference is not None):
        kept.keep_candidate(loaded.precision, place, KeptCandidate(quality=quality, tokens=tokens, layers=layers))
    return Scored(
        command_id=command.id,
        # The kept result is for these tokens. By now another text, under another name, can have the same ones.
        quality=replace(quality, text=scoring.text.name, text_sha256=scoring.text.sha256, seconds=seconds),
        tokens=tokens,
        windows=scoring.windows,
        token_ids=scoring.text.ids if command.source is TextSource.PROMPT else (),
        evaluation=scoring.text.evaluation(scoring.windows),
        layers=layers,
        reused=reused,
        place=place,
    )


def place_of(loaded: LoadedModel) -> str:
    """What computes, and where each part of a split model is, because that decides what is quantized."""
    placed = loaded.device_map
    parts = f", {sorted(placed.items())}" if len(placed) > 1 else ""
    return f"{processor_name(loaded.device)}{parts}"


class _Scoring:
    """Scores one text with one loaded model."""

    def __init__(
        self,
        loaded: LoadedModel,
        command: Score,
        written_ids: tuple[int, ...],
        baselines: Baselines,
        should_stop: Callable[[], bool],
        on_progress: OnCounted,
    ) -> None:
        self._loaded = loaded
        self._command = command
        self._should_stop = should_stop
        self._on_progress = on_progress
        head = loaded.model.get_output_embeddings()
        declared = loaded.model.config.get_text_config().vocab_size
        self._vocabulary = int(getattr(head, "out_features", declared))
        self._sums = VocabularySums(self._vocabulary, loaded.device)
        self._room_bytes = baselines.room_bytes
        self.text = self._read_text(written_ids)
        self._limited_by_disk = False
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
        """As many windows as requested, and as can be kept. If hardly any can, nothing is kept."""
        most = self._room_bytes // (2 * self._vocabulary)  # as float16
        plan = partial(
            windows_of,
            self.text,
            whole=self._command.source is TextSource.PROMPT,
            limit=self._command.tokens,
            context_tokens=self._loaded.context_tokens,
        )
        windows = plan(most=most if most >= WINDOW else None)
        self._limited_by_disk = windows.scored_tokens < plan(most=None).scored_tokens
        return windows

    def key(self) -> BaselineKey:
        """The key of the baseline's log-probabilities for this text. Raises OSError."""
        command, loaded = self._command, self._loaded
        used = command.baseline.quantization
        libraries = ("torch", "transformers", *([] if used is None else [used.library]))
        return BaselineKey(
            weights_sha256=weights_sha256(loaded.files, Path(command.folder), self._say),
            precision=command.baseline,
            config_sha256=hashlib.sha256((loaded.files[0].parent / "config.json").read_bytes()).hexdigest(),
            place=place_of(loaded) if command.baseline == loaded.precision or not command.place else command.place,
            versions=tuple(map(installed_version, libraries)),
            ids_sha256=self.text.ids_sha256,
            starts=self.windows.starts,
            window=self.windows.window,
            vocabulary=self._vocabulary,
        )

    # ---- scoring ---------------------------------------------------------------------------------------------

    def baseline(
        self, baselines: Baselines, key: BaselineKey | None, note: ErrorInfo | None
    ) -> tuple[Quality, ScoredTokens]:
        """Score, and keep the log-probabilities under the key. Without a key, `note` says why they cannot be kept."""
        scores = TokenScores()
        storage_kld = 0.0
        rounding = RoundingFloor(self._vocabulary, self._loaded.device)
        with ExitStack() as stack:
            writing = None
            dtype = self.storage_dtype()
            if key is not None:
                writing, note = _begin(stack, baselines, key, dtype)
            for rows in self._rows(rounding.add):
                scores.add(rows)
                if writing is not None:
                    try:
                        stored = writing.write(rows.log_p)
                    except OSError as error:
                        writing.discard()  # the disk is full: free the space for others
                        writing, note = None, _unkept(error)
                        continue
                    if dtype != "float32":
                        stored = stored.to(rows.log_p.device)
                        storage_kld += sum(map(abs, self._sums.divergences(rows.log_p, stored)))
            tokens = scores.tokens(self._loaded.tokenizer)
            quality = replace(
                self._quality(self._perplexity(tokens)),
                reference_dtype=dtype if writing else None,
                note=note,
            )
            if writing is not None:
                kept = KeptScores(
                    dtype=dtype or "",
                    quality=quality,
                    tokens=tokens,
                    storage_kld=storage_kld / len(tokens.nll),
                    rounding_klds=rounding.klds(),
                )
                try:
                    writing.finish(kept)
                except OSError as error:
                    quality = replace(quality, reference_dtype=None, note=_unkept(error))
        return quality, tokens

    def candidate(self, kept: KeptBaseline | None, note: ErrorInfo | None) -> tuple[Quality, ScoredTokens]:
        """Score, and compare with the kept baseline if there is one."""
        scores = TokenScores()
        for rows in self._rows():
            done, count = len(scores), len(rows.nll)
            scores.add(rows)
            if kept is not None:
                try:
                    reference = kept.rows(done, count).to(rows.log_p.device)
                except (OSError, ValueError) as error:  # another window deleted it to make room
                    kept, note = None, _lost(error)
                    continue
                klds = self._sums.divergences(reference, rows.log_p)
                self._check_finite(klds, done)
                scores.compare(rows, klds, kept.scores.tokens.top_ids[done : done + count])
        tokens = scores.tokens(self._loaded.tokenizer)
        quality = self._quality(self._perplexity(tokens))
        if kept is None:  # or it was lost: a partial comparison does not count
            tokens = replace(tokens, kld=Floats.of(()), same_top=b"")
            return replace(quality, note=note or _WITHOUT_BASELINE), tokens
        own = str(self._loaded.precision.dtype)
        return replace(
            quality,
            **comparison_figures(tokens, kept.scores.tokens),
            reference=self._command.reference,
            reference_dtype=kept.scores.dtype,
            storage_kld=kept.scores.storage_kld,
            rounding_kld=kept.scores.rounding_klds.get(own),
        ), tokens

    def layer_errors(self) -> tuple[LayerError, ...]:
        """Errors of every quantized layer, on the first window."""
        errors: list[LayerError] = []
        windows = self.windows
        ids = torch.tensor([self.text.window_ids(windows.starts[0], windows.window)], device=self._loaded.device)
        with measured(self._loaded, errors, self._next_layer):
            self._loaded.model(input_ids=ids, use_cache=False, **_last(self._loaded, 1))
        return tuple(errors)

    def _next_layer(self, done: int, total: int) -> None:
        self._say("Measuring each layer", done, total, "layers")

    def _say(self, label: str, done: int, total: int, unit: str = "bytes") -> None:
        """Report progress. Raises StoppedError."""
        if self._should_stop():
            raise StoppedError
        self._on_progress(label, done, total, unit)

    def _rows(self, see_first: Callable[[torch.Tensor, Rows], None] | None = None) -> Iterator[Rows]:
        """All scored tokens, in chunks. `see_first` also gets the logits of each window's first chunk."""
        windows, loaded, total = self.windows, self._loaded, self.windows.scored_tokens
        keep = windows.window - windows.context
        done = 0
        for start in windows.starts:
            self._say("Scoring", done, total, "tokens")
            ids = torch.tensor([self.text.window_ids(start, windows.window)], device=loaded.device)
            shown = ids[:, :-1]  # no prediction is needed after the last token
            logits = loaded.model(input_ids=shown, use_cache=False, **_last(loaded, keep)).logits[0, -keep:]
            targets = ids[0, windows.context :]
            for first in range(0, len(targets), ROWS):
                some = logits[first : first + ROWS]
                rows = self._sums.of(some, targets[first : first + ROWS])
                self._check_finite(rows.nll, done + first)  # one NaN logit makes its whole row NaN
                if first == 0 and see_first is not None:
                    see_first(some, rows)
                yield rows
            done += len(targets)
        self._on_progress("Scoring", total, total, "tokens")

    # ---- what is said ----------------------------------------------------------------------------------------

    def storage_dtype(self) -> str | None:
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
            limited_by_disk=self._limited_by_disk,
        )
        return replace(quality, **figures)

    def _perplexity(self, tokens: ScoredTokens) -> dict[str, float]:
        try:
            return perplexity_figures(tokens.nll.values)
        except OverflowError as error:
            raise fail(
                ErrorCode.NON_FINITE_OUTPUT,
                "The model finds this text impossible: its perplexity is larger than any number.",
                self._wider_type(),
            ) from error

    def _wider_type(self) -> str:
        if self._loaded.precision.dtype is Dtype.FLOAT16:
            return "Use bf16 or fp32, whose range is wider."
        return "Its weights are damaged, or it was not made for such a text: try another model."

    def _check_finite(self, values: list[float], first: int) -> None:
        """Check values of scored tokens, the first of which is number `first`. Raises PlaygroundError."""
        place = next((first + index for index, value in enumerate(values) if not math.isfinite(value)), None)
        if place is None:
            return
        position = self.windows.positions[place]
        raise fail(
            ErrorCode.NON_FINITE_OUTPUT,
            f"The model's output is not a number, first at token {position:,} of the text "
            f"({self.text.pieces[position]!r}): its values became too large for this precision.",
            self._wider_type(),
        )


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
        "Free space on the disk that holds the cache.",
        "" if error is None else str(error),
    )


def _lost(error: Exception) -> ErrorInfo:
    return ErrorInfo(
        ErrorCode.BAD_FILE,
        "The baseline's probabilities were removed while they were compared with.",
        "Run the baseline again, then this one.",
        str(error),
    )


def _last(loaded: LoadedModel, positions: int) -> dict[str, int]:
    """Options that make the model compute only the last logits, where it can."""
    return {"logits_to_keep": positions} if loaded.model._supports_logits_to_keep() else {}
