"""What is offered is about the text as it is after every change, or there is nothing, never about
another text."""

from collections.abc import Iterator
from typing import Any

import pytest

from infill_engine import EngineConfig
from infill_ls.completion.worker import Worker
from tests.infill_ls.engines import Knowing, last_name, loads
from tests.infill_ls.server.editor import URI, Editor, editing

HUGE = 2**32 - 1  # how some clients say "to the end"


def at(line: Any, character: Any) -> dict[str, Any]:
    return {"line": line, "character": character}


def over(start: Any, end: Any) -> dict[str, Any]:
    return {"start": start, "end": end}


WHOLE = {"text": "whole "}
ALL = over(at(0, 0), at(HUGE, 0))
# Of a document that was `alpha beta `: the changes, and its last word after them; None where the
# text cannot be known.
CHANGES: list[tuple[str, Any, str | None]] = [
    ("whole", [WHOLE], "whole"),
    ("range null", [{"range": None, "text": "whole "}], "whole"),
    ("over all of it", [{"range": ALL, "text": "whole "}], "whole"),
    ("floats", [{"range": over(at(0.0, 6.0), at(0.0, 10.0)), "text": "gama"}], "gama"),
    ("no floats", [{"range": over(at(0, 6), at(0, 10.5)), "text": "gamma"}], None),
    ("infinite", [{"range": over(at(0, 6), at(float("inf"), 0)), "text": "gamma "}], "gamma"),
    ("huge", [{"range": over(at(0, 6), at(10**30, 10**30)), "text": "gamma "}], "gamma"),
    ("negative", [{"range": over(at(-1, -5), at(0, 11)), "text": "gamma "}], "gamma"),
    ("swapped", [{"range": over(at(0, 10), at(0, 6)), "text": "gama"}], "gama"),
    ("length wrong", [{"range": ALL, "rangeLength": "x", "text": "whole "}], "whole"),
    ("no start", [{"range": {"end": at(0, 1)}, "text": "x "}], None),
    ("line a string", [{"range": over(at("0", 0), at(0, 1)), "text": "x "}], None),
    ("line true", [{"range": over(at(True, 0), at(0, 1)), "text": "x "}], None),
    ("range a list", [{"range": [0, 0], "text": "x "}], None),
    ("no text", [{"range": ALL}], None),
    ("text null", [{"text": None}], None),
    ("text a list", [{"text": ["x"]}], None),
    ("change null", [None], None),
    ("change a string", ["x"], None),
    ("no list", {"text": "x "}, None),
    ("null", None, None),
    ("none", [], "beta"),
    ("whole after what cannot be read", [{"text": 3}, WHOLE], "whole"),
    ("read after what cannot be", [{"text": 3}, {"range": ALL, "text": "x "}], None),
    ("cannot be read after whole", [WHOLE, {"range": 3, "text": "x "}], None),
]
VERSIONS = [2, None, "missing", "2", 2.0, 2**40, -1, [], True]


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    worker = Worker(loads(Knowing(last_name)))
    worker.load(EngineConfig()).result(60)
    yield worker
    assert worker.close(60)


def change(editor: Editor, changes: Any, version: Any = 2, uri: str = URI) -> None:
    document = {"uri": uri, "version": version}
    if version == "missing":
        del document["version"]
    editor.notify("textDocument/didChange", {"textDocument": document, "contentChanges": changes})


@pytest.mark.parametrize(
    ("changes", "word"), [case[1:] for case in CHANGES], ids=[case[0] for case in CHANGES]
)
async def test_a_change_is_followed_or_the_document_is_lost_until_its_text_comes(
    worker: Worker, changes: Any, word: str | None
) -> None:
    async with editing(worker) as editor:
        editor.open("alpha beta ")
        assert await editor.infills() == ["use_beta"]
        for _ in range(2):
            change(editor, changes)
        assert await editor.infills() == ([] if word is None else [f"use_{word}"])

        said = [message["message"] for message in editor.all_received("window/showMessage")]
        assert len(said) == (word is None), said
        if word is None:
            assert "a.txt" in said[0]
            change(editor, [{"range": over(at(0, 0), at(0, 0)), "text": "more "}])
            assert await editor.infills() == []  # more of a text that is not known
            change(editor, [{"text": "found "}, {"range": over(at(0, 0), at(0, 0)), "text": "x "}])
            assert await editor.infills() == ["use_found"]
            change(editor, changes)
            editor.open("again ")
            assert await editor.infills() == ["use_again"]


