"""A run whose engine lacks something: "–" and the reason everywhere, and no guesses."""

import csv
import io
from pathlib import Path

import pytest
from markupsafe import escape
from msgspec.structs import replace

from qplayground.core.capabilities import Capability
from qplayground.core.commentary.explanations import no_speed, why_not_smaller, why_slower
from qplayground.core.commentary.notes import notes, notes_on
from qplayground.core.commentary.recommendation import recommendation
from qplayground.core.commentary.verdicts import quality_sentence, reference_sentence, source_text
from qplayground.core.comparison.memory_segments import RAM, VRAM, memory_sentences
from qplayground.core.comparison.metrics import BY_KEY, METRICS, figure_text
from qplayground.core.comparison.results import MemoryFigures, Run, RunState, from_json, to_json
from qplayground.core.measures.quality import Evaluation, Quality
from qplayground.core.memory.process_memory import ProcessMemory
from qplayground.core.messages.events import Generated, Loaded
from qplayground.core.placement import Placement
from qplayground.report.csv import to_csv
from qplayground.report.files import write_all
from qplayground.report.html import to_html
from qplayground.report.markdown import to_markdown
from qplayground.report.table import plain_table, table_rows
from qplayground.runtime.comparison import bookkeeping
from qplayground.runtime.comparison.scheduler import EngineEvent, Scheduler, Verb
from tests.comparisons import MACHINE, comparison, done, failed, remote
from tests.fakes.remote import ELSEWHERE, LACKS

NOTE = f"no figures (–) for memory, weights and predicted memory. {ELSEWHERE}"


def scored(run: Run, *, against: str | None = None) -> Run:
    run.quality = Quality(text="builtin", scored_tokens=1024, perplexity=20.0)
    if against is not None:
        run.quality = replace(run.quality, reference=against, ppl_ratio=1.0, ppl_ratio_se=0.001, same_top1=0.99)
    return run


# ---- reports ------------------------------------------------------------------------------------------------------


def test_the_table_has_a_dash_for_each_figure_that_is_missing() -> None:
    headings, _, row = table_rows(comparison(done(), remote()))
    assert [heading for heading, cell in zip(headings, row, strict=True) if cell == "–"] == [
        "Weights",
        "RAM",
        "Peak RAM w/o scoring",
    ]


def test_every_report_has_the_reason_once() -> None:
    both = comparison(done(), remote())
    said = NOTE[:1].upper() + NOTE[1:]
    assert plain_table(both).splitlines().count(f"    * {said}") == 1
    assert to_markdown(both).count(f"**{said}**") == 1
    page = to_html(both)
    assert page.count(f'<p class="quiet">{escape(said)}</p>') == 1
    assert page.count(f'<td title="{escape(ELSEWHERE)}">–</td>') == 3


def test_the_spreadsheet_has_empty_cells_and_a_column_with_the_reasons() -> None:
    first, second = csv.DictReader(io.StringIO(to_csv(comparison(done(), remote()))))
    assert (first["not known"], first["weight_bytes (bytes)"]) == ("", "538060288")
    assert second["weight_bytes (bytes)"] == second["resident_bytes (bytes)"] == ""
    assert second["not known"] == f"weight_bytes, resident_bytes, peak_resident_bytes: {ELSEWHERE}"


def test_no_script_claims_to_be_what_another_engine_ran(tmp_path: Path) -> None:
    written = {path.name for path in write_all(comparison(done(), remote()), tmp_path)}
    assert "fp32.py" in written and "nf4.py" not in written


def test_notes_say_once_what_is_true_of_several_runs() -> None:
    (note,) = notes(comparison(done(), remote("int8"), remote("nf4")))
    assert note.sentence == f"int8, nf4: {NOTE}" and not note.spoils


def test_a_failed_run_lacks_nothing_of_its_engine() -> None:
    """Its figures are missing for another reason, which is shown."""
    run = failed()
    run.lacks = remote().lacks
    assert notes_on(comparison(done(), run), run) == ()
    assert not any(metric.reason_missing(run) for metric in METRICS)


def test_a_figure_that_is_there_lacks_no_reason() -> None:
    run = remote()
    run.memory.weight_bytes = 7
    assert BY_KEY["weight_bytes"].reason_missing(run) == ""
    assert BY_KEY["resident_bytes"].reason_missing(run) == ELSEWHERE
    assert BY_KEY["ttft_s"].reason_missing(run) == ""


