"""Chat templates that are damaged or hostile."""

import sys
from pathlib import Path

import pytest

from qplayground.core.errors import ErrorCode, PlaygroundError
from qplayground.core.messages.events import Failed, Loaded, MemoryEstimated
from qplayground.engines.transformers.failures.limits import TookTooLongError, time_limit
from qplayground.engines.transformers.text import chat_template
from qplayground.engines.transformers.text.prompt import encode_prompt
from qplayground.engines.transformers.text.tokenizer import read_tokenizer
from qplayground.runtime.processes.launcher import ENGINE_TARGET, Launcher
from tests.engine import tiny
from tests.faults.corrupted.folders import PATIENCE_S, RecordedEngine, ask

pytestmark = [
    pytest.mark.exhaustive,
    pytest.mark.skipif(sys.platform == "win32", reason="alarms, pipes and links as POSIX has them"),
]


LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}" + 3 * "{% endfor %}"
DOUBLING = "{% set n = namespace(s='aaaaaaaa') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}"
TEMPLATES = {
    "range": ("{% for i in range(10**12) %}x{% endfor %}", "fails: OverflowError"),
    "endless": (LOOP, "did not finish"),
    "endless text": (LOOP.replace("{% endfor %}", "x{% endfor %}"), "more memory|did not finish"),
    "doubling": (DOUBLING, "memory|did not finish"),
    "times": ("{{ 'a' * 10**11 }}", "memory"),
    "squares": ("{% set n = namespace(x=9) %}{% for i in range(60) %}{% set n.x = n.x*n.x %}{% endfor %}", "fails"),
    "power": ("{{ (10 ** (10 ** 9)) % 7 }}", "fails: OverflowError"),
    "width": ("{{ '%99999999999d' | format(1) }}", "fails|memory"),
    "long": ("{{ 'a' | center(10**8) }}", "100,000,000 characters"),
    "recursion": ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "fails: RecursionError"),
    "brackets": ("{{" + "(" * 5000 + "1" + ")" * 5000 + "}}", "damaged|fails"),
    "50 MB": ("x" * 50_000_000, "50,000,000 characters"),
    "raises": ("{{ raise_exception('out of memory') }}", "in its own words: out of memory."),
    "surrogate": ("{{ '\\ud800' }}", "fails: UnicodeEncodeError"),
    "no end": ("{% for m in messages %}", "damaged: TemplateSyntaxError"),
    "class": ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "fails|leaves the prompt out"),
    "import": ("{% import 'os' as os %}", "fails|leaves the prompt out"),
    "include": ("{% include '/etc/passwd' %}", "fails|leaves the prompt out"),
    "globals": ("{{ cycler.__init__.__globals__.os.system('true') }}", "fails|leaves the prompt out"),
    "self": ("{{ self.__init__.__globals__ }}", "fails|leaves the prompt out"),
    "attr": ("{{ (messages | attr('__class__')).x }}", "fails|leaves the prompt out"),
    "change": ("{{ messages.append(1) }}", "fails|leaves the prompt out"),
}  # fmt: skip


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_chat_template_that_does_harm(
    name: str, folder: Path, engine: RecordedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_template, "LIMIT_S", 2.0)
    template, told = TEMPLATES[name]
    (folder / "chat_template.jinja").write_text(template)
    answers = ask(engine, folder, tiny.request(chat_template=True))
    assert isinstance(answers.load, Failed) and answers.code is ErrorCode.NO_CHAT_TEMPLATE
    assert any(words in answers.load.error.message for words in told.split("|")), answers.load.error
    assert isinstance(answers.estimate, MemoryEstimated)


def test_a_chat_template_formats_nothing_of_python(good: Path) -> None:
    tokenizer = read_tokenizer(good)
    tokenizer.chat_template = "{{ '{0.__class__} {0.__init__.__globals__}'.format(messages) }}"
    with pytest.raises(PlaygroundError, match="fails: SecurityError"):
        chat_template.render(tokenizer, "a")


def test_a_chat_template_gives_what_the_library_gives(good: Path) -> None:
    tokenizer = read_tokenizer(good)
    turn = [{"role": "user", "content": "the <s> cat ☃"}]
    theirs = tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_dict=True)["input_ids"]
    assert encode_prompt(tokenizer, tiny.request("the <s> cat ☃", chat_template=True)).ids == theirs


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux alone")
def test_an_engine_survives_templates_without_an_end(folder: Path, good: Path) -> None:
    """A real engine with the program's own limits: it reports the problem, then serves another model."""
    asked = tiny.request(chat_template=True)
    launcher = Launcher(ENGINE_TARGET)
    try:
        with launcher.engine() as engine:
            events = engine.events()
            for name in ("endless", "doubling"):
                (folder / "chat_template.jinja").write_text(TEMPLATES[name][0])
                engine.send(tiny.load_command(folder, asked=asked))
                failed = next(event for event in events if isinstance(event, Failed | Loaded))
                assert isinstance(failed, Failed) and failed.error.code is ErrorCode.NO_CHAT_TEMPLATE
            engine.send(tiny.load_command(good, asked=asked))
            assert isinstance(next(event for event in events if isinstance(event, Failed | Loaded)), Loaded)
    finally:
        launcher.close()


def test_a_time_limit_ends_loops_and_leaves_what_is_quick_alone() -> None:
    with pytest.raises(TookTooLongError), time_limit(0.05):
        while True:
            pass
    with time_limit(PATIENCE_S):
        pass