@pytest.mark.parametrize("version", VERSIONS, ids=str)
async def test_a_client_may_count_versions_as_it_likes(worker: Worker, version: Any) -> None:
    async with editing(worker) as editor:
        editor.open("alpha ")
        change(editor, [WHOLE], version)

        assert await editor.infills() == ["use_whole"]
        assert editor.all_received("window/showMessage") == []


@pytest.mark.parametrize("version", [*VERSIONS, 3.5, {}], ids=str)
@pytest.mark.parametrize("language", ["python", None, "missing", "", 3, []], ids=str)
async def test_a_document_is_opened_without_version_or_language(
    worker: Worker, version: Any, language: Any
) -> None:
    item = {"uri": "file:///project/a.py", "languageId": language, "version": version}
    item = {name: value for name, value in item.items() if value != "missing"}
    async with editing(worker) as editor:
        editor.notify("textDocument/didOpen", {"textDocument": {**item, "text": "alpha = beta\n"}})
        snapshot = editor.session.snapshot("file:///project/a.py")
        assert snapshot is not None
        assert snapshot.document.language_id == "python"
        assert await editor.infills("file:///project/a.py", 0, 12) != []


@pytest.mark.parametrize("text", [None, 3, [], {}, "missing"], ids=str)
async def test_a_document_without_a_text_is_lost_until_it_comes(worker: Worker, text: Any) -> None:
    item = {"uri": URI, "languageId": "none", "version": 1, "text": text}
    if text == "missing":
        del item["text"]
    async with editing(worker) as editor:
        editor.open("alpha ")
        editor.notify("textDocument/didOpen", {"textDocument": item})
        assert await editor.infills() == []
        assert len(editor.all_received("window/showMessage")) == 1
        change(editor, [WHOLE])
        assert await editor.infills() == ["use_whole"]


async def test_a_change_to_what_was_never_opened_opens_nothing(worker: Worker) -> None:
    async with editing(worker) as editor:
        for changes in ([WHOLE], None, [{"text": 3}], [WHOLE]):
            change(editor, changes)

        assert await editor.infills() == []
        assert editor.all_received("window/showMessage") == []


async def test_a_version_that_a_request_names_is_another_texts_or_this_ones(
    worker: Worker,
) -> None:
    async with editing(worker) as editor:
        editor.open("alpha ", version=2**40)
        for version, expected in (
            (2**40, 1),
            (2**40 + 1, 0),
            (None, 1),
            ("x", 1),
            (float(2**40), 1),
        ):
            params = {
                "textDocument": {"uri": URI, "version": version},
                "position": at(0, 6),
            }
            result = (await editor.ask("textDocument/inlineCompletion", params))["result"]
            assert len(result["items"]) == expected


async def test_an_edit_names_the_version_that_the_client_counts_however_large(
    worker: Worker,
) -> None:
    editor = Editor(worker)
    await editor.initialize(
        capabilities={"workspace": {"workspaceEdit": {"documentChanges": True}}}
    )
    editor.open("alpha ", version=2**40)
    argument = {"uri": URI, "position": at(0, 6)}
    answer = await editor.ask(
        "workspace/executeCommand", {"command": "infill.infillAtCursor", "arguments": [argument]}
    )

    assert answer["result"] == {"applied": True}
    (asked,) = editor.all_received("workspace/applyEdit")
    assert asked["edit"]["documentChanges"][0]["textDocument"] == {"uri": URI, "version": 2**40}
    editor.session.close()