# ---- saved --------------------------------------------------------------------------------------------------------


def test_what_is_lacking_is_saved_and_opens_again() -> None:
    both = comparison(done(), remote())
    opened = from_json(to_json(both))
    assert opened == both and opened.runs[1].lacks[Capability.MEMORY] == ELSEWHERE
    assert figure_text(BY_KEY["resident_bytes"], opened.runs[1], opened) == "–"


def test_a_capability_of_a_later_version_and_none_at_all_open() -> None:
    text = to_json(comparison(done()))
    assert text.count(b'"lacks": {}') == 1
    assert from_json(text.replace(b'"lacks": {}', b'"lacks": {"telepathy": "No."}')).runs[0].lacks == {
        "telepathy": "No."
    }
    assert from_json(text.replace(b'"lacks": {},', b"")).runs[0].lacks == {}


# ---- messages about it ----------------------------------------------------------------------------------------------


def test_no_precision_is_called_smaller_whose_weights_are_not_known() -> None:
    base, run = done(), remote()
    del run.lacks[Capability.PLACEMENT]
    base.speed.decode_tokens_per_s, run.speed.decode_tokens_per_s = 20.0, 1.0
    machine = replace(MACHINE, cpu_capability="AVX2")
    assert why_slower(comparison(base, run, machine=machine), run) is None
    known = done("nf4")
    known.speed.decode_tokens_per_s, known.memory.weight_bytes = 1.0, 7
    assert why_slower(comparison(base, known, machine=machine), known) is not None
    base.memory.weight_bytes = None
    assert why_slower(comparison(base, known, machine=machine), known) is None


def test_nothing_is_explained_by_a_processor_that_may_not_have_computed() -> None:
    base, run = done(), done("nf4")
    base.speed.decode_tokens_per_s, run.speed.decode_tokens_per_s, run.memory.weight_bytes = 20.0, 1.0, 7
    doubly = done("nf4-dq")
    for machine in (replace(MACHINE, cpu_capability="AVX2"), replace(MACHINE, avx512_bf16=True)):
        shown = comparison(base, run, doubly, machine=machine)
        for each in (run, doubly):
            each.lacks = {Capability.PLACEMENT: LACKS[Capability.PLACEMENT]}
            assert [explain(shown, each) for explain in (why_slower, why_not_smaller, no_speed)] == [None] * 3
            each.lacks = {}
        assert any(explain(shown, each) for explain in (why_slower, why_not_smaller) for each in (run, doubly))


def test_what_cannot_be_weighed_is_not_recommended_and_named() -> None:
    said = recommendation(comparison(scored(done()), scored(done("bf16"), against="fp32"), _weightless("nf4"))) or ""
    assert said.startswith("Pick fp32.")
    assert said.endswith(" Left out, because the size of the weights is not known: nf4.")
    assert "Left out" not in (recommendation(comparison(scored(done()), scored(done("nf4"), against="fp32"))) or "")


def _weightless(name: str) -> Run:
    run = scored(remote(name), against="fp32")
    del run.lacks[Capability.SCORING]
    return run


def test_a_run_that_cannot_be_scored_says_so_and_counts_for_no_tokens() -> None:
    run, other = remote("fp32"), scored(done("nf4"))
    bookkeeping.note_unscored(run, "builtin")
    shown = comparison(run, other)
    shown.evaluation = Evaluation(text="builtin", text_sha256="ab" * 32, text_tokens=8883, window=256, stride=1232)
    assert quality_sentence(shown, run) == ("fp32: The server does not score texts. Choose another engine for this.")
    assert run.quality is not None and not run.quality.was_stopped
    assert "1,024 tokens scored" in source_text(shown)


def test_why_quality_is_not_against_the_baseline_is_the_engines_reason_where_it_has_one() -> None:
    shown = comparison(remote("fp32"), scored(done("bf16")), scored(done("nf4"), against="bf16"))
    assert (reference_sentence(shown) or "").endswith("against the baseline, fp32. The server does not score texts.")
    shown.runs[0].lacks = {}
    assert (reference_sentence(shown) or "").endswith("Compare again with that baseline to have them against it.")


