"""Every failure that a person can meet: a stable code, a sentence, and what to do about it."""

from enum import StrEnum

import msgspec


class ErrorCode(StrEnum):
    """Stable codes; they stand in the JSON of a comparison and never change meaning."""

    # what was asked for
    EMPTY_PROMPT = "empty_prompt"
    PROMPT_TOO_LONG = "prompt_too_long"
    BAD_SETTINGS = "bad_settings"
    BAD_PRECISION = "bad_precision"
    BAD_DEVICE = "bad_device"
    NO_CHAT_TEMPLATE = "no_chat_template"
    BAD_FILE = "bad_file"
    # the model's files
    MODEL_NOT_FOUND = "model_not_found"
    INCOMPLETE_DOWNLOAD = "incomplete_download"
    NO_WEIGHTS = "no_weights"
    BROKEN_WEIGHTS = "broken_weights"
    MISPLACED_WEIGHTS = "misplaced_weights"
    MISSING_TENSORS = "missing_tensors"
    NON_FINITE_WEIGHTS = "non_finite_weights"
    PICKLED_WEIGHTS = "pickled_weights"
    GGUF_ONLY = "gguf_only"
    BROKEN_CONFIG = "broken_config"
    NOT_CAUSAL = "not_causal"
    REMOTE_CODE = "remote_code"
    ALREADY_QUANTIZED = "already_quantized"
    BROKEN_TOKENIZER = "broken_tokenizer"
    MISSING_PACKAGE = "missing_package"
    # getting a model
    NO_NETWORK = "no_network"
    GATED = "gated"
    DEMO_UNAVAILABLE = "demo_unavailable"
    DISK_FULL = "disk_full"
    # running it
    NOT_QUANTIZED = "not_quantized"
    NON_FINITE_OUTPUT = "non_finite_output"
    WRONG_VALUES = "wrong_values"
    OUT_OF_MEMORY = "out_of_memory"
    ENGINE_DIED = "engine_died"
    UNSUPPORTED = "unsupported"
    INTERNAL = "internal"


PROMPT_ERRORS = frozenset(
    {ErrorCode.EMPTY_PROMPT, ErrorCode.PROMPT_TOO_LONG, ErrorCode.BAD_SETTINGS, ErrorCode.NO_CHAT_TEMPLATE}
)
"""What is wrong with a prompt and its settings. It is said before the model is touched."""
USAGE_ERRORS = PROMPT_ERRORS | {
    ErrorCode.BAD_PRECISION,
    ErrorCode.BAD_DEVICE,
    ErrorCode.BAD_FILE,
    ErrorCode.MODEL_NOT_FOUND,
}
"""What is wrong with the question, and not with the model or the machine."""
TRY_SMALLER = "Try a smaller precision, fewer tokens or another device, or close other programs."
"""What to do where memory ran out."""
TRY_ANOTHER_PRECISION = "Run it again; if it happens again, try another precision."
"""What to do where an engine ended for no reason that is known."""
ANOTHER_TOKENIZER = "Compare the tokenizer's files with the original model's, or choose another model."
"""What to do where a model's tokenizer is of no use."""


class ErrorInfo(msgspec.Struct, frozen=True):
    """What happened (`message`), what to do (`hint`), and the technical detail behind it."""

    code: ErrorCode
    message: str
    hint: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class PlaygroundError(Exception):
    """An ErrorInfo on its way to whoever shows it."""

    def __init__(self, info: ErrorInfo) -> None:
        super().__init__(str(info))
        self.info = info


def fail(code: ErrorCode, message: str, hint: str, detail: str = "") -> PlaygroundError:
    """Make the exception to raise: `raise fail(ErrorCode.NO_WEIGHTS, …)`."""
    return PlaygroundError(ErrorInfo(code, message, hint, detail))
