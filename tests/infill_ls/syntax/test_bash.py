"""What Bash refuses though its grammar takes it, compared with Bash itself where that is there."""

import random
import re
import shutil
import subprocess

import pytest

from infill_ls.syntax.check import check
from infill_ls.syntax.trees import Trees
from tests.infill_ls.syntax.sources import SOURCES, document, marked

LOOP = 'for a in "$@"; do\n  ‸\n  echo "$a"\ndone\n'
REFUSED = [
    *(("‸\n", text) for text in ("fi", "done", "esac", "then echo a", "do echo a", "}", "else")),
    *(
        (LOOP, text)
        for text in ("fi", "esac", "elif a; then", "a; then", "b; done; done", "x ;;", "in")
    ),
    *((LOOP, text) for text in ("if a; then fi", "while a; do done", "f() { }", "b && fi", "! do")),
    *((LOOP, text) for text in ("if a; then b; else fi", "a >\n", "a <\n", "{ }", "cat <<EOF\nx")),
    ("if a; then\n  b\n‸\nelse\n  c\nfi\n", "fi"),
    ("if a; then\n  ‸\nfi\n", "if b; then\n    c\n  fi; fi"),
    ("case $a in\n  b) ‸ ;;\nesac\n", "c; then"),
    ("a‸\n", "; done"),
    ("f() {\n‸\n", "}"),
    ("f() {\n  ‸\n}\n", "cat <<EOF\nx\n  EOF"),
    ("f() {\n  ‸\n}\n", "cat <<-EOF\nx\n  EOF"),
    *((LOOP, text) for text in ("} else if {", "! { a; ")),
]
TAKEN = [
    *(("‸\n", text) for text in ("echo fi", "fi=1", "a=b fi", "a fi done", "{ a; }", "( a )")),
    *(
        (LOOP, text)
        for text in ("if a; then b; fi", "while a; do b; done", "f() { :; }", "cat <<<x")
    ),
    *(
        (LOOP, text)
        for text in ("cat <<EOF\nx\nEOF", "cat <<-'EOF'\nx\n\tEOF", "a > b 2>&1", "a >\\\n b")
    ),
    *((LOOP, text) for text in ("case $a in b) c ;; esac", "time a", "! a", "a && { b; }")),
    *((LOOP, text) for text in ("if a; then # b\n    c\n  fi", "until a; do b; done >c", "a=()")),
    *((LOOP, text) for text in ("if ! { a && b; }; then c; fi", "! { a; }", "time { a; b; }")),
    ("if a; then\n  b\n‸\nelse\n  c\nfi\n", "  c"),
    ("if a; then\n  b\n‸\n", "fi"),
    ("a=1\nb=2\n‸\n", "for c in $a; do echo $c; done"),
    ("case $a in\n  b) ‸ ;;\nesac\n", "c"),
    ("# ‸\n", "fi"),
    ('echo "‸"\n', "fi; done"),
    ("cat <<EOF\n‸\nEOF\n", "fi"),
]


def valid(source: str, text: str) -> bool:
    point = Trees().point(*marked(source, "shellscript"))
    assert point is not None
    return check(point, text).valid


def bash_takes(source: str) -> bool:
    said = subprocess.run(["bash", "-n"], input=source.encode(), capture_output=True, check=False)
    return said.returncode == 0 and b"here-document" not in said.stderr


@pytest.mark.parametrize(("source", "text"), REFUSED)
def test_what_bash_refuses(source: str, text: str) -> None:
    assert not valid(source, text)


@pytest.mark.parametrize(("source", "text"), TAKEN)
def test_what_bash_takes(source: str, text: str) -> None:
    assert valid(source, text)


def test_the_span_to_blame_is_the_word() -> None:
    point = Trees().point(*marked("a\n‸\nb\n", "shellscript"))
    assert point is not None
    text = "echo é\ndone"

    assert [text[slice(*span)] for span in check(point, text).spans] == ["done"]


@pytest.mark.skipif(not shutil.which("bash"), reason="Bash itself is the judge")
def test_bash_says_the_same_of_the_tables() -> None:
    for cases, expected in ((REFUSED, False), (TAKEN, True)):
        for source, text in cases:
            assert bash_takes(source.replace("‸", text)) == expected, (source, text)


@pytest.mark.skipif(not shutil.which("bash"), reason="Bash itself is the judge")
def test_bash_takes_what_is_valid_of_random_lines() -> None:
    """Words of shell syntax in any order, where a command may stand."""
    rng = random.Random(7)
    source = SOURCES["shellscript"]
    starts = [match.end() for match in re.finditer(r"\n(?=[^\s#}])", source)]
    said = ("fi", "done", "then", "do", "else", "a", "b", ";", "\n", "if", "while", "{", "}", ">")
    num_valid = 0
    for _ in range(150):
        text = " ".join(rng.choices(said, k=rng.randrange(1, 8))) + "\n"
        at = rng.choice(starts)
        point = Trees().point(document(source, "shellscript"), at)
        assert point is not None
        if check(point, text).valid:
            num_valid += 1
            assert bash_takes(source[:at] + text + source[at:]), text
    assert num_valid > 5
