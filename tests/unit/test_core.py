"""Core types: precisions, settings, figures as text, messages on the wire, the JSON of a comparison."""

import json
import math
import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qplayground.core.capabilities import Capability
from qplayground.core.comparison.results import Comparison, Run, RunState, to_json
from qplayground.core.dtype import Dtype
from qplayground.core.errors import ErrorCode, ErrorInfo, PlaygroundError
from qplayground.core.generation import GenerationRequest, GenerationSettings
from qplayground.core.memory.process_memory import ProcessMemory, VramFigures
from qplayground.core.messages.codec import COMMANDS, EVENTS
from qplayground.core.messages.commands import Cancel, Command, Download, Generate, Load, PrepareDemo
from qplayground.core.messages.events import (
    Event,
    Failed,
    Generated,
    Hello,
    JobDone,
    Loaded,
    Phase,
    PhaseStarted,
    Progressed,
    PromptRead,
    TokensGenerated,
)
from qplayground.core.model import ModelEntry, ModelSource, ModelTypes
from qplayground.core.placement import Placement
from qplayground.core.precision import DEFAULT_TICKED, READY_PRECISIONS, Precision, widest
from qplayground.core.quantizers.bitsandbytes_4bit import FourBit
from qplayground.core.quantizers.bitsandbytes_int8 import Int8
from qplayground.core.system.machine import Machine
from qplayground.core.tokens import Token
from qplayground.core.units import bytes_text, count_text, rate_text, seconds_text, significant
from tests.comparisons import MODEL

READY = {precision.name: precision for precision in READY_PRECISIONS}


def custom(**changes: object) -> Precision:
    return msgspec.structs.replace(READY["nf4"], **{"name": "mine", **changes})


# ---- precisions ---------------------------------------------------------------------------------------------------


def test_every_ready_precision_is_valid_and_named_once() -> None:
    assert [precision.checked() for precision in READY_PRECISIONS] == list(READY_PRECISIONS)
    assert len(READY) == len(READY_PRECISIONS)
    assert set(DEFAULT_TICKED) <= set(READY)


@pytest.mark.parametrize("name", ["a", "0", "nf4-2", "my.own_one+2", "a" * 40])
def test_names_that_can_stand_in_a_list(name: str) -> None:
    assert custom(name=name).checked().name == name


@pytest.mark.parametrize("name", ["", "NF4", "a b", "a,b", "-a", "ä", "a" * 41, "a\n", "a/b", "a=b"])
def test_names_that_cannot(name: str) -> None:
    with pytest.raises(PlaygroundError) as caught:
        custom(name=name).checked()
    assert caught.value.info.code is ErrorCode.BAD_PRECISION
    assert repr(name) in caught.value.info.message


@pytest.mark.parametrize("threshold", [-0.1, math.nan, math.inf, -math.inf, 1e6])
def test_an_int8_threshold_out_of_range(threshold: float) -> None:
    with pytest.raises(PlaygroundError) as caught:
        custom(quantization=Int8(threshold=threshold)).checked()
    assert caught.value.info.code is ErrorCode.BAD_PRECISION


@pytest.mark.parametrize("threshold", [0.0, 6.0, 999_999.0])
def test_an_int8_threshold_in_range(threshold: float) -> None:
    custom(quantization=Int8(threshold=threshold)).checked()


@pytest.mark.parametrize("module", ["lm_head", "model.layers.0", "model.layers.*", "h-2", ".*mlp"])
def test_patterns_that_name_modules(module: str) -> None:
    custom(skip_modules=("lm_head", module)).checked()


@pytest.mark.parametrize("module", ["", " ", "*", "a**b", "a b", "a(b", "a[0]", "a|b", "lm_head\n", "ä"])
def test_patterns_that_do_not(module: str) -> None:
    with pytest.raises(PlaygroundError) as caught:
        custom(skip_modules=("lm_head", module)).checked()
    assert repr(module) in caught.value.info.message


@pytest.mark.parametrize("dtype", list(Dtype))
@pytest.mark.parametrize("compute", list(Dtype))
def test_without_bfloat16_each_dtype_is_replaced_for_itself(dtype: Dtype, compute: Dtype) -> None:
    before = custom(dtype=dtype, quantization=FourBit("fp4", compute, True), skip_modules=("lm_head",))
    swap = {Dtype.BFLOAT16: Dtype.FLOAT16}
    wanted = custom(
        dtype=swap.get(dtype, dtype),
        quantization=FourBit("fp4", swap.get(compute, compute), True),
        skip_modules=("lm_head",),
    )
    assert before.without_bfloat16() == wanted


