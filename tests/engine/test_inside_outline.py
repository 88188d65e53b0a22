"""The modules of a model: predicted and held bytes, and why some are not quantized."""

from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from qplayground.core.errors import ErrorCode
from qplayground.core.inside import Kept, ModelOutline, ModuleOutline
from qplayground.core.messages.events import Failed
from qplayground.core.messages.inside import ModelOutlined, OutlineModel
from qplayground.core.precision import READY_PRECISIONS, Precision
from qplayground.engines.transformers.inside.outline import kept_modules
from qplayground.engines.transformers.model.checkpoint import Checkpoint
from qplayground.engines.transformers.model.shapes import Shapes
from tests.engine import tiny
from tests.engine.conftest import LoadShared, ModelFolder, carry_out

Outlined = Callable[..., ModelOutline]


@pytest.fixture
def outlined(model_folder: ModelFolder) -> Outlined:
    def ask(family: str, precisions: tuple[Precision, ...] = READY_PRECISIONS) -> ModelOutline:
        (event,) = carry_out(OutlineModel(id=1, path=str(model_folder(family)), precisions=precisions))
        assert isinstance(event, ModelOutlined), event
        return event.outline

    return ask


def module(outline: ModelOutline, name: str) -> ModuleOutline:
    return next(each for each in outline.modules if each.name == name)


@pytest.mark.parametrize("family", tiny.ARCHITECTURES)
def test_every_byte_of_the_checkpoint_and_of_the_precisions_is_somewhere(
    outlined: Outlined, model_folder: ModelFolder, family: str
) -> None:
    found = outlined(family)
    checkpoint = Checkpoint.read(model_folder(family))
    assert sum(each.stored_bytes for each in found.modules) == checkpoint.total_bytes
    shapes = Shapes.read(model_folder(family))
    for precision in READY_PRECISIONS:
        quantized = {each.name for each in found.modules if precision.name not in each.kept}
        if precision.is_quantized and tiny.takes(family, precision):
            assert quantized == set(shapes.converted_layers(precision))
        elif precision.is_quantized:
            assert not quantized
        else:
            assert len(quantized) == len(found.modules)
    suggested = module(found, found.suggested)
    assert suggested.is_matrix
    assert ("nf4" in suggested.kept) is (family in tiny.UNQUANTIZABLE)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
@pytest.mark.parametrize("family", ["llama-tied", "gpt2", "mixtral"])
def test_bytes_are_those_that_an_engine_holds(
    outlined: Outlined, load_shared: LoadShared, family: str, precision: str
) -> None:
    held = load_shared(family, precision).by_module
    found = {each.name: each.bytes[precision] for each in outlined(family).modules if each.bytes[precision]}
    assert found == {name: kinds.total for name, kinds in held.items()}


def test_reasons(outlined: Outlined) -> None:
    skipping = replace(tiny.precision("nf4"), name="skips", skip_modules=("mlp.up_proj",))
    plain = outlined("llama", (tiny.precision("bf16"), tiny.precision("nf4"), skipping))
    assert module(plain, "lm_head").kept == {"nf4": Kept.OUTPUT_HEAD, "skips": Kept.OUTPUT_HEAD}
    assert module(plain, "model.embed_tokens").kept["nf4"] is Kept.NOT_LINEAR
    assert module(plain, "model.norm").kept["nf4"] is Kept.NOT_LINEAR
    assert module(plain, "model.layers.0.mlp.up_proj").kept == {"skips": Kept.SKIPPED}
    assert module(plain, "model.layers.0.mlp.down_proj").kept == {}
    tied = outlined("llama-tied")
    assert module(tied, "lm_head").kept["int8"] is Kept.TIED
    assert module(tied, "lm_head").tensor == ""
    assert module(tied, "lm_head").bytes["nf4"] == 0  # counted where the tensor appears first
    assert module(tied, "lm_head").parameters == 0
    falcon = outlined("falcon")
    assert module(falcon, "transformer.h.0.mlp.dense_h_to_4h").kept["nf4"] is Kept.UNKNOWN_CLASS


def test_a_module_is_told_with_kind_shape_and_type(outlined: Outlined) -> None:
    attention = module(outlined("gpt2"), "transformer.h.1.attn.c_attn")
    assert (attention.kind, attention.shape, attention.stored_dtype) == ("Conv1D", (64, 192), "float32")
    assert attention.parameters == 64 * 192 + 192
    assert attention.stored_bytes == 4 * attention.parameters
    assert attention.tensor.endswith("h.1.attn.c_attn.weight")
    experts = module(outlined("mixtral"), "model.layers.0.mlp.experts")
    assert experts.tensor == "" and not experts.is_matrix
    assert experts.stored_bytes == 4 * experts.parameters  # many tensors, with other names
    router = module(outlined("mixtral"), "model.layers.0.mlp.gate")
    assert router.is_matrix and router.tensor == "model.layers.0.block_sparse_moe.gate.weight"


def test_a_skip_of_what_is_not_there_leaves_the_outline_whole(model_folder: ModelFolder) -> None:
    """A load with such a skip is refused."""
    odd = replace(tiny.precision("nf4"), skip_modules=("nowhere",))
    shapes = Shapes.read(model_folder("llama"))
    assert kept_modules(shapes, odd) == kept_modules(shapes, tiny.precision("nf4"))


def test_a_folder_without_a_model_says_so(tmp_path: Path) -> None:
    for path, code in ((tmp_path, ErrorCode.NO_WEIGHTS), (tmp_path / "gone", ErrorCode.INCOMPLETE_DOWNLOAD)):
        (event,) = carry_out(OutlineModel(id=1, path=str(path), precisions=()))
        assert isinstance(event, Failed) and event.error.code is code
