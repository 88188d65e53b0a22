"""A library's exception becomes a code, a sentence and a hint, with the original text as detail."""

import errno
from collections.abc import Callable

import bitsandbytes
import pytest
import torch
from safetensors import SafetensorError, safe_open

from qplayground.core.errors import ErrorCode, PlaygroundError, fail
from qplayground.engines.transformers.explaining import explain

MADE_UP = [
    (
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried to "
            "allocate 4000000000000 bytes. Error code 12 (Cannot allocate memory)"
        ),
        ErrorCode.OUT_OF_MEMORY,
    ),
    (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), ErrorCode.OUT_OF_MEMORY),
    (torch.OutOfMemoryError(), ErrorCode.OUT_OF_MEMORY),
    (RuntimeError("CUDA error: out of memory"), ErrorCode.OUT_OF_MEMORY),
    (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."), ErrorCode.OUT_OF_MEMORY),
    (MemoryError(), ErrorCode.OUT_OF_MEMORY),
    (RuntimeError("std::bad_alloc"), ErrorCode.OUT_OF_MEMORY),
    (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), ErrorCode.OUT_OF_MEMORY),
    (OSError(errno.ENOMEM, "Cannot allocate memory"), ErrorCode.OUT_OF_MEMORY),
    (SafetensorError("I/O error: Cannot allocate memory (os error 12)"), ErrorCode.OUT_OF_MEMORY),
    (RuntimeError("can't start new thread"), ErrorCode.OUT_OF_MEMORY),
    (FileNotFoundError(errno.ENOENT, "No such file", "out of memory"), ErrorCode.INCOMPLETE_DOWNLOAD),
    (OSError(errno.ENOSPC, "No space left on device"), ErrorCode.DISK_FULL),
    (
        OSError("/x does not appear to have a file named model-00002-of-00003.safetensors."),
        ErrorCode.INCOMPLETE_DOWNLOAD,
    ),
    (FileNotFoundError(errno.ENOENT, "No such file or directory"), ErrorCode.INCOMPLETE_DOWNLOAD),
    (OSError("Error no file named model.safetensors found in directory /x."), ErrorCode.NO_WEIGHTS),
    (SafetensorError("Error while deserializing header: header too large"), ErrorCode.BROKEN_WEIGHTS),
    (SafetensorError("File does not contain tensor lm_head.weight"), ErrorCode.BROKEN_WEIGHTS),
    (RuntimeError("You set `ignore_mismatched_sizes` to `False`"), ErrorCode.BROKEN_WEIGHTS),
    (AssertionError("N must be divisible by block_n"), ErrorCode.UNSUPPORTED),
    (RuntimeError("probability tensor contains either `inf`, `nan` or element < 0"), ErrorCode.NON_FINITE_WEIGHTS),
    (RuntimeError("Cannot access accelerator device when none is available."), ErrorCode.BAD_DEVICE),
    (AssertionError("Torch not compiled with CUDA enabled"), ErrorCode.BAD_DEVICE),
    (ZeroDivisionError("division by zero"), ErrorCode.INTERNAL),
    (AssertionError(), ErrorCode.INTERNAL),
]


@pytest.mark.parametrize(("error", "code"), MADE_UP, ids=lambda value: str(value)[:30])
def test_every_known_failure_has_its_code_and_words(error: Exception, code: ErrorCode) -> None:
    info = explain(error)

    assert info.code is code
    assert info.message.endswith(".") and info.hint.endswith(".")
    assert info.detail == f"{type(error).__name__}: {error}"


def test_what_came_of_too_little_memory_is_no_fault_of_the_files() -> None:
    try:
        try:
            raise OSError(errno.ENOMEM, "Cannot allocate memory")
        except OSError as error:
            raise fail(ErrorCode.BROKEN_CONFIG, "The config is damaged.", "Download it again.") from error
    except PlaygroundError as error:
        assert explain(error).code is ErrorCode.OUT_OF_MEMORY


def test_it_is_said_which_memory_was_too_small() -> None:
    assert "on the GPU" in explain(torch.OutOfMemoryError()).message
    assert "on the GPU" in explain(RuntimeError("CUDA error: out of memory")).message
    assert "in RAM" in explain(MemoryError()).message


def test_what_was_already_put_into_words_stays_as_it_is() -> None:
    error = fail(ErrorCode.PROMPT_TOO_LONG, "Out of memory.", "Shorten it.", "detail")

    assert explain(error) is error.info


def test_an_unknown_failure_names_its_kind() -> None:
    assert "KeyError" in explain(KeyError("added_tokens")).message


def allocate() -> None:
    torch.empty(1 << 60, dtype=torch.uint8)


def sample_nan() -> None:
    torch.multinomial(torch.full((1, 4), float("nan")), 1)


def read_garbage(path: str) -> None:
    with safe_open(path, framework="pt") as opened:
        opened.keys()


@pytest.mark.parametrize(
    ("act", "code"), [(allocate, ErrorCode.OUT_OF_MEMORY), (sample_nan, ErrorCode.NON_FINITE_WEIGHTS)]
)
def test_what_torch_really_raises_is_known(act: Callable[[], None], code: ErrorCode) -> None:
    with pytest.raises(RuntimeError) as caught:
        act()

    assert explain(caught.value).code is code


@pytest.mark.parametrize(("outputs", "inputs"), [(16, 64), (64, 32), (64, 96), (64, 63)])
def test_what_bitsandbytes_packing_really_raises_is_known(outputs: int, inputs: int) -> None:
    """Only processors with AVX512-BF16 pack during use, but the code runs on every processor."""
    codes, state = bitsandbytes.functional.quantize_4bit(torch.ones(outputs, inputs), quant_type="nf4", blocksize=64)
    with pytest.raises((AssertionError, RuntimeError)) as caught:
        bitsandbytes.functional._convert_weight_packed_for_cpu(codes, state)

    info = explain(caught.value)

    assert info.code is ErrorCode.UNSUPPORTED
    assert "multiple of 32" in info.message and "64" in info.message and "int8" not in info.hint


@pytest.mark.parametrize("data", [b"", b"1234", b"\xff" * 100], ids=["empty", "short", "garbage"])
def test_what_safetensors_really_raises_is_known(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("broken") / "model.safetensors"
    path.write_bytes(data)
    with pytest.raises(SafetensorError) as caught:
        read_garbage(str(path))

    assert explain(caught.value).code is ErrorCode.BROKEN_WEIGHTS