def test_a_placement_that_was_not_carried_out_is_said() -> None:
    shown = comparison(done(), remote())
    assert not any("not placed" in note.sentence for note in notes(shown))
    shown.placement, shown.device = Placement(device="cpu"), "cpu"
    (note,) = [note for note in notes(shown) if "not placed" in note.sentence]
    assert note.sentence == "nf4: not placed as was asked (CPU). The server decides where the model is."
    assert note.is_grave


def test_a_load_that_goes_on_after_a_stop_is_said() -> None:
    run = remote()
    said = f"the load may continue after the stop. {LACKS[Capability.LOAD_STOP]}"
    assert not any(said in note.sentence for note in notes(comparison(done(), run)))
    run.state, run.finish_reason, run.load.seconds = RunState.CANCELLED, "cancelled", None
    assert any(said in note.sentence for note in notes(comparison(done(), run)))
    run.finish_reason = None  # it never began
    assert not any(said in note.sentence for note in notes(comparison(done(), run)))


def test_that_nothing_can_be_predicted_is_not_said_again_of_a_kept_model() -> None:
    run = remote()
    run.load.kept = True
    assert not any("was not predicted" in note.sentence for note in notes(comparison(done(), run)))
    del run.lacks[Capability.PREDICTION]
    assert any("was not predicted" in note.sentence for note in notes(comparison(done(), run)))


def test_no_memory_has_no_parts() -> None:
    memory = remote().memory
    for place in (RAM, VRAM):
        assert (place.measured(memory), place.predicted(memory), place.excess(memory)) == ([], [], 0)
    assert memory_sentences(memory) == ()


def test_weights_that_are_not_known_are_part_of_what_is_unexplained() -> None:
    memory = MemoryFigures(resident_bytes=10, runtime_bytes=4)
    assert [(part.role, part.num_bytes) for part in RAM.measured(memory)] == [("runtime", 4), ("unexplained", 6)]


# ---- bookkeeping --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("has_memory", [True, False])
@pytest.mark.parametrize("has_weights", [True, False])
def test_what_is_not_said_is_not_noted(has_memory: bool, has_weights: bool) -> None:
    run = done()
    run.memory = MemoryFigures()
    memory = ProcessMemory(10, 5) if has_memory else None
    weights = 7 if has_weights else None
    loaded = Loaded(
        command_id=1,
        seconds=1,
        device_map={},
        weight_bytes=weights,
        quantized_modules=None,
        runtime_memory=memory,
        memory=memory,
    )
    generated = Generated(
        command_id=2,
        text="",
        finish_reason="length",
        ttft_s=None,
        prefill_tokens_per_s=None,
        decode_tokens_per_s=None,
        memory=memory,
        peak_resident_bytes=20 if has_memory else None,
        weight_bytes=weights,
    )
    bookkeeping.record_loaded(run, loaded)
    assert (run.memory.resident_bytes, run.memory.runtime_bytes) == ((15, 15) if has_memory else (None, None))
    bookkeeping.record_generated(run, generated)
    found = run.memory
    assert found.weight_bytes == weights and found.by_kind is None
    assert (found.resident_bytes, found.anonymous_bytes, found.file_bytes, found.peak_resident_bytes) == (
        (15, 10, 5, 20) if has_memory else (None,) * 4
    )


def test_a_run_that_begins_anew_may_lack_something_else() -> None:
    run = remote()
    bookkeeping.clear(run)
    assert run.lacks == {}


# ---- scheduler ----------------------------------------------------------------------------------------------------


def test_a_run_that_cannot_be_scored_is_over_with_its_text() -> None:
    scheduler = Scheduler(["a", "b"], scores=True, reference="a", can_score=lambda run: run != "a")
    scheduler.begin()
    verbs = []
    for run in ("a", "b"):
        for event in (EngineEvent.HELLO, EngineEvent.LOADED, EngineEvent.GENERATED):
            actions = scheduler.handle(run, event)
        verbs += [action.verb for action in actions]
        if run == "a":
            assert scheduler.state("a") is RunState.DONE
            scheduler.handle("a", EngineEvent.EXITED)
    assert verbs == [Verb.END, Verb.SCORE]
