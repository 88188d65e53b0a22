"""How text is generated: one immutable request, the same for every precision of a comparison."""

import msgspec

from qplayground.core.errors import ErrorCode, PlaygroundError, fail

DEFAULT_PROMPT = "The future of AI is"
MAX_NEW_TOKENS_LIMIT = 100_000
MAX_CONTEXT_TOKENS = 10_000_000


class GenerationSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """transformers' own generation terms. `top_k` 0 and `top_p` 1.0 mean off.

    `temperature`, `top_p`, `top_k` and `seed` matter only when `do_sample` is set.
    """

    max_new_tokens: int = 50
    do_sample: bool = False
    temperature: float = 0.7
    top_p: float = 0.9
    top_k: int = 50
    repetition_penalty: float = 1.0
    seed: int = 0
    chat_template: bool = False

    def problem(self) -> str | None:
        """The first setting out of range, as a sentence, or None."""
        checks = (
            (
                1 <= self.max_new_tokens <= MAX_NEW_TOKENS_LIMIT,
                f"Max new tokens must be between 1 and {MAX_NEW_TOKENS_LIMIT:,}.",
            ),
            (0 < self.temperature <= 100, "The temperature must be above 0 and at most 100."),
            (0 < self.top_p <= 1, "Top-p must be above 0 and at most 1."),
            (0 <= self.top_k <= 1_000_000, "Top-k must be 0 (off) or more."),
            (0 < self.repetition_penalty <= 100, "The repetition penalty must be above 0 and at most 100."),
            (0 <= self.seed < 2**63, "The seed must be 0 or more and below 2^63."),
        )
        return next((sentence for ok, sentence in checks if not ok), None)


class GenerationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt and how to continue it."""

    prompt: str = DEFAULT_PROMPT
    settings: GenerationSettings = GenerationSettings()

    def error(self) -> PlaygroundError | None:
        """What forbids running it, before any model is involved, or None."""
        if not self.prompt.strip():
            return fail(ErrorCode.EMPTY_PROMPT, "The prompt is empty.", "Type a few words for the model to continue.")
        problem = self.settings.problem()
        if problem:
            return fail(ErrorCode.BAD_SETTINGS, problem, "Change that setting and try again.")
        return None
