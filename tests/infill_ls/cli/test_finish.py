"""`infill-ls json` and `infill-ls infill --holes`: what they print, write and refuse."""

import json
from pathlib import Path
from typing import Any

import pytest

from infill_ls.cli.errors import FILE, NOTHING, USAGE
from tests.infill_ls.engines import Knowing, always, loads, unloadable

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "port": {"type": "integer", "minimum": 1024}},
    "required": ["name", "port"],
}


@pytest.fixture
def schema(tmp_path: Path) -> Path:
    path = tmp_path / "schema.json"
    path.write_text(json.dumps(SCHEMA))
    return path


def written(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def test_the_finished_document_is_printed(run: Any, tmp_path: Path, schema: Path) -> None:
    path = written(tmp_path / "a.json", '{\n  "name": "x')
    done = run("json", "--schema", schema, path, load=loads(Knowing(always("8080"))))

    assert (done.code, done.err) == (0, "")
    assert done.out == '{\n  "name": "x8080",\n  "port": 8080\n}\n'
    assert path.read_text() == '{\n  "name": "x'


def test_as_one_object(run: Any, tmp_path: Path, schema: Path) -> None:
    path = written(tmp_path / "a.json", "")
    done = run("json", "--json", "--schema", schema, path, load=loads(Knowing(always("80"))))

    assert json.loads(done.json["text"]) == {"name": "80", "port": 1024}
    assert (done.json["slots"], done.json["proposed"], done.json["repaired"]) == (2, 1, 0)
    assert done.json["model"] == "test"


def test_written_on_request_with_what_is_at_the_beginning_of_the_file(
    run: Any, tmp_path: Path
) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b'\xef\xbb\xbf{"a": [1')
    done = run("json", "--apply", path)

    assert (done.code, done.out) == (0, "")
    assert path.read_bytes() == b'\xef\xbb\xbf{"a": [1]}'


def test_where_nothing_is_open_no_model_is_loaded(run: Any, tmp_path: Path, schema: Path) -> None:
    path = written(tmp_path / "a.json", '{"name": "x", "port": 2000')
    done = run("json", "--schema", schema, path, load=unloadable)

    assert (done.code, done.out) == (0, '{"name": "x", "port": 2000}\n')


@pytest.mark.parametrize(
    ("of_schema", "document", "code", "says"),
    [
        ('{"type": "strin"}', "", USAGE, "schema.json: The schema is not valid at #/type"),
        ("9" * 5000, "", USAGE, "schema.json has a number with too many digits"),
        ('{"type":', "", USAGE, "schema.json is no JSON: Line 1, column 9"),
        (json.dumps(SCHEMA), '{"port": 80}', USAGE, "a.json: Line 1, column 10: 80 is less than"),
        (json.dumps(SCHEMA), "\xff", FILE, "a.json is not UTF-8"),
        (None, "", FILE, "There is no file"),
        (json.dumps(SCHEMA), None, FILE, "There is no file"),
    ],
)
def test_what_cannot_be_is_a_sentence_with_the_place(
    run: Any, tmp_path: Path, of_schema: str | None, document: str | None, code: int, says: str
) -> None:
    schema, path = tmp_path / "schema.json", tmp_path / "a.json"
    if of_schema is not None:
        schema.write_text(of_schema)
    if document is not None:
        path.write_bytes(document.encode("latin-1"))
    done = run("json", "--schema", schema, path, load=unloadable)

    assert (done.code, done.out) == (code, "")
    assert says in done.err
    assert done.err.count("\n") == 1


def test_all_holes_of_a_file(run: Any, tmp_path: Path) -> None:
    path = written(tmp_path / "a.py", "def f(___):\n    return ___\n")
    done = run("infill", "--holes", path, load=loads(Knowing(always("x"))))
    applied = run("infill", "--holes", path, "--apply", load=loads(Knowing(always("x"))))

    assert (done.code, done.err, done.out) == (0, "", "def f(x):\n    return x\n")
    assert (applied.code, applied.out) == (0, "")
    assert applied.err == f"wrote {path}: 2 of 2 holes filled\n"
    assert path.read_text() == "def f(x):\n    return x\n"


def test_holes_as_one_object_and_those_that_are_left(run: Any, tmp_path: Path) -> None:
    path = written(tmp_path / "a.py", "x = 1 + ___\ny = (___\n")
    done = run("infill", "--holes", path, "--json", load=loads(Knowing(always("2"))))

    assert done.json["replacements"][0] == {
        "range": {"start": {"line": 1, "column": 9}, "end": {"line": 1, "column": 12}},
        "text": "2",
    }
    assert done.json["holes"] == 2


def test_a_hole_that_is_left_is_no_success(run: Any, tmp_path: Path) -> None:
    path = written(tmp_path / "a.py", "x = ___\nprint(___)\n")
    done = run("infill", "--holes", path, "--apply", load=loads(Knowing(always("_____"))))

    assert done.code == NOTHING
    assert "Of 2 holes in" in done.err
    assert "2 could not be filled" in done.err
    assert path.read_text() == "x = ___\nprint(___)\n"


def test_a_template_of_yaml(run: Any, tmp_path: Path) -> None:
    path = written(tmp_path / "a.yaml", "port:\nhost: ___\nlist: [1, ")
    done = run("infill", "--holes", path, load=loads(Knowing(always("80"))))

    assert done.out == "port: 80\nhost: 80\nlist: [1,]\n"


@pytest.mark.parametrize(
    ("name", "text", "code", "says"),
    [
        ("a.py", "x = 1\n", NOTHING, "There is no hole in"),
        ("a.toml", "x = 1\n", NOTHING, "There is nothing to fill"),
        ("a.toml", "x = y\n", USAGE, "Line 1, column 5"),
        ("a.py", None, FILE, "There is no file"),
    ],
)
def test_where_there_is_nothing_to_fill(
    run: Any, tmp_path: Path, name: str, text: str | None, code: int, says: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    done = run("infill", "--holes", tmp_path / name)

    assert done.code == code
    assert says in done.err


def test_a_place_or_all_holes_but_not_both(run: Any, source: Path) -> None:
    for arguments in ((), (f"{source}:2:12", "--holes", source)):
        done = run("infill", *arguments)

        assert done.code == USAGE
        assert "--holes FILE" in done.err
