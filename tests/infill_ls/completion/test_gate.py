"""What is shown though nobody asked: rather nothing than something that interrupts."""

import math

import pytest

from infill_ls.completion.context import context_at
from infill_ls.completion.gate import SHORT_SCORE, least_score, opens
from infill_ls.completion.pipeline import Infilled, InfillOptions, Trees, infill_at
from infill_ls.documents import Document
from tests.infill_ls.scripted import Engine, Several

UNASKED, ASKED = InfillOptions(min_confidence=0.2), InfillOptions()


def least(source: str, text: str, language_id: str = "python", elsewhere: str = "") -> float:
    before, after = source.split("‸")
    document = Document(uri="file:///a", version=1, language_id=language_id, text=before + after)
    return least_score(text, context_at(document, len(before)), elsewhere, 0.2)


@pytest.mark.parametrize(
    ("source", "text", "language_id", "score"),
    [
        ("x = ‸\n", "name", "python", 0.2),
        ("x = na‸\n", "me", "python", SHORT_SCORE),  # hardly worth a key
        ("x = f(1‸\n", ")", "python", SHORT_SCORE),
        ("x = na‸\n", "me(1)", "python", 0.2),
        ("x = na‸\n", "mesake", "python", 0.2),
        ("# what it ‸\n", "does", "python", math.inf),
        ("# what it does\n\n# what it ‸\n", "does", "python", 0.2),
        ('x = "‸"\n', "name", "python", math.inf),
        ('x = d["a name"]\ny = d["a ‸"]\n', "name", "python", 0.2),
        ('def f():\n    """Does ‸\n    """\n', "it.", "python", math.inf),
        ('x = f"{‸}"\n', "name", "python", 0.2),
        ("let x = `a ${‸}`;\n", "name", "javascript", 0.2),
        ("/* what ‸ */\n", "it does", "javascript", math.inf),
        ("cat <<EOF\nHello ‸\nEOF\n", "you", "shellscript", math.inf),
        ("<?php\n$x = <<<EOT\nThank ‸\nEOT;\n", "you", "php", math.inf),
        ("x = <<~T\n  thank ‸\n  T\n", "you", "ruby", math.inf),
        ("print <<EOT;\nthank ‸\nEOT\n", "you", "perl", math.inf),
        ("cat <<EOF\na\nEOF\necho ‸\n", "done", "shellscript", 0.2),
        ("{ // thank ‸\n}\n", "you", "jsonc", math.inf),
        ("a: 'thank ‸'\n", "you", "yaml", math.inf),
        ('- ["thank ‸", b]\n', "you", "yaml", math.inf),
        ("a: don't\nb: ‸\n", "name", "yaml", 0.2),
        ("a: 'tis\nb: ‸\n", "name", "yaml", 0.2),
        ("--[==[ a ]]\n b ‸\n]==]\n", "name", "lua", math.inf),
        ("--[==[ a ]]\n]==]\nb = ‸\n", "name", "lua", 0.2),
        ("// a \\\n b ‸\nint x;\n", "name", "c", math.inf),
        ("// a \n int b = ‸\n", "name", "c", 0.2),
    ],
)
def test_in_comments_and_strings_and_where_it_is_short_it_has_to_be_surer(
    source: str, text: str, language_id: str, score: float
) -> None:
    assert least(source, text, language_id) == score


def test_a_string_goes_on_as_it_does_in_another_file() -> None:
    assert least('x = d["a ‸"]\n', "name", elsewhere='y = d["a name"]\n') == 0.2


@pytest.mark.parametrize(
    ("source", "elsewhere", "expected"),
    [
        ("x = ‸\n", "", True),
        ("# what it ‸\n", "", False),
        ("# what it does\n# what it ‸\n", "", True),
        ("# what it ‸\n# what it does\n", "", True),
        ('x = d["a ‸"]\n', 'y = d["a name"]\n', True),
        ('x = d["a ‸"]\n', 'y = d["the name"]\n', False),
        ('"""\n‸\n"""\n', "", True),  # a line of the file may stand there again
    ],
)
def test_where_nothing_could_be_shown_the_model_is_not_asked(
    source: str, elsewhere: str, expected: bool
) -> None:
    before, after = source.split("‸")
    document = Document(uri="file:///a", version=1, language_id="python", text=before + after)
    engine = Several("name")
    options = InfillOptions(min_confidence=0.2, elsewhere=elsewhere)
    found = infill_at(engine, document, len(before), options, trees=Trees())

    assert opens(context_at(document, len(before)), elsewhere) == found.asked == expected
    assert bool(engine.requests) == expected
    assert infill_at(engine, document, len(before), ASKED, trees=Trees()).asked


def infilled(engine: Engine, source: str, options: InfillOptions) -> Infilled:
    before, after = source.split("‸")
    document = Document(uri="file:///a", version=1, language_id="python", text=before + after)
    return infill_at(engine, document, len(before), options, trees=Trees())


def test_what_was_asked_for_is_shown_in_a_comment_too() -> None:
    source = "# what it ‸\n"

    asked = infilled(Several("does"), source, ASKED)
    assert [each.text for each in asked.candidates] == ["does"]
    found = infilled(Several("does"), source, UNASKED)
    assert found.candidates == ()
    assert found.rejected == "in a comment or string only the file's own text is gone on with"
