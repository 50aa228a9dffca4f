"""Code in prose and markup: where it is, and that it is checked in its own language."""

import random
import re
import time

import pytest

from infill_ls.completion.pipeline import InfillOptions, infill_at
from infill_ls.syntax.language import language_of
from infill_ls.syntax.regions import region_at, spoils_fence, within
from infill_ls.syntax.trees import Trees
from tests.infill_ls.scripted import Scripted
from tests.infill_ls.syntax.sources import SOURCES, document, marked, num_problems

PROSE = "# Title\n\nIt's (almost\n\n"
CODE = "```python title=a.py\nx = f(1)\n```\n"


@pytest.mark.parametrize(
    ("source", "host", "language", "code"),
    [
        ("a ‸b\n", "markdown", "markdown", "a b\n"),
        ("a\n```py\nx = ‸1\n```\nb\n", "markdown", "python", "\nx = 1\n"),
        ("a\n```py‸\nx\n```\nb\n", "markdown", "python", "\nx\n"),
        ("a\n```p‸y\nx\n```\n", "markdown", "markdown", "a\n```py\nx\n```\n"),
        ("```py\nx\n‸```\n", "markdown", "python", "\nx\n"),
        ("```py\nx\n```‸\n", "markdown", "markdown", "```py\nx\n```\n"),
        ("```py\nx‸\n", "markdown", "python", "\nx\n"),
        ("~~~ {.js #a}\n```\nx‸\n~~~\n", "markdown", "javascript", "\n```\nx\n"),
        ("````c++\n```\n‸````\n", "markdown", "cpp", "\n```\n"),
        ("- a\n  ```sh\n  x‸\n  ```\n", "markdown", "shellscript", "\n  x\n"),
        ("```\r\nx‸\r\n```\r\n", "markdown", "", "\nx\r\n"),
        ("```rust\nx\n```\ny\n```go\nz‸\n```\n", "markdown", "go", "\nz\n"),
        ("a `‸` ```b``` c\n", "markdown", "markdown", "a `` ```b``` c\n"),
        ("<p>‸</p><script>x</script>", "html", "html", "<p></p><script>x</script>"),
        ("<script>x‸</script><p>", "html", "javascript", "x"),
        ("<SCRIPT type='module'>‸x</SCRIPT>", "html", "javascript", "x"),
        ('<script type="application/ld+json">{‸}</script>', "html", "json", "{}"),
        ("<style>a {‸}</style>", "vue", "css", "a {}"),
        ('<style lang="scss" scoped>a {‸}</style>', "vue", "scss", "a {}"),
        ('<script setup lang="ts">‸\n</script>', "vue", "typescript", "\n"),
        ("<script>x = '<style>a</style>' ‸</script>", "svelte", "javascript", None),
        ("<script src='a' />\n<p>‸</p>", "vue", "vue", None),
        ("<script>x‸", "vue", "javascript", "x"),
        ("<!-- <script>‸</script> --><p>", "html", "html", None),
        ("<!-- <script> --><script>'<!--' ‸</script>", "html", "javascript", "'<!--' "),
        ("<script>'<!--'</script><script>‸</script>", "html", "javascript", ""),
        ("AS $$\nx‸\n$$ LANGUAGE plpython3u;\n", "sql", "python", "\nx\n"),
        ("DO LANGUAGE 'plv8' $a$ $$x‸ $a$;\n", "sql", "javascript", " $$x "),
        ("AS $$x$$ LANGUAGE plperl; AS $$\n‸$$ LANGUAGE sql;", "sql", "sql", None),
        ("AS $$\nx‸\n$$ LANGUAGE plpgsql;\n", "sql", "sql", None),
        ("SELECT '$$', $$x‸$$ -- LANGUAGE plperl\n", "sql", "sql", None),
        ("CREATE FUNCTION f() LANGUAGE plperlu AS $b$\n‸", "sql", "perl", "\n"),
        ("<script>‸", "python", "python", "<script>"),
    ],
)
def test_the_language_at_a_place(source: str, host: str, language: str, code: str | None) -> None:
    found, cursor = marked(source, host)
    region = region_at(found.text, cursor, language_of(host))

    assert language == region.language.id
    assert code is None or code.replace("\r", "") == found.text[region.start : region.end].replace(
        "\r", ""
    )


@pytest.mark.parametrize(
    ("source", "text", "host", "expected"),
    [
        # out of a block
        ("```py\n‸\n```\n", "x\n```\n\nMore.", "markdown", "x\n"),
        ("```py\n‸\n```\n", "x\n``", "markdown", "x\n``"),
        ("```py\n‸\n", "x\n```\n", "markdown", "x\n"),
        ("```py\nx\n‸\n", "```", "markdown", "```"),
        ("```py‸\nx\n```\n", "\ny", "markdown", "\ny"),
        ("<script>‸</script>", "x</script><p>", "html", "x"),
        ("<script>x\n‸\n<p></p>\n", "</script>", "vue", "</script>"),
        # into one
        ("‸\n", "See:\n\n```py\nx\n```\n", "markdown", "See:\n\n```py\nx\n```\n"),
        ("‸\n", "See:\n\n```py\nx", "markdown", "See:\n\n"),
        ("```py\nx\n```‸\n", "\n\nand\n```py\ny", "markdown", "\n\nand\n"),
        ("‸\n", "<b>a</b><script>x", "html", "<b>a</b>"),
        ("‸\na {}\n</style>", "<style>", "vue", "<style>"),
        ("‸\n", "<script>x</script>", "html", "<script>x</script>"),
        ("x = ‸\n", "'<script>'", "python", "'<script>'"),
        ("LANGUAGE plperl AS $$\n‸\n$$;\n", "1;\n$$;\nSELECT", "sql", "1;\n"),
        ("CREATE FUNCTION f()‸\n", " AS $$\nSELECT", "sql", " AS $$\nSELECT"),
    ],
)
def test_a_text_stays_in_its_language(source: str, text: str, host: str, expected: str) -> None:
    found, cursor = marked(source, host)
    region = region_at(found.text, cursor, language_of(host))
    before, after = found.text[:cursor], found.text[cursor:]

    assert expected == within(text, region, before[before.rfind("\n") + 1 :], after)