def test_without_bfloat16_int8_keeps_its_threshold_and_plain_precisions_stay() -> None:
    assert READY["int8"].without_bfloat16() == msgspec.structs.replace(READY["int8"], dtype=Dtype.FLOAT16)
    for name in ("fp32", "bf16", "fp16"):  # bf16 without bfloat16 would not be what its name says
        assert READY[name].without_bfloat16() is READY[name]


@pytest.mark.parametrize(
    ("names", "baseline"),
    [
        ([], None),
        (["nf4", "int8"], "nf4"),
        (["nf4", "bf16", "fp32"], "fp32"),
        (["int8", "fp16", "bf16"], "bf16"),
        (["nf4", "fp16"], "fp16"),
    ],
)
def test_the_baseline_is_the_widest_unquantized(names: list[str], baseline: str | None) -> None:
    place = widest([READY[name] for name in names])
    assert (None if place is None else names[place]) == baseline


def test_summaries_say_what_the_recipe_does() -> None:
    assert READY["fp32"].summary == "every weight in float32"
    assert READY["int8"].summary == "int8 · outliers > 6 · rest bfloat16"
    assert READY["nf4-dq"].summary == "nf4 + DQ · rest and compute bfloat16"
    mine = custom(quantization=FourBit("fp4", Dtype.FLOAT32), skip_modules=("a", "b"))
    assert mine.summary == "fp4 · rest bfloat16, compute float32, 2 more skipped"


# ---- how text is generated ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("max_new_tokens", [1, 100_000], [0, -1, 100_001, 10**30]),
        ("temperature", [1e-9, 100.0], [0.0, -1.0, 100.1, math.nan, math.inf]),
        ("top_p", [1e-9, 1.0], [0.0, 1.0001, -0.5, math.nan]),
        ("top_k", [0, 1_000_000], [-1, 1_000_001]),
        ("repetition_penalty", [0.1, 100.0], [0.0, 100.1, math.nan]),
        ("seed", [0, 2**63 - 1], [-1, 2**63]),
    ],
)
def test_bounds_of_the_settings(name: str, good: list[float], bad: list[float]) -> None:
    for value in good:
        settings = msgspec.structs.replace(GenerationSettings(), **{name: value})
        assert GenerationRequest(settings=settings).error() is None, value
    for value in bad:
        settings = msgspec.structs.replace(GenerationSettings(), **{name: value})
        error = GenerationRequest(settings=settings).error()
        assert error is not None, value
        assert error.info.code is ErrorCode.BAD_SETTINGS
        assert name.split("_")[0].lower() in error.info.message.lower()


@pytest.mark.parametrize("prompt", ["", " ", "\n\t\u3000"])
def test_an_empty_prompt_is_refused(prompt: str) -> None:
    error = GenerationRequest(prompt=prompt).error()
    assert error is not None
    assert error.info.code is ErrorCode.EMPTY_PROMPT


def test_the_defaults_can_be_run() -> None:
    assert GenerationRequest().error() is None


# ---- figures as text ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (9.994, "9.99"),
        (9.995, "9.99"),  # 9.995 is slightly less in binary
        (9.9951, "10.0"),
        (99.96, "100"),
        (0.09996, "0.100"),
        (0.0421, "0.0421"),
        (-9.999, "-10.0"),
        (1234.5, "1,234"),
        (999.6, "1,000"),
        (math.nan, "–"),
        (-math.inf, "–"),
    ],
)
def test_three_significant_digits(value: float, text: str) -> None:
    assert significant(value) == text


@given(st.floats(1e-6, 1e12), st.integers(2, 5), st.booleans())
def test_a_figure_is_as_close_as_its_digits_and_has_all_of_them(value: float, digits: int, negative: bool) -> None:
    value = -value if negative else value
    text = significant(value, digits)
    assert math.isclose(float(text.replace(",", "")), value, rel_tol=0.5000001 * 10 ** (1 - digits))
    shown = re.sub(r"[-.,]", "", text).lstrip("0")
    assert len(shown) == max(digits, len(str(round(abs(value)))))


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, "–"),
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (999_499, "999 kB"),
        (999_500, "1.00 MB"),
        (538_060_288, "538 MB"),
        (1_999_999_999, "2.00 GB"),
        (10**13, "10.0 TB"),
    ],
)
def test_bytes(count: int | None, text: str) -> None:
    assert bytes_text(count) == text


@given(st.integers(1000, 10**15 - 10**12))
def test_a_size_has_a_mantissa_from_one_to_a_thousand(count: int) -> None:
    for text, units in ((bytes_text(count), "kB MB GB TB"), (count_text(count), "k M B T")):
        number, unit = text.split(" ")
        mantissa = float(number)
        assert 1 <= mantissa < 1000, text
        assert len(number.replace(".", "")) == 3, text
        assert math.isclose(mantissa * 1000 ** (units.split().index(unit) + 1), count, rel_tol=0.00501), text


