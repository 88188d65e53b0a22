"""Comparisons as JSON, CSV, HTML and scripts: read back, opened by strangers, made from strangers' texts."""

import ast
import csv
import io
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from qplayground.core.comparison.results import Comparison, Mode, from_json, to_json
from qplayground.core.errors import ErrorCode, PlaygroundError
from qplayground.core.generation import GenerationSettings
from qplayground.core.measures.divergence import diverge
from qplayground.core.measures.samples import Samples
from qplayground.core.memory.estimate import Estimate, WeightKinds
from qplayground.core.precision import READY_PRECISIONS
from qplayground.core.tokens import Alternative, Token
from qplayground.report.csv import to_csv
from qplayground.report.files import FORMATS, write_all, write_report
from qplayground.report.html import to_html
from qplayground.report.script import to_script
from tests.comparisons import MACHINE, cancelled, change_model, comparison, done, failed

HOSTILE = "</p><script>alert(1)</script>&lt;\"' onload=x\n```\n=1+1"


def three() -> Comparison:
    made = comparison(done(), failed(), cancelled())
    made.runs[0].divergence = diverge([1], [1])
    return made


# ---- JSON -----------------------------------------------------------------------------------------------------------


def test_json_is_read_again() -> None:
    assert from_json(to_json(three())) == three()


@given(st.integers(0, len(to_json(three()))), st.binary(max_size=4))
def test_damaged_json_is_refused_or_read(at: int, put: bytes) -> None:
    data = to_json(three())
    try:
        from_json(data[:at] + put + data[at + len(put) :])
    except PlaygroundError as error:
        assert error.info.code is ErrorCode.BAD_FILE
        assert error.info.hint


