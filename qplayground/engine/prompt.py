"""From a prompt to token ids."""

from transformers import PreTrainedTokenizerBase

from qplayground.core.errors import ErrorCode, fail
from qplayground.core.generation import GenerationRequest


def encode_prompt(tokenizer: PreTrainedTokenizerBase, request: GenerationRequest) -> list[int]:
    """The ids that the model is given: the prompt with the tokenizer's special tokens, or as one user turn of a chat.

    Raises PlaygroundError(NO_CHAT_TEMPLATE) when a template is asked for and there is none, or it fails.
    """
    if not request.settings.chat_template:
        return [int(token) for token in tokenizer(request.prompt)["input_ids"]]
    hint = "Turn the chat template off."
    if not tokenizer.chat_template:
        raise fail(ErrorCode.NO_CHAT_TEMPLATE, "This model has no chat template.", hint)
    try:
        encoded = tokenizer.apply_chat_template(
            [{"role": "user", "content": request.prompt}], add_generation_prompt=True, return_dict=True
        )
    except Exception as error:  # a template is a program of the model's author; any failure of it is one thing
        raise fail(
            ErrorCode.NO_CHAT_TEMPLATE,
            "The model's chat template is damaged.",
            hint,
            f"{type(error).__name__}: {error}",
        ) from error
    return [int(token) for token in encoded["input_ids"]]
