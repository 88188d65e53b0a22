"""What came of one type of model: in plain transformers, and in the program."""

from enum import StrEnum

import msgspec


class Verdict(StrEnum):
    """What is said of a type in one precision."""

    OK = "ok"
    DIFFERS = "differs"
    """Other tokens than plain transformers writes."""
    BYTES_OFF = "bytes off"
    """The same tokens, and other bytes held than were predicted, for the weights or for the KV cache."""
    CACHE_UNKNOWN = "cache unknown"
    """All of that is right, and the estimate does not know the KV cache."""
    SCRIPT_DIFFERS = "script differs"
    REFUSED = "refused"
    FAILED = "failed"
    """The program ends in an error it does not know, or never ends."""
    PLAIN_DOES_NOT_RUN = "plain does not run"
    NOT_BUILT = "not built"


class Plain(msgspec.Struct, kw_only=True):
    """Plain transformers: the tokens and the bytes of the cache after them, or what was raised."""

    ids: list[int] = []
    cache_bytes: int | None = None
    error: str = ""


class Ours(msgspec.Struct, kw_only=True):
    """The program. `unforeseen` names the modules that hold other bytes than were predicted."""

    ids: list[int] = []
    predicted_bytes: int = 0
    held_bytes: int = 0
    unforeseen: list[str] = []
    cache_bytes: int | None = None
    error: str = ""
    code: str = ""
    detail: str = ""
    script_ids: list[int] | None = None
    script_error: str = ""


class Case(msgspec.Struct, kw_only=True):
    """A type in one precision."""

    plain: Plain
    ours: Ours | None = None

    @property
    def verdict(self) -> Verdict:
        ours, plain = self.ours, self.plain
        if plain.error:
            return Verdict.PLAIN_DOES_NOT_RUN
        if ours is None or ours.code in ("internal", ""):
            if ours is None or ours.error:
                return Verdict.FAILED
        elif ours.error:
            return Verdict.REFUSED
        if ours.ids != plain.ids:
            return Verdict.DIFFERS
        if ours.unforeseen or ours.predicted_bytes != ours.held_bytes or self._cache_is_off(ours):
            return Verdict.BYTES_OFF
        if ours.script_error or ours.script_ids not in (None, ours.ids):
            return Verdict.SCRIPT_DIFFERS
        return Verdict.CACHE_UNKNOWN if ours.cache_bytes is None else Verdict.OK

    def _cache_is_off(self, ours: Ours) -> bool:
        """Where both are known; a text that stopped early has less in its cache than was asked for."""
        known = self.plain.cache_bytes is not None and ours.cache_bytes is not None
        return known and self.plain.cache_bytes != ours.cache_bytes

    @property
    def reason(self) -> str:
        """What is behind the verdict, in a line."""
        ours, plain = self.ours, self.plain
        if plain.error:
            return plain.error
        if ours is None:
            return "The process ended."
        if ours.error:
            return ours.error
        match self.verdict:
            case Verdict.DIFFERS:
                return f"{ours.ids} instead of {plain.ids}"
            case Verdict.BYTES_OFF if ours.unforeseen or ours.predicted_bytes != ours.held_bytes:
                names = ", ".join(ours.unforeseen[:3])
                return f"{ours.predicted_bytes:,} predicted, {ours.held_bytes:,} held: {names}"
            case Verdict.BYTES_OFF:
                return f"KV cache: {ours.cache_bytes:,} predicted, {plain.cache_bytes:,} held"
            case Verdict.SCRIPT_DIFFERS:
                return ours.script_error or f"{ours.script_ids} instead of {ours.ids}"
            case _:
                return ""


class Outcome(msgspec.Struct, kw_only=True):
    """A type of model: the class that was written, and a case by precision. `error`: it could not be built, or ended
    the process that tried it.
    """

    model_type: str
    written: str = ""
    loaded: str = ""
    error: str = ""
    cases: dict[str, Case] = {}
    seconds: float = 0.0