@pytest.mark.parametrize(
    ("find", "put", "part"),
    [
        (b'"state": "done"', b'"state": "odd"', "runs[0].state"),
        (b'"seconds": 1.5', b'"seconds": "x"', "runs[0].load.seconds"),
        (b'"schema": 2', b'"schema": 3', "newer version"),
        (b'"baseline": "fp32"', b'"baseline": "q9"', "baseline"),
        (b'"id": "int8"', b'"id": "fp32"', "runs"),
        (b'"id": "int8"', b'"id": "../x"', "runs[2].id"),
        (b'"name": "int8"', b'"name": "../x"', "runs[2].precision: '../x'"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(find: bytes, put: bytes, part: str) -> None:
    data = to_json(three())
    assert find in data
    with pytest.raises(PlaygroundError) as refused:
        from_json(data.replace(find, put))
    assert part in str(refused.value)


@pytest.mark.parametrize("data", [b"[]", b"{}", b'{"schema": "a"}', b'"text"'])
def test_another_programs_file_is_called_so(data: bytes) -> None:
    with pytest.raises(PlaygroundError, match="not a comparison that qplayground saved"):
        from_json(data)


def test_figures_that_cannot_be_are_refused() -> None:
    wrong = [three() for _ in range(5)]
    wrong[0].runs[0].speed.samples = Samples(10**12, 1.0, 1.0, 0.0, (1.0,))
    wrong[1].runs[0].load.samples = Samples(0, 1.0, 1.0, 0.0, ())
    wrong[2].runs[0].tokens = [Token(1, "a", 0.1, 1e300, 1)]
    wrong[3].runs[0].tokens = [Token(1, "a", 0.1, 0.5, 1, (Alternative("b", -1.0),))]
    wrong[4].settings = GenerationSettings(max_new_tokens=-5)
    for made in wrong:
        with pytest.raises(PlaygroundError, match="not a whole comparison"):
            from_json(to_json(made))


def test_a_name_that_leaves_the_folder_is_refused() -> None:
    made = comparison(done())
    made.runs[0].id = "../x"
    made.baseline = None
    with pytest.raises(PlaygroundError, match="cannot be a name"):
        from_json(to_json(made))


# ---- CSV ------------------------------------------------------------------------------------------------------------


def test_csv_has_a_row_a_run_and_every_digit() -> None:
    sampled = done("nf4", HOSTILE)
    sampled.speed.samples = Samples.of([1.0, 2.0, 4.0])
    made = comparison(done(), failed("int8"), sampled)
    rows = list(csv.DictReader(io.StringIO(to_csv(made))))
    assert [row["precision"] for row in rows] == ["fp32", "int8", "nf4"]
    assert rows[0]["weight_bytes (bytes)"] == "538060288"
    assert rows[0]["decode_tokens_per_s (tokens/s)"] == "24.13"
    assert rows[0]["baseline"] == "True"
    assert rows[1]["decode_tokens_per_s (tokens/s)"] == ""
    assert rows[1]["error"].startswith("Memory ran out.")
    assert rows[2]["weight_bytes / baseline"] == "1.0"
    assert rows[2]["decode_tokens_per_s sd"] == str(Samples.of([1.0, 2.0, 4.0]).sd)
    assert rows[2]["text"] == HOSTILE


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\tx"])
def test_no_text_is_a_formula(text: str) -> None:
    (row,) = csv.DictReader(io.StringIO(to_csv(comparison(done(text=text)))))
    assert row["text"] == f"'{text}"


# ---- HTML -----------------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Collects the elements, and fails on one that is not closed in order."""

    VOID = {"meta", "br", "rect", "line"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.links += [value or "" for name, value in attributes if name in ("src", "href")]
        assert not any(name.startswith("on") for name, _ in attributes)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.VOID:
            return
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_a_page_needs_nothing_else_and_is_well_formed() -> None:
    page = Page(to_html(three()))
    assert "svg" in page.seen and "table" in page.seen
    assert "script" not in page.seen
    assert page.links == []


@given(st.text(max_size=40) | st.just(HOSTILE))
def test_no_text_is_markup(text: str) -> None:
    usual = Page(to_html(comparison(done(), done("nf4", "x"), prompt="x"))).seen
    written = comparison(done(), done("nf4", text), prompt=text)
    written.runs[1].divergence = None
    page = Page(to_html(written))
    assert page.seen == usual


def test_differences_are_marked() -> None:
    made = comparison(done(text=" the red cat"), done("nf4", " the black cat"))
    made.runs[1].divergence = diverge([1, 2, 3], [1, 9, 3])
    page = to_html(made)
    assert "<ins> black</ins>" in page and "<del> red</del>" in page


def test_a_spread_is_drawn() -> None:
    sampled = done()
    sampled.speed.samples = Samples.of([20.0, 24.0, 28.0])
    assert Page(to_html(comparison(sampled))).seen.count("line") >= 3
    assert "lowest to highest sample" in to_html(comparison(sampled))


def test_predicted_memory_stands_above_what_was_measured() -> None:
    foreseen = done()
    kinds = WeightKinds(plain=538_000_000)
    foreseen.memory.predicted = Estimate(
        precision="fp32", by_kind=kinds, kv_cache_bytes=2_000_000, working_bytes=14_000_000, runtime_bytes=400_000_000
    )
    words = Page(to_html(comparison(foreseen, done("nf4")))).words
    assert words.index("954 MB predicted") < words.index("1.00 GB measured") and words.count("1.00 GB measured") == 2
    assert "fp32, predicted: weights left alone 538 MB" in words and "nf4, predicted" not in " ".join(words)


# ---- scripts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", [recipe.name for recipe in READY_PRECISIONS])
@pytest.mark.parametrize("mode", Mode)
def test_every_script_is_python(precision: str, mode: Mode) -> None:
    made = comparison(done(precision), prompt=HOSTILE)
    made.mode = mode
    made.settings = GenerationSettings(do_sample=True, chat_template=mode is Mode.RACE)
    made.runs[0].precision = replace(made.runs[0].precision, skip_modules=("q_proj",))
    tree = ast.parse(to_script(made, made.runs[0]))
    strings = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    assert HOSTILE in strings and "/models/demo" in strings


def test_a_script_of_a_race_promises_no_equal_tokens() -> None:
    raced = done()
    raced.beside = 3
    assert "a token can differ" in to_script(comparison(raced), raced)
    assert "the same tokens" in to_script(comparison(done()), done())


def test_a_script_of_a_run_that_gave_nothing_promises_nothing() -> None:
    script = to_script(comparison(failed()), failed())
    assert "The run itself is failed" in script and "the same tokens" not in script


def test_a_script_of_a_run_that_was_never_placed_goes_where_it_was_to_go() -> None:
    unplaced = done()
    unplaced.device_map = {}
    there = comparison(unplaced)
    for gpus, device in (((), "cpu"), (("A GPU",), "cuda:0")):
        there.environment = replace(MACHINE, gpus=gpus)
        assert f"device_map={{'': '{device}'}}" in to_script(there, unplaced)


@given(st.text(max_size=40))
def test_no_name_leaves_its_place_in_a_script(text: str) -> None:
    made = comparison(done(), model=f'a"""{text}\\')
    change_model(made, path=f"x'{text}")
    usual = ast.dump(ast.parse(to_script(comparison(done()), done())))
    found = ast.parse(to_script(made, made.runs[0]))
    assert len(list(ast.walk(found))) == len(list(ast.walk(ast.parse(to_script(comparison(done()), done())))))
    assert usual


# ---- files ----------------------------------------------------------------------------------------------------------


def test_every_format_is_written(tmp_path: Path) -> None:
    written = write_all(three(), tmp_path / "new" / "folder")
    assert [path.suffix for path in written] == [".json", ".html", ".md", ".csv", ".py", ".py", ".py"]
    assert all(path.read_bytes() for path in written)
    assert from_json(written[0].read_bytes()) == three()


def test_the_suffix_tells_the_format(tmp_path: Path) -> None:
    for suffix, start in (("html", b"<!doctype"), ("MD", b"# "), ("csv", b"\xef\xbb\xbf"), ("json", b"{"), ("x", b"{")):
        path = tmp_path / f"a.{suffix}"
        write_report(three(), path)
        assert path.read_bytes().startswith(start)
    assert set(FORMATS) == {"json", "html", "md", "csv"}


def test_the_json_has_what_other_programs_rely_on() -> None:
    run = msgspec.json.decode(to_json(three()))["runs"][0]
    assert run["divergence"] == {"first_token": None, "common_prefix_tokens": 1}
    assert {"ttft_s", "decode_tokens_per_s", "prefill_tokens_per_s", "samples"} <= set(run["speed"])
