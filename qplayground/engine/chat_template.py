"""A model's chat template: a program of its author's, given little to do harm with."""

from typing import Any

from jinja2 import sandbox
from transformers import PreTrainedTokenizerBase
from transformers.utils import chat_template_utils

from qplayground.core.errors import ErrorCode, PlaygroundError, fail
from qplayground.engine.limits import TookTooLongError, memory_limit, time_limit

LIMIT_S = 5.0
MEMORY_BYTES = 300_000_000
TEMPLATE_CHARACTERS = 1_000_000
ADDED_CHARACTERS = 2_000_000
_BITS = 4096
_SLOW_FILTERS = ("urlize", "striptags", "wordwrap", "wordcount", "pprint")
"""Their time grows with the square of the text, inside of C; no chat needs them."""
_HINT = "Turn the chat template off."


class _Sandbox(sandbox.ImmutableSandboxedEnvironment):
    """Without numbers that take minutes to reckon: an operation in C cannot be interrupted."""

    intercepted_binops = frozenset({"*", "**"})

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        for name in _SLOW_FILTERS:
            self.filters.pop(name, None)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if isinstance(left, int) and isinstance(right, int):
            bits = left.bit_length() * right if operator == "**" else left.bit_length() + right.bit_length()
            if bits > _BITS:
                raise OverflowError(f"a number of more than {_BITS} bits")
        return super().call_binop(context, operator, left, right)


# transformers makes its environment of the class under this name, and offers no other way to limit it.
chat_template_utils.ImmutableSandboxedEnvironment = _Sandbox


def render(tokenizer: PreTrainedTokenizerBase, prompt: str) -> str:
    """The prompt as one user turn of a chat. Raises PlaygroundError(NO_CHAT_TEMPLATE), whatever the template does."""
    if not tokenizer.chat_template:
        raise fail(ErrorCode.NO_CHAT_TEMPLATE, "This model has no chat template.", _HINT)
    turn = [{"role": "user", "content": prompt}]
    try:
        template = tokenizer.get_chat_template()
        if len(template) > TEMPLATE_CHARACTERS:
            raise _refused(f"has {len(template):,} characters, more than any model needs")
        with time_limit(LIMIT_S), memory_limit(MEMORY_BYTES):
            text = str(tokenizer.apply_chat_template(turn, add_generation_prompt=True, tokenize=False))
            text.encode()
    except PlaygroundError:
        raise
    except TookTooLongError:
        raise _refused(f"did not come to an end in {LIMIT_S:g} seconds") from None
    except MemoryError:  # from None: it is the template that wants memory, not the machine that lacks it
        raise _refused("asks for more memory than any chat needs") from None
    except Exception as error:  # any other failure of it is one thing
        raise _refused("is damaged", f"{type(error).__name__}: {error}") from None
    if len(text) > len(prompt) + ADDED_CHARACTERS:
        raise _refused(f"makes {len(text):,} characters of a prompt of {len(prompt):,}")
    return text


def _refused(what: str, detail: str = "") -> PlaygroundError:
    return fail(ErrorCode.NO_CHAT_TEMPLATE, f"The model's chat template {what}.", _HINT, detail[:2000])
