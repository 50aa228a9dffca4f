"""Neovim with the real server round an engine whose text is known: what is drawn where, exactly.

The embedded model decides itself how many lines it says; here several are wanted in every place.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.editors.conftest import SETTINGS, SUITES, program
from tests.editors.editor import ROOT, Editor

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

SEVERAL = "\n    1,\n    2,\n"


@pytest.fixture(scope="module", params=SUITES)
def knowing(
    request: pytest.FixtureRequest,
    programs: dict[str, Path | str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Editor]:
    folder = tmp_path_factory.mktemp("shapes")
    serve = str(ROOT / "tests" / "e2e" / "serve.py")
    server = [serve, json.dumps({"texts": [SEVERAL]})]
    editor = Editor(program(programs, str(request.param)), folder, server, {"settings": SETTINGS})
    try:
        editor.open("first.py", b"")
        assert editor.until(editor.ready)
        yield editor
    finally:
        editor.quit()


def between_brackets(editor: Editor) -> Path:
    """The cursor within `call()`, and ghost text."""
    path = editor.open("call.py", "é = 'ß😀'\ncal)\nprint(é)\n".encode())
    editor.type("2Gf)i")
    editor.type_text("l(")

    assert editor.wait_ghost() == SEVERAL, (editor.ghost(), editor.messages)
    return path


def test_several_lines_go_in_between_brackets(knowing: Editor) -> None:
    path = between_brackets(knowing)

    knowing.type("<Tab>")
    assert knowing.until(lambda: len(knowing.lines) > 3, 5)
    knowing.type("<C-\\><C-n>")
    knowing.command("write")

    assert path.read_bytes() == "é = 'ß😀'\ncall(\n    1,\n    2,\n)\nprint(é)\n".encode()
    assert knowing.ghost() == ""


def test_our_own_ghost_text_shows_the_result_as_it_will_be(knowing: Editor) -> None:
    between_brackets(knowing)

    if knowing.lua("return require('infill_ls.config').use_native()"):
        pytest.skip("Neovim draws: the bracket stays where it is, and the lines come below it")
    knowing.command("redraw")
    assert knowing.screen.lines[1:5] == ["call(", "    1,", "    2,", ")"]


def test_line_by_line(knowing: Editor) -> None:
    between_brackets(knowing)

    knowing.type("<M-j>")
    assert knowing.until(lambda: knowing.lines[1:3] == ["call(", "    1,)"], 5), knowing.lines
    assert knowing.until(lambda: knowing.ghost() == "\n    2,\n", 20), knowing.ghost()
    knowing.type("<Tab>")

    assert knowing.until(lambda: knowing.lines[1:5] == ["call(", "    1,", "    2,", ")"], 5)


def test_how_much_a_key_takes(knowing: Editor) -> None:
    for rest, part, taken in [
        ("a b\nc", "line", "a b"),
        ("\n    1,\n    2,\n", "line", "\n    1,"),
        ("\n\n  \n    1,\n", "line", "\n\n  \n    1,"),
        ("    1,\n", "line", "    1,"),
        ("\n  \n", "line", "\n  \n"),
        ("\n    one two", "word", "\n    one"),
        ("größe = 1", "word", "größe"),
        ("(), x", "word", "(),"),
        ("a\nb", "all", "a\nb"),
    ]:
        assert taken == knowing.lua("return require('infill_ls.text').chunk(...)", rest, part)


def test_the_command_infills_a_range_and_undo_takes_it_back(knowing: Editor) -> None:
    knowing.open("range.py", b"x = [\n    0\n]\n")

    knowing.command("2Infill")

    assert knowing.until(lambda: "    2," in knowing.lines, 20), knowing.messages
    assert knowing.lines[0] == "x = ["
    knowing.command("undo")
    assert knowing.lines == ["x = [", "    0", "]"]


def test_what_is_open_in_a_document_is_closed_and_undo_opens_it(knowing: Editor) -> None:
    knowing.open("cut.json", b'{"a": [1, {"b": "c')

    knowing.command("Infill holes")

    assert knowing.until(lambda: knowing.lines == ['{"a": [1, {"b": "c"}]}'], 20), knowing.messages
    knowing.command("undo")
    assert knowing.lines == ['{"a": [1, {"b": "c']


def test_checkhealth_finds_nothing_wrong(knowing: Editor) -> None:
    knowing.open("health.py", b"")

    knowing.command("checkhealth infill_ls")
    report = "\n".join(knowing.lines)
    knowing.command("bdelete!")

    assert "from the option cmd" in report
    assert "client 1" in report
    # The test's server is not the command itself, so it has no --version.
    assert [line for line in report.splitlines() if "ERROR" in line and "run" not in line] == []
