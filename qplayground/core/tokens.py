"""Generated tokens, and what the model thought of them.

There can be many thousands; they refer to nothing that could refer back, so the garbage collector need not visit them.
"""

import msgspec


class Alternative(msgspec.Struct, frozen=True, gc=False):
    """A token that could have come, with its probability."""

    text: str
    probability: float


class Token(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One generated token and the text that became certain with it (may be empty inside a character).

    `time_s` is counted from the call of generate. `probability` and `rank` (1: the likeliest) are the model's own,
    before temperature, top-p, top-k and penalties; so are the likeliest `alternatives`, this token among them. They
    are absent in a benchmark.
    """

    id: int
    text: str
    time_s: float
    probability: float | None = None
    rank: int | None = None
    alternatives: tuple[Alternative, ...] = ()

    @property
    def is_sound(self) -> bool:
        """Whether its figures can be what they say."""
        probabilities = [other.probability for other in self.alternatives]
        if self.probability is not None:
            probabilities.append(self.probability)
        return self.time_s >= 0 and all(0 <= probability <= 1.001 for probability in probabilities)
