"""The outcome of one model type, in plain transformers and in the program."""

from enum import StrEnum

import msgspec

from qplayground.core.errors import ErrorCode


class Verdict(StrEnum):
    """The result for a type in one precision."""

    OK = "ok"
    KEPT = "ok, layers kept"
    """Equal to plain transformers with the program's skipped layers. The program reports them: bitsandbytes cannot
    compute them here.
    """
    DIFFERS = "differs"
    """The tokens differ from plain transformers."""
    BYTES_OFF = "bytes off"
    """The tokens agree, but held bytes differ from predicted ones, for the weights or for the KV cache."""
    CACHE_UNKNOWN = "cache unknown"
    """All of that is right, but the estimate does not know the KV cache."""
    SCRIPT_DIFFERS = "script differs"
    NOTHING_TO_QUANTIZE = "nothing to quantize"
    """Rightly refused: plain transformers loads it, but silently quantizes no layer."""
    REFUSED = "refused"
    FAILED = "failed"
    """The program ends with an unexpected error."""
    PLAIN_DOES_NOT_RUN = "plain does not run"
    NOT_BUILT = "not built"


class Plain(msgspec.Struct, kw_only=True):
    """Results of plain transformers: tokens, bytes held after them and number of quantized layers, or the error."""

    ids: list[int] = []
    weight_bytes: int = 0
    quantized: int = 0
    cache_bytes: int | None = None
    error: str = ""


class Ours(msgspec.Struct, kw_only=True):
    """Results of the program.

    `unforeseen`: modules whose held bytes differ from the prediction. `skips`: the layers left unquantized, if this is
    not transformers' own list. `unknown`: why the cache is not known.
    """

    ids: list[int] = []
    predicted_bytes: int = 0
    held_bytes: int = 0
    unforeseen: list[str] = []
    skips: list[str] = []
    cache_bytes: int | None = None
    unknown: str = ""
    error: str = ""
    code: str = ""
    detail: str = ""
    script_ids: list[int] | None = None
    script_error: str = ""


class Case(msgspec.Struct, kw_only=True):
    """A type in one precision. `alike` is plain transformers with the program's skipped layers."""

    plain: Plain
    ours: Ours
    alike: Plain | None = None

    @property
    def verdict(self) -> Verdict:
        ours, plain = self.ours, self._compared
        if plain.error:
            return Verdict.PLAIN_DOES_NOT_RUN
        if ours.error:
            nothing = ours.code == ErrorCode.NOT_QUANTIZED and not plain.quantized
            known = Verdict.NOTHING_TO_QUANTIZE if nothing else Verdict.REFUSED
            return Verdict.FAILED if ours.code == ErrorCode.INTERNAL else known
        if ours.ids != plain.ids:
            return Verdict.DIFFERS
        if self._weights_are_off or self._cache_is_off:
            return Verdict.BYTES_OFF
        if ours.script_error or ours.script_ids not in (None, ours.ids):
            return Verdict.SCRIPT_DIFFERS
        if ours.cache_bytes is None:
            return Verdict.CACHE_UNKNOWN
        return Verdict.OK if self.alike is None else Verdict.KEPT

    @property
    def _compared(self) -> Plain:
        return self.plain if self.alike is None else self.alike

    @property
    def _weights_are_off(self) -> bool:
        """The bytes predicted, held in the program and held in plain transformers must be equal."""
        predicted, held = self.ours.predicted_bytes, self.ours.held_bytes
        return bool(self.ours.unforeseen) or not predicted == held == self._compared.weight_bytes

    @property
    def _cache_is_off(self) -> bool:
        """Compares only if both are known. A text that stopped early has less in its cache than was asked for."""
        plain, ours = self._compared.cache_bytes, self.ours.cache_bytes
        return plain is not None and ours is not None and plain != ours

    @property
    def reason(self) -> str:
        """The reason for the verdict, in one line."""
        ours, plain = self.ours, self._compared
        if plain.error:
            return plain.error
        if ours.error:
            return f"{ours.error} {ours.detail}" if self.verdict is Verdict.FAILED else ours.error
        match self.verdict:
            case Verdict.DIFFERS:
                return f"{ours.ids} instead of {plain.ids}"
            case Verdict.BYTES_OFF if self._weights_are_off:
                figures = (
                    f"{ours.predicted_bytes:,} predicted, {ours.held_bytes:,} held, {plain.weight_bytes:,} in plain"
                )
                return f"{figures}; {', '.join(ours.unforeseen[:3]) or 'no module differs'}"
            case Verdict.BYTES_OFF:
                return f"KV cache: {ours.cache_bytes:,} predicted, {plain.cache_bytes:,} held"
            case Verdict.SCRIPT_DIFFERS:
                return ours.script_error or f"{ours.script_ids} instead of {ours.ids}"
            case Verdict.CACHE_UNKNOWN:
                return ours.unknown
            case Verdict.KEPT:
                return f"plain: {self.plain.error or 'runs'}"
            case _:
                return ""


class Outcome(msgspec.Struct, kw_only=True):
    """A model type: the class that was written, and a case by precision.

    `error`: why it could not be built. `ended`: how it ended the process that tried it.
    """

    model_type: str
    written: str = ""
    error: str = ""
    ended: str = ""
    cases: dict[str, Case] = {}
    seconds: float = 0.0
