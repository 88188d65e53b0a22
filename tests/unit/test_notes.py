"""Notes that are shown once for several runs."""

from msgspec.structs import replace

from qplayground.core.commentary.notes import notes, notes_on
from tests.comparisons import MACHINE, comparison, done


def test_there_is_nothing_to_say_of_sound_figures() -> None:
    assert notes(comparison(done(), done("nf4"))) == ()


def test_what_is_true_of_several_runs_is_said_once_with_each_ones_measure() -> None:
    first, second, third = done("fp32"), done("bf16"), done("nf4")
    first.load.disk_share, second.load.disk_share = 0.96, 0.85
    note, _ = notes(comparison(first, second, third))
    measures = "fp32 (96 % of the file read from the disk), bf16 (85 % of the file read from the disk)"
    assert note.sentence == f"{measures}: a load from memory is faster."


def test_other_programs_beside_loading_and_writing_are_one_line() -> None:
    first, second, third = done("fp32"), done("bf16"), done("nf4")
    for run in (first, second):
        run.load.other_cpus, run.speed.other_cpus = 0.3, 0.9
    second.speed.other_cpus = 0.31
    third.speed.other_cpus = 0.7
    lines = [note.sentence for note in notes(comparison(first, second, third)) if "disturbed" in note.sentence]
    twice, once = "other programs used 0.3 and 0.9 processors", "other programs used 0.3 processors"
    said = "disturbed while loading and writing. Run it again to compare."
    assert lines == [
        f"fp32 ({twice}), bf16 ({once}): {said}",
        "nf4 (other programs used 0.7 processors): disturbed while writing. Run it again to compare.",
    ]


def test_what_spoils_comes_before_what_explains() -> None:
    slow, wide = done("int8"), done("fp32")
    slow.memory.weight_bytes, wide.memory.weight_bytes = 1, 2
    slow.speed.decode_tokens_per_s, wide.speed.decode_tokens_per_s = 1.0, 2.0
    wide.load.disk_share = 0.5
    shown = comparison(slow, wide)
    shown.baseline = "fp32"
    assert [note.spoils for note in notes(shown)] == [True, True, False]
    assert notes(shown)[2].sentence.startswith("int8: smaller than fp32, and slower")
    (alone,) = notes_on(shown, slow)
    assert alone.sentence.startswith("Smaller than fp32, and slower") and not alone.spoils


def test_what_spoils_speeds_comes_before_what_spoils_load_times_alone() -> None:
    cold, raced = done("fp32"), done("nf4")
    cold.load.disk_share, raced.beside = 0.5, 1
    shown = comparison(cold, raced)
    assert [note.is_grave for note in notes(shown)] == [True, False, False]
    assert notes(shown)[0].sentence.startswith("nf4: ran in a race")
    cold.beside = 1
    assert "no ratio (×) is shown" in notes(shown)[1].sentence and notes(shown)[1].is_grave


def test_ratios_that_are_not_given_are_accounted_for() -> None:
    wide, narrow = done("fp32"), done("nf4")
    wide.load.disk_share = 0.5
    sentences = [note.sentence for note in notes(comparison(wide, narrow))]
    said = "The baseline's own figure (*) is not sound."
    assert f"fp32: no ratio (×) is shown for Load. {said}" in sentences
    assert len(notes(comparison(wide))) == 1  # no run is compared with it
    narrow.load.disk_share, wide.load.disk_share = 0.5, 0.0
    assert len(notes(comparison(wide, narrow))) == 1


def test_what_a_processor_without_avx_512_costs_is_said_once_even_of_spoilt_times() -> None:
    older = replace(MACHINE, cpu_capability="AVX2")
    wide, eight, four = done("fp32"), done("int8"), done("nf4")
    shown = comparison(wide, eight, four, machine=older)
    assert [note.sentence.partition(",")[0] for note in notes(shown)] == ["int8"]
    for run in shown.runs:
        run.speed.other_cpus = 1.5
    first, *_, last = notes(shown)
    assert first.spoils and first.is_grave and not last.spoils
    assert last.sentence.startswith("int8, nf4: the processor has no AVX-512") and "not more speed" in last.sentence
    assert not any("AVX" in note.sentence for note in notes(comparison(wide, eight, four)))
    four.device_map = {"": "cuda:0"}
    eight.memory.weight_bytes = None  # it was never loaded
    assert not any("AVX" in note.sentence for note in notes(shown))


def test_what_was_faster_is_not_called_slow() -> None:
    wide, four = done("fp32"), done("nf4")
    shown = comparison(wide, four, machine=replace(MACHINE, cpu_capability="AVX2"))
    four.speed.decode_tokens_per_s = 99.0
    assert notes(shown) == ()
    four.speed.decode_tokens_per_s, four.memory.weight_bytes = 9.0, 1
    (note,) = notes(shown)
    assert "no fused kernel" in note.sentence  # which says more


def test_double_quantization_that_was_undone_is_explained() -> None:
    nested = done("nf4-dq")
    shown = comparison(done("nf4"), nested)
    assert notes(shown) == ()
    assert shown.environment is not None
    shown.environment = replace(shown.environment, avx512_bf16=True)
    (note,) = notes(shown)
    assert note.sentence.startswith("nf4-dq: double quantization saves nothing on this processor") and not note.spoils
    nested.device_map = {"": "cuda:0"}
    assert notes(shown) == ()
