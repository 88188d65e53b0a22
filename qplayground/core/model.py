"""What is known of a model from its config and its safetensors headers, without loading it."""

from enum import StrEnum

import msgspec

from qplayground.core.errors import ErrorCode, ErrorInfo, PlaygroundError, fail
from qplayground.core.text import is_text

DEMO_NAME = "SmolLM2-135M-Instruct"
"""What people call the demo model, whose id is shorter."""


class ModelSource(StrEnum):
    """Where a model was found."""

    DEMO = "demo"
    CACHE = "cache"
    FOLDER = "folder"
    HUB = "hub"
    """Only config, tokenizer and headers were fetched: its sizes can be estimated, it cannot be loaded."""


class ModelTypes(msgspec.Struct, frozen=True, kw_only=True):
    """What the installed transformers makes of each `model_type` of a config.json, as an engine reported it.

    `version` is that of the library. `causal`: AutoModelForCausalLM loads it. `encoder_decoders`: made to answer what
    an encoder has read; those of `causal` are loaded without the encoder. `multimodal`: a language model that is only
    loaded together with its parts for images or sound. `known`: every type that there is a class for.
    """

    version: str = ""
    causal: frozenset[str] = frozenset()
    encoder_decoders: frozenset[str] = frozenset()
    multimodal: frozenset[str] = frozenset()
    known: frozenset[str] = frozenset()


class ModelEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One model that the picker lists.

    `path` is the folder that transformers can load, absent while there is none. `parameters` counts elements
    stored in the checkpoint (tied weights are stored once). `context_tokens` is the longest text that it was made for,
    None where no length is known. `problem` says why it cannot be picked.
    """

    id: str
    source: ModelSource
    path: str | None = None
    architecture: str | None = None
    parameters: int | None = None
    size_bytes: int = 0
    complete: bool = False
    context_tokens: int | None = None
    has_chat_template: bool = False
    stored_dtype: str | None = None
    provenance: str = ""
    problem: ErrorInfo | None = None

    @property
    def usable(self) -> bool:
        """Whether a comparison can be started with it."""
        return self.complete and self.problem is None and self.path is not None

    @property
    def outline_path(self) -> str | None:
        """The folder that its sizes can be estimated from."""
        return self.path if self.usable or (self.source is ModelSource.HUB and self.problem is None) else None

    @property
    def inside_path(self) -> str | None:
        """The folder whose weights can be looked at: of a model that was quantized already too."""
        problem = self.problem
        is_quantized = problem is not None and problem.code is ErrorCode.ALREADY_QUANTIZED
        there = self.complete and (problem is None or is_quantized) and self.source is not ModelSource.HUB
        return self.path if there else None

    def checked_path(self) -> str:
        """The folder to load. Raises PlaygroundError for a model that cannot be used."""
        if self.problem is not None:
            raise PlaygroundError(self.problem)
        if self.source is ModelSource.HUB:
            raise fail(ErrorCode.INCOMPLETE_DOWNLOAD, f"{self.title} is not downloaded yet.", "Download it.")
        if self.path is None or not self.complete:
            raise fail(ErrorCode.INCOMPLETE_DOWNLOAD, f"{self.title} is not complete yet.", "Wait, or pick another.")
        if not is_text(self.path):
            raise fail(ErrorCode.BAD_SETTINGS, "The model's path is not valid text.", "Rename the folder.")
        return self.path

    @property
    def title(self) -> str:
        """The last part of the id, as people say it; the demo model's own name."""
        if self.source is ModelSource.DEMO:
            return DEMO_NAME
        return self.id.rstrip("/").split("/")[-1]
