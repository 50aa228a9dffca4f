"""Whatever text stands in a file and whatever an engine says, the answer comes in time.

Seconds are those of this thread's processor time, so that what else runs on the machine does not
count; the engine takes none.
"""

import gc
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from infill_engine.budget import Budget
from infill_ls.completion.attempt import missing_closers
from infill_ls.completion.context import context_at
from infill_ls.completion.pipeline import Infilled, InfillOptions, infill_at
from infill_ls.completion.trim import trimmed
from infill_ls.documents import Document
from infill_ls.syntax.language import language_of
from infill_ls.syntax.trees import Trees
from tests.infill_ls.scripted import Scripted, Several

DEADLINE, LATE = 0.3, 0.05
PYTHON = "def f(a):\n    return a + 1\n\n\n"
SCRIPT = "function f(a) {\n  return 'a' + a;\n}\n\n"
C = "int f(int a) {\n    return a + 1;\n}\n\n"
KOTLIN = "  fun f(a: Int): Int {\n    return a + 1\n  }\n\n"
SWIFT = "  func f(a: Int) -> Int {\n    return a + 1\n  }\n\n"
SCALA = "  def f(a: Int): Int = {\n    return a + 1\n  }\n\n"
JAVA = "  int f(int a) {\n    return a + 1;\n  }\n\n"