@pytest.mark.parametrize(
    ("before", "text", "after", "expected"),
    [
        ("", "x", "```", True),
        ("```", "x", "", True),
        ("`", "`", "``", True),
        ("```py", "\nx = 1", "", False),
        ("```", "\n\nMore.", "", False),
        ("", "x\n", "```", False),
        ("a ", "b", " c", False),
    ],
)
def test_a_fence_stays_one(before: str, text: str, after: str, expected: bool) -> None:
    region = region_at(before + after, len(before), language_of("markdown"))

    assert expected == spoils_fence(text, region, before, after)


def shown(source: str, text: str, language_id: str) -> list[str]:
    found, cursor = marked(source, language_id)
    infilled = infill_at(Scripted(text), found, cursor, InfillOptions(), trees=Trees())
    return [each.text for each in infilled.candidates]


@pytest.mark.parametrize(
    ("source", "language_id", "good", "wrong"),
    [
        (PROSE + "```py\nx = ‸\ny = 2\n```\n", "markdown", "f(1)", "f(1, ]"),
        (PROSE + "```js\nx = ‸;\n```\n\n(and\n", "markdown", "f('a')", "f('a'))"),
        (PROSE + "```klingon\nx = ‸\n```\n", "markdown", "f(1)", "f[1)"),
        ("<p>It's</p>\n<script>\n  x = ‸;\n</script>\n", "html", "f(1)", "f(1))"),
        ("<style>\n  a {\n    ‸\n  }\n</style>\n", "html", "top: 1px;", "top: calc(1px;"),
        ("<script lang='ts'>\nlet x: A = ‸;\n</script>\n", "vue", "f<B>(1)", "f<B>(1))"),
        ("<script>\n  let x = ‸;\n</script>\n<p>{x}</p>\n", "svelte", "f(1)", "f(1))"),
        ("<p>{‸}</p>\n", "svelte", "f(1)", "f(1))"),
        ("<template>\n  <p>{{ ‸ }}</p>\n</template>\n", "vue", "f(1)", "f(1)) + ("),
    ],
)
def test_code_is_checked_in_its_own_language(
    source: str, language_id: str, good: str, wrong: str
) -> None:
    assert [good] == shown(source, good, language_id)
    assert wrong not in shown(source, wrong, language_id)


@pytest.mark.parametrize(
    ("source", "text", "language_id"),
    [
        ("# Title\n\n‸\n", "1) first\n2) second :-)", "markdown"),
        ("It is ‸\n", "good (or", "plaintext"),
        ("```js\nconst x = 1;\n// or\n‸\n```\n", "const x = 2;", "markdown"),
        ("```py\n‸\n```\n", "return x", "markdown"),
        (
            "<select>\n  ‸\n</select>\n",
            '<option value="1" {% if v == 1 %}selected{% endif %}>a</option>',
            "htmldjango",
        ),
        ("ifeq ($(A),b)\n‸\n", "C := 1\nendif", "makefile"),
        ("A := 1\n‸\n", "define B\nc\nendef", "makefile"),
        ("f() {\n  ‸\n}\n", "if ! { a && b; }; then c; fi", "shellscript"),
    ],
)
def test_what_is_right_there_is_shown(source: str, text: str, language_id: str) -> None:
    assert shown(source, text, language_id) == [text]


def blocks(text: str) -> list[tuple[str, str]]:
    """Info and code of every fenced block, by lines."""
    found, fence, code = [], "", ""
    for line in text.split("\n"):
        if not fence and line.startswith("```"):
            fence, code = line, ""
        elif fence and line.strip() == "```":
            found.append((fence[3:], code))
            fence = ""
        else:
            code += line + "\n"
    return [*found, ("open", code)] if fence else found


@pytest.mark.parametrize("name", ["python", "typescript", "rust", "kotlin", "sql", "lua"])
def test_whatever_an_engine_says_blocks_stay_as_right_as_they_are(name: str) -> None:
    rng = random.Random(name)
    block = f"```{name}\n{SOURCES[name]}```\n"
    source = f"{PROSE}{block}\nIt's more:\n\n{block}\nThe end.\n"
    tokens = [*re.findall(r"\w+|\s+|[^\w\s]", SOURCES[name]), "```", "\n```\n", "\n```py\n"]
    num_shown = 0
    for version in range(60):
        cursor = rng.randrange(len(source) + 1)
        at = rng.randrange(len(tokens))
        said = "".join(tokens[at : at + rng.randrange(1, 12)]) + rng.choice(tokens[-3:] + [""] * 3)
        found = document(source, "markdown", version)
        for each in infill_at(
            Scripted(said), found, cursor, InfillOptions(), trees=Trees()
        ).candidates:
            num_shown += 1
            after = blocks(source[:cursor] + each.text + source[cursor:])

            assert [info for info, _ in after if info == name] == [name, name], (cursor, each.text)
            assert "open" not in [info for info, _ in after]
            assert not any(num_problems(code, name) for info, code in after if info == name)

    assert num_shown > 5


def test_comments_without_an_end_in_many_scripts_take_little() -> None:
    text = "<script><!--</script>" * 5_000
    started = time.process_time()

    assert region_at(text, len(text), language_of("html")).language.id == "html"
    assert time.process_time() - started < 1.0
