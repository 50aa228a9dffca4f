"""What is found out once of a document is what every rule would find by looking at all of it."""

import ast
import inspect

from hypothesis import given
from hypothesis import strategies as st

from infill_ls.completion.next_edit import imports, patterns
from infill_ls.completion.next_edit.changes import token_change, tokens
from infill_ls.completion.next_edit.module import annotations, module_of
from infill_ls.completion.next_edit.patterns import alike_round
from infill_ls.completion.next_edit.source import Lines, Source
from infill_ls.documents import Document

LINE = st.text(alphabet="ab (,)=é\t", max_size=12)


def test_lines_with_a_text() -> None:
    lines = Lines("aa\r\nba\n\rcab\nxyz")

    assert lines.lines == ("aa", "ba", "", "cab", "xyz")
    assert [*lines.rows_with("a")] == [0, 1, 3], "each once"
    assert [*lines.rows_with("xyz")] == [4]
    assert [*lines.rows_with("nowhere")] == []
    assert [*lines.rows_with("")] == [0, 1, 2, 3, 4]


@given(st.lists(LINE, max_size=6), st.text(alphabet="ab (", max_size=3))
def test_any_text_is_found(lines: list[str], said: str) -> None:
    source = Lines("\n".join(lines))

    assert [*source.rows_with(said)] == [n for n, x in enumerate(source.lines) if said in x]


@given(LINE, LINE, LINE, LINE, LINE)
def test_what_is_alike_round_a_place(
    before: str, old: str, after: str, left: str, right: str
) -> None:
    """Token by token from the place on, as if both lines were cut whole."""
    change = token_change(tokens(f"{before}{old}{after}"), tokens(f"{before}!{after}"))
    line = f"{left}{old}{right}"
    start, end = len(left), len(left) + len(old)

    found = alike_round(change, line, start, end)

    sides = (
        (change.before[::-1], tokens(line[:start])[::-1]),
        (change.after, tokens(line[end:])),
    )
    for side, (here, there) in enumerate(sides):
        same = 0
        for a, b in zip(here, there, strict=False):
            if a != b and (a.strip() or b.strip()):
                break
            same += 1
        whole = (
            same == min(len(here), len(there))
            and not ("".join(here[same:]) + "".join(there[same:])).strip()
        )
        assert found[side] == sum(1.0 if x[0].isalpha() else 0.3 for x in here[:same] if x.strip())
        assert found[2 + side] is whole


def test_a_module_is_walked_as_ast_does() -> None:
    for text in (inspect.getsource(imports), inspect.getsource(patterns)):
        module = module_of(text)
        assert module is not None
        walked = [*ast.walk(module.tree)]

        names = [node.id for node in walked if isinstance(node, ast.Name)]
        assert [node.id for node in module.names] == names
        modules = [node.module for node in walked if isinstance(node, ast.ImportFrom)]
        assert list(dict.fromkeys(x.module for x in module.imports if x.module)) == list(
            dict.fromkeys(modules)
        )
        assert len([*annotations(module)]) > 20


def test_what_is_no_module() -> None:
    assert module_of("def f(:\n") is None
    assert module_of("x = 1\n" * 30_000) is None, "takes long"
    assert module_of("(" * 500) is None
    script = Document(uri="file:///a.js", version=1, language_id="javascript", text="x = 1\n")
    assert Source(script).module is None