@given(st.floats(1e-5, 1e4))
def test_seconds_are_read_back_within_half_a_digit(seconds: float) -> None:
    number, unit = seconds_text(seconds).split(" ")
    assert math.isclose(float(number.replace(",", "")) * {"s": 1.0, "ms": 1e-3}[unit], seconds, rel_tol=0.00501)


def test_times_and_rates() -> None:
    assert seconds_text(0.0421) == "42.1 ms"
    assert seconds_text(0.9996) == "1.00 s"
    assert seconds_text(0.99949) == "999 ms"
    assert rate_text(24.13) == "24.1 tok/s"
    assert (seconds_text(None), rate_text(None), count_text(None)) == ("–", "–", "–")
    assert (count_text(999), count_text(134_515_008)) == ("999", "135 M")


# ---- the wire -----------------------------------------------------------------------------------------------------

ids = st.integers(0, 2**31)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
times = st.floats(allow_nan=False, allow_infinity=False)
sizes = st.integers(0, 2**50)
memories = st.builds(ProcessMemory, sizes, sizes)
errors = st.builds(ErrorInfo, st.sampled_from(ErrorCode), texts, texts, texts)
quantizations = st.none() | st.builds(Int8, times) | st.builds(FourBit)
precisions = st.builds(
    Precision,
    name=texts,
    label=texts,
    dtype=st.sampled_from(Dtype),
    quantization=quantizations,
    skip_modules=st.lists(texts, max_size=3).map(tuple),
)
requests = st.builds(
    GenerationRequest,
    prompt=texts,
    settings=st.builds(
        GenerationSettings,
        max_new_tokens=ids,
        do_sample=st.booleans(),
        temperature=times,
        seed=st.integers(0, 2**63 - 1),
    ),
)
entries = st.builds(
    ModelEntry, id=texts, source=st.sampled_from(ModelSource), path=st.none() | texts, problem=st.none() | errors
)
machines = st.builds(
    Machine,
    python=texts,
    platform=texts,
    cpu=texts,
    cpu_capability=texts,
    cpu_threads=ids,
    ram_total_bytes=sizes,
    versions=st.dictionaries(texts, texts, max_size=3),
    gpus=st.lists(texts, max_size=2).map(tuple),
)
model_types = st.builds(ModelTypes, causal=st.frozensets(texts, max_size=3))
commands = st.one_of(
    st.builds(
        Load, id=ids, path=texts, precision=precisions, placement=st.builds(Placement, device=texts), request=requests
    ),
    st.builds(Generate, id=ids, request=requests),
    st.builds(Cancel, ids),
    st.builds(PrepareDemo, id=ids, gguf_path=texts, target=texts),
    st.builds(
        Download, id=ids, repo_id=texts, model_types=st.builds(ModelTypes, causal=st.frozensets(texts, max_size=3))
    ),
)
events = st.one_of(
    st.builds(
        Hello,
        pid=ids,
        time_s=times,
        machine=machines,
        memory=st.none() | memories,
        lacks=st.dictionaries(st.sampled_from(Capability), texts, max_size=3),
    ),
    st.builds(PhaseStarted, ids, st.sampled_from(Phase), times),
    st.builds(Progressed, ids, texts, sizes, sizes, texts),
    st.builds(
        Loaded,
        command_id=ids,
        seconds=times,
        device_map=st.dictionaries(texts, texts, max_size=3),
        weight_bytes=st.none() | sizes,
        quantized_modules=st.none() | ids,
        runtime_memory=st.none() | memories,
        memory=st.none() | memories,
        vram=st.dictionaries(
            texts,
            st.builds(
                VramFigures,
                allocated_bytes=sizes,
                reserved_bytes=sizes,
                peak_bytes=sizes,
                driver_bytes=st.none() | sizes,
            ),
            max_size=3,
        ),
    ),
    st.builds(PromptRead, ids, st.lists(ids, max_size=5).map(tuple)),
    st.builds(TokensGenerated, ids, st.lists(st.builds(Token, ids, texts, times)).map(tuple)),
    st.builds(
        Generated,
        command_id=ids,
        text=texts,
        finish_reason=texts,
        ttft_s=st.none() | times,
        prefill_tokens_per_s=st.none() | times,
        decode_tokens_per_s=st.none() | times,
        memory=st.none() | memories,
        peak_resident_bytes=st.none() | sizes,
        weight_bytes=st.none() | sizes,
    ),
    st.builds(Failed, ids, errors),
    st.builds(JobDone, ids, entries),
)


