"""Renders a model's chat template. It is its author's program, so it gets little to do harm with."""

import json
from typing import Any, NamedTuple

from jinja2 import TemplateError, TemplateSyntaxError, sandbox
from markupsafe import escape
from transformers import PreTrainedTokenizerBase
from transformers.utils import chat_template_utils

from qplayground.core.errors import ErrorCode, PlaygroundError, fail
from qplayground.engines.transformers.failures.limits import TookTooLongError, memory_limit, time_limit
from qplayground.engines.transformers.failures.wording import first_line, shortened

LIMIT_S = 5.0
MEMORY_BYTES = 300_000_000
TEMPLATE_CHARACTERS = 1_000_000
ADDED_CHARACTERS = 2_000_000
_BITS = 4096
_SLOW_FILTERS = ("urlize", "striptags", "wordwrap", "wordcount", "pprint")
"""Their time grows with the square of the text, inside C code. No chat needs them."""
_WRITTEN_PARTS = ("'type': 'text'", '"type": "text"')
_HINT = "Turn the chat template off."


class _Sandbox(sandbox.ImmutableSandboxedEnvironment):
    """Refuses numbers that take minutes to compute, because an operation in C cannot be interrupted."""

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


# transformers builds its environment from the class of this name, and offers no other way to limit it.
chat_template_utils.ImmutableSandboxedEnvironment = _Sandbox


class Rendered(NamedTuple):
    """A prompt as one user turn of a chat. `in_parts`: the template takes a turn's content as a list of parts."""

    text: str
    in_parts: bool


def render(tokenizer: PreTrainedTokenizerBase, prompt: str) -> Rendered:
    """The turn as text, with the prompt in it. Raises PlaygroundError(NO_CHAT_TEMPLATE) for any failure.

    Templates of multimodal models may take a turn's content only as a list of parts, and silently drop plain text.
    """
    _check_template(tokenizer)
    refusal: PlaygroundError | None = None
    for in_parts in (False, True):
        try:
            text = _render(tokenizer, prompt, [{"type": "text", "text": prompt}] if in_parts else prompt)
        except _TemplateFailedError as error:
            if not in_parts:  # the form that templates get everywhere else
                refusal = error
            continue
        if _holds(text, prompt) and not (in_parts and _is_written_list(text, prompt)):
            return Rendered(text, in_parts)
    raise refusal or _refused("leaves the prompt out, or changes it, so the model would be asked something else")


class _TemplateFailedError(PlaygroundError):
    """The template raised an error. It may still accept content in another form."""


def _check_template(tokenizer: PreTrainedTokenizerBase) -> None:
    templates = tokenizer.chat_template
    if isinstance(templates, dict):
        if templates and "default" not in templates:
            names = ", ".join(sorted(map(str, templates)))
            sentence = f"This model has no chat template named default, only others: {shortened(names)}"
            raise fail(ErrorCode.NO_CHAT_TEMPLATE, sentence, _HINT)
        templates = templates.get("default")
    if not templates:
        raise fail(ErrorCode.NO_CHAT_TEMPLATE, "This model has no chat template.", _HINT)
    if len(templates) > TEMPLATE_CHARACTERS:
        raise _refused(f"has {len(templates):,} characters, more than any model needs")


def _render(tokenizer: PreTrainedTokenizerBase, prompt: str, content: str | list[dict[str, str]]) -> str:
    turn = [{"role": "user", "content": content}]
    try:
        with time_limit(LIMIT_S), memory_limit(MEMORY_BYTES):
            text = str(tokenizer.apply_chat_template(turn, add_generation_prompt=True, tokenize=False))
            text.encode()
    except TookTooLongError:
        raise _refused(f"did not finish in {LIMIT_S:g} seconds") from None
    except MemoryError:  # from None: the template wants too much memory; the machine does not lack it
        raise _refused("asks for more memory than any chat needs") from None
    except Exception as error:
        raise _TemplateFailedError(_failure(error).info) from None
    if len(text) > len(prompt) + ADDED_CHARACTERS:
        raise _refused(f"makes {len(text):,} characters of a prompt of {len(prompt):,}")
    return text


def _failure(error: Exception) -> PlaygroundError:
    """The error for a template's own refusal, in its author's words, or for any other failure."""
    detail = f"{type(error).__name__}: {error}"
    if type(error) is TemplateError:
        return _refused(f"refuses the prompt in its own words: {shortened(str(error))}", detail, ends=True)
    if isinstance(error, TemplateSyntaxError):
        return _refused(f"is damaged: {first_line(error)}", detail, ends=True)
    return _refused(f"fails: {first_line(error)}", detail, ends=True)


def _is_written_list(text: str, prompt: str) -> bool:
    """Whether a list of parts was printed as Python or JSON."""
    return any(part in text and part not in prompt for part in _WRITTEN_PARTS)


def _holds(text: str, prompt: str) -> bool:
    """Whether the text contains the prompt, plain or escaped for JSON or HTML. White space may differ."""
    spaceless = "".join(text.split())
    forms = (prompt, json.dumps(prompt, ensure_ascii=False)[1:-1], json.dumps(prompt)[1:-1], str(escape(prompt)))
    return any("".join(form.split()) in spaceless for form in forms)


def _refused(what: str, detail: str = "", *, ends: bool = False) -> PlaygroundError:
    message = f"The model's chat template {what}{'' if ends else '.'}"
    return fail(ErrorCode.NO_CHAT_TEMPLATE, message, _HINT, detail[:2000])