def within(head: str, function: str, count: int, tail: str = "") -> tuple[str, str]:
    """The text before and after a cursor in the middle of many functions."""
    at = function.index("return ") + len("return ")
    before = head + function * (count // 2) + function[:at]
    return before, function[at:] + function * (count // 2) + tail


# Language, the text before the cursor, and after it.
FILES = {
    "white space behind": ("python", "x = foo(1, ", " " * 11_000 + "# padded remark\n"),
    "much white space behind": ("javascript", "x = foo(1, ", " " * 900_000 + "// padded\n"),
    "white space before": ("javascript", "x = foo(1, " + " " * 900_000, "\n"),
    "empty lines": ("python", "def f():\n    x = " + "\n" * 450_000, "\n" * 450_000),
    "tabs and blanks": ("yaml", "a:\n" + "\t " * 200_000, " \t" * 200_000 + "b\n"),
    "a long line": ("javascript", "x = " + "a + " * 115_000, "a + " * 115_000 + "b;\n"),
    "a long list": ("json", "[" + "1, " * 150_000, "2, " * 150_000 + "3]\n"),
    "a long string": ("python", "x = '" + "a b " * 110_000, "a b " * 110_000 + "'\n"),
    "brackets before": ("python", "x = " + "(" * 8_000, "\n"),
    "brackets on both sides": ("python", "x = " + "(" * 8_000 + "a", ")" * 8_000 + "\n"),
    "brackets of all kinds": ("cpp", "int x = " + "([{" * 2_700, "\n"),
    "brackets behind": ("typescript", "let x = ", "[" * 8_000 + "\n"),
    "an open bracket above": ("python", *within("x = (1,\n", PYTHON, 30_000)),
    "an open bracket in TypeScript": ("typescript", *within("const x = (1,\n", SCRIPT, 22_000)),
    "an open brace above": ("java", *within("class A {\n void g() {\n", JAVA, 22_000, "}\n")),
    "an open bracket in C++": ("cpp", *within("int x = f(\n", C, 1_400)),
    "an open bracket in little C++": ("cpp", *within("int x = f(\n", C, 360)),
    "an odd quote": ("javascript", *within("const s = 'it;\n", SCRIPT, 24_000)),
    "an odd backtick": ("javascript", *within("const s = `it;\n", SCRIPT, 24_000)),
    "odd quotes in Python": ("python", *within('s = """it\n', PYTHON, 30_000)),
    "an error in line 1": ("typescript", *within("const = = 1;\n", SCRIPT, 5_000)),
    "a long class with an error": (
        "java",
        *within("class A {\n int x = = 1;\n", JAVA, 5_000, "}\n"),
    ),
    "nested tags": ("html", "<div>\n" * 3_000, "</div>\n" * 2_900),
    "many tags": ("javascriptreact", "x = <ul>" + "<li>a</li>\n" * 20_000, "</ul>;\n"),
    "quotes alone": ("javascript", "x = " + "'" * 100_001, "\n"),
    "no grammar": ("klingon", "( [ " * 100_000, ") ]" * 100_000),
    "an open brace in CSS": ("css", "a {\n color: red;\n" + "b { width: 1px; }\n" * 40_000, "\n"),
    "open brackets in YAML": ("yaml", "a:\n" + "  - b: [1, 2\n    c: d\n" * 20_000, "\n"),
    "an open brace in Kotlin": (
        "kotlin",
        *within("class A {\n fun g() {\n", KOTLIN, 22_000, "}\n"),
    ),
    "an open brace in Swift": ("swift", *within("class A {\n func g() {\n", SWIFT, 22_000, "}\n")),
    "an open brace in Scala": ("scala", *within("class A {\n val g = {\n", SCALA, 22_000, "}\n")),
    "an odd quote in Dart": ("dart", *within("var s = 'it;\n", C, 22_000)),
    "open brackets in SQL": ("sql", "SELECT (" * 40_000, ") FROM a;\n" * 40_000),
    "open blocks in Svelte": ("svelte", "{#if a}<b>{f(x)}\n" * 20_000, "</b>{/if}\n" * 20_000),
    "open calls in a makefile": ("makefile", "a:\n" + "\t$(call b,$(c\n" * 30_000, ")\n"),
    "open brackets in a Dockerfile": ("dockerfile", "FROM a\n" + "RUN ( \\\n" * 40_000, ")\n"),
    "open tags of a template": ("htmldjango", "{% if a %}{{ f(b }}\n" * 20_000, "}}\n" * 20_000),
    "many fences": ("markdown", "```py\nx = 1\n```\n" * 25_000 + "```py\nx = ", "\n```\n" * 25_000),
    "a fence without an end": ("markdown", "`" * 200_000 + "\n" + PYTHON * 5_000, PYTHON * 5_000),
    "many scripts": ("html", "<script>x = 1</script>\n" * 20_000 + "<script>x = ", "</script>\n"),
    "tags without an end": ("vue", "<script " * 60_000, "<style " * 60_000),
}
TEXTS = {
    "good": ("a",),
    "wrong": ("a b)", ")) c", "x = = (", "'"),
    "brackets": ("(" * 8_000, "[" * 8_000, "(" * 8_000),
}


@pytest.fixture(scope="module", autouse=True)
def _server_heap() -> Iterator[None]:
    """The collector passes over what was there before, as in a server with its engine loaded."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def processor_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(monotonic=time.thread_time, perf_counter=time.thread_time)
    monkeypatch.setattr("infill_engine.budget.time", clock)
    monkeypatch.setattr("infill_ls.completion.pipeline.time", clock)


def infill(name: str, texts: tuple[str, ...], trees: Trees, version: int = 0) -> Infilled:
    language_id, before, after = FILES[name]
    document = Document(
        uri="file:///a", version=version, language_id=language_id, text=before + after
    )
    engine = Several(*texts) if version % 2 else Scripted(*texts)
    budget = Budget(deadline=time.thread_time() + DEADLINE)
    options = InfillOptions(num_candidates=3)
    return infill_at(engine, document, len(before), options, trees=trees, budget=budget)


@pytest.mark.usefixtures("processor_clock")
@pytest.mark.parametrize("name", FILES)
def test_an_answer_comes_in_time(name: str) -> None:
    trees = Trees()
    for version, texts in enumerate(TEXTS.values()):
        started = time.thread_time()
        infill(name, texts, trees, version)

        assert time.thread_time() - started < DEADLINE + LATE, texts[0][:20]


@pytest.mark.usefixtures("processor_clock")
@pytest.mark.parametrize(
    "name",
    [
        *("an open bracket above", "an open bracket in TypeScript", "an open bracket in C++"),
        *("an error in line 1", "a long class with an error", "odd quotes in Python"),
    ],
)
def test_a_large_broken_file_is_completed_at_the_first_key(name: str) -> None:
    assert [each.text for each in infill(name, ("b - ",), Trees()).candidates] == ["b - "]


@pytest.mark.usefixtures("processor_clock")
def test_what_could_not_be_checked_is_not_shown() -> None:
    infilled = infill("a long line", ("a",), Trees())

    assert infilled.candidates == ()
    assert infilled.rejected == "it cannot be checked in time"


PIECES = [
    "a\n",
    " ",
    "(",
    ")",
    "'",
    "</b>",
    "</",
    "/*",
    "x",
    "\n",
    "\n\t ",
    "\\",
    "# ",
    "pub(",
    "@a ",
]


@pytest.mark.parametrize("piece", PIECES)
def test_twice_the_text_takes_twice_the_time(piece: str) -> None:
    """Not four times: of an engine's text, of what stands before it, and of what follows."""

    def seconds(size: int) -> float:
        long = piece * (size // len(piece))
        started = time.thread_time()
        for before, text, after in (("x = ", long, "\n"), (long, "a", "\n"), ("x = ", "a", long)):
            document = Document(uri="a", version=1, language_id="rust", text=before + after)
            context = context_at(document, len(before))
            trimmed(text, context)
            missing_closers(before, text, after, language_of("rust"))
        return time.thread_time() - started

    small = min(seconds(2_000) for _ in range(3))
    large = min(seconds(8_000) for _ in range(3))

    assert large < 8 * small + 0.005