@given(commands)
def test_a_command_arrives_as_it_was_sent(command: Command) -> None:
    arrived = COMMANDS.decode(msgspec.msgpack.encode(command))
    assert arrived == command
    assert type(arrived) is type(command)


@given(events)
def test_an_event_arrives_as_it_was_sent(event: Event) -> None:
    arrived = EVENTS.decode(msgspec.msgpack.encode(event))
    assert arrived == event
    assert type(arrived) is type(event)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        msgspec.msgpack.encode({"type": "Reboot", "command_id": 1}),
        msgspec.msgpack.encode({"command_id": 1}),
        msgspec.msgpack.encode({"type": "PhaseStarted", "command_id": 1, "phase": "nap", "time_s": 0.0}),
        msgspec.msgpack.encode(Cancel(1)),
        msgspec.msgpack.encode(PhaseStarted(1, Phase.LOAD, 0.0))[:-1],
    ],
)
def test_anything_but_an_event_is_refused(data: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        EVENTS.decode(data)


def test_an_event_is_no_command() -> None:
    with pytest.raises(msgspec.ValidationError):
        COMMANDS.decode(msgspec.msgpack.encode(PhaseStarted(1, Phase.LOAD, 0.0)))


# ---- results ------------------------------------------------------------------------------------------------------


def comparison(*runs: Run) -> Comparison:
    return Comparison(
        environment=None,
        prompt="The future of AI is",
        settings=GenerationSettings(),
        baseline="fp32",
        runs=list(runs),
    )


def keys(value: object) -> set[str]:
    assert isinstance(value, dict)
    return set(value)


def test_the_json_has_every_key_of_schema_2() -> None:
    failed = Run(
        id="nf4",
        model=MODEL,
        precision=READY["nf4"],
        state=RunState.FAILED,
        error=ErrorInfo(ErrorCode.OUT_OF_MEMORY, "It ran out.", "Close something."),
    )
    data = json.loads(to_json(comparison(Run(id="fp32", model=MODEL, precision=READY["fp32"]), failed)))
    assert data["schema"] == 2
    assert keys(data) >= {"schema", "environment", "prompt", "settings", "baseline", "runs"}
    assert keys(data["settings"]) == set(GenerationSettings.__struct_fields__)
    first, second = data["runs"]
    for run in (first, second):
        assert keys(run) >= {
            *(
                "id",
                "model",
                "precision",
                "engine",
                "state",
                "error",
                "device_map",
                "text",
                "prompt_tokens",
                "token_ids",
            ),
            *("finish_reason", "load", "speed", "memory"),
        }
        assert keys(run["model"]) >= {"id", "source", "architecture", "parameters"}
        assert keys(run["load"]) >= {"seconds"}
        assert keys(run["speed"]) >= {"ttft_s", "decode_tokens_per_s"}
        assert keys(run["memory"]) >= {
            *("weight_bytes", "resident_bytes", "peak_resident_bytes"),
            *("vram_allocated_bytes", "vram_peak_bytes"),
        }
    assert first["error"] is None
    assert second["error"] | {"detail": ""} == {
        "code": "out_of_memory",
        "message": "It ran out.",
        "hint": "Close something.",
        "detail": "",
    }
    assert (second["id"], second["state"]) == ("nf4", "failed")


def test_the_json_is_utf_8_and_reads_back() -> None:
    run = Run(id="fp32", model=MODEL, precision=READY["fp32"], text="naïve 🙂\u2028\x00")
    data = to_json(comparison(run))
    assert "naïve 🙂".encode() in data
    assert msgspec.json.decode(data, type=Comparison) == comparison(run)


def test_a_run_is_found_by_its_precision() -> None:
    run = Run(id="nf4", model=MODEL, precision=READY["nf4"])
    assert comparison(run).run("nf4") is run
    with pytest.raises(KeyError):
        comparison(run).run("fp4")


@pytest.mark.parametrize("state", list(RunState))
def test_a_comparison_is_finished_when_every_run_is(state: RunState) -> None:
    runs = [Run(id=name, model=MODEL, precision=READY[name], state=RunState.DONE) for name in ("fp32", "nf4")]
    runs[1].state = state
    final = state in (RunState.DONE, RunState.FAILED, RunState.CANCELLED)
    assert comparison(*runs).is_finished is final


def test_runs_share_no_figures() -> None:
    one, other = (Run(id="fp32", model=MODEL, precision=READY["fp32"]) for _ in range(2))
    one.token_ids.append(1)
    one.memory.weight_bytes = 1
    one.speed.ttft_s = 1.0
    assert (other.token_ids, other.memory.weight_bytes, other.speed.ttft_s) == ([], None, None)
