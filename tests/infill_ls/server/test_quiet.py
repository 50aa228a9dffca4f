"""Modes, snoozing, taking a part, counting and explaining, through the protocol."""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from infill_engine import EngineConfig, EngineInfo
from infill_ls.completion.worker import Worker
from tests.infill_ls.engines import Knowing, always, loads
from tests.infill_ls.server.editor import INFILL, URI, Editor, editing

TEXT = "one two\nthree"
AUTOMATIC, INVOKED = 2, 1
EXECUTE = "workspace/executeCommand"


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker(loads(Knowing(always(TEXT))))
    worker.load(EngineConfig()).result(60)
    yield worker
    assert worker.close(60)


async def asked(editor: Editor, kind: int = AUTOMATIC, character: int = 6) -> list[dict[str, Any]]:
    params = {
        "textDocument": {"uri": URI},
        "position": {"line": 0, "character": character},
        "context": {"triggerKind": kind},
    }
    items: list[dict[str, Any]] = (await editor.ask(INFILL, params))["result"]["items"]
    return items


async def told(editor: Editor, command: str, **argument: Any) -> Any:
    given = {"command": f"infill.{command}", "arguments": [argument] if argument else []}
    return (await editor.ask(EXECUTE, given))["result"]


def here(character: int = 6) -> dict[str, Any]:
    return {"uri": URI, "position": {"line": 0, "character": character}}


def configured(editor: Editor, **settings: Any) -> None:
    editor.notify("workspace/didChangeConfiguration", {"settings": {"infill": settings}})


async def why(editor: Editor, **how: Any) -> str:
    reason: str = (await told(editor, "explain", **here(), **how))["explanation"]["why_not"]
    return reason


@pytest.mark.parametrize(
    ("settings", "reason", "shown_when_asked"),
    [
        ({"trigger": "onDemand"}, "on demand only", True),
        ({"trigger": "off"}, "off for this language or these files", False),
        ({"modes": ["none: onDemand"]}, "on demand only", True),
        ({"modes": ["/a.*: off"]}, "off for this language or these files", False),
        ({"trigger": "subtle"}, "held back until a key asks for it", True),
        ({"enable": False}, "off", False),
        (
            {"disabledLanguages": ["none"]},
            "language none is off (take it out of the setting disabledLanguages)",
            False,
        ),
        ({"disabledFiles": ["a.txt"], "trigger": "off"}, "ignored by disabledFiles: a.txt", False),
        ({"disabledFiles": ["a.txt"]}, "ignored by disabledFiles: a.txt", False),
    ],
)
async def test_a_mode_keeps_quiet_and_is_the_reason(
    worker: Worker, settings: dict[str, Any], reason: str, shown_when_asked: bool
) -> None:
    folders = [{"uri": "file:///project", "name": "project"}]
    editor = Editor(worker)
    await editor.initialize(workspaceFolders=folders)
    editor.open("alpha ")
    configured(editor, **settings)

    assert await asked(editor) == []
    assert await why(editor) == reason
    assert bool(await asked(editor, INVOKED)) == shown_when_asked
    assert (await why(editor, invoked=True) == "") == shown_when_asked
    editor.session.close()
    await editor.session.ended()


async def test_a_language_that_nobody_knows_is_told(worker: Worker) -> None:
    async with editing(worker) as editor:
        modes = ["vendor: off", "Python: subtle", "plaintext: off", "docker: off", "src/: off"]
        configured(editor, modes=modes)
        await asked(editor)

        [told_once] = editor.all_received("window/showMessage")
        assert told_once["message"].endswith('If it is a folder, write "vendor/".')


async def test_line_ends_only(worker: Worker) -> None:
    async with editing(worker) as editor:
        editor.open("alpha beta")
        configured(editor, trigger="eol-only")

        assert await asked(editor) == []
        assert await why(editor) == "not at the line's end"
        assert await asked(editor, character=10)


async def test_subtle_shows_what_is_ready_on_a_key(worker: Worker) -> None:
    plugin = {"editorPluginInfo": {"name": "a"}, "trigger": "subtle"}
    editor = Editor(worker)
    await editor.initialize(initializationOptions=plugin)
    editor.open("alpha ")

    assert await asked(editor) == []
    assert editor.all_received("didChangeStatus")[-1]["message"] == "a suggestion is ready"
    assert [item["insertText"] for item in await asked(editor, INVOKED)] == [TEXT]
    assert "reused" in editor.all_received("window/logMessage")[-1]["message"]
    assert editor.all_received("didChangeStatus")[-1]["message"] == ""
    editor.session.close()
    await editor.session.ended()


async def test_snoozing_keeps_quiet_until_it_ends(worker: Worker) -> None:
    async with editing(worker) as editor:
        editor.open("alpha ")
        said = await told(editor, "snooze", minutes=5)

        assert said["snoozed"].startswith("snoozed until ")
        assert await asked(editor) == []
        assert await why(editor) == said["snoozed"]
        assert await asked(editor, INVOKED)
        assert await told(editor, "snooze", minutes=0) == {"snoozed": ""}
        assert await asked(editor)


@pytest.mark.parametrize(
    ("minutes", "said"), [(1.5, ""), ("x", "a string"), (True, "true or false")]
)
async def test_what_is_no_number_of_minutes_is_said(
    worker: Worker, minutes: object, said: str
) -> None:
    async with editing(worker) as editor:
        given = {"command": "infill.snooze", "arguments": [{"minutes": minutes}]}
        error = (await editor.ask(EXECUTE, given))["error"]

        assert f"minutes is {said}" in error["message"]
        assert "but must be a whole number" in error["message"]
        assert not editor.session.snoozed


async def test_a_long_snooze_says_the_day(worker: Worker) -> None:
    async with editing(worker) as editor:
        said = await told(editor, "snooze", minutes=10**9)

        assert re.fullmatch(r"snoozed until \d{4}-\d\d-\d\d \d\d:\d\d", said["snoozed"])


def applied(editor: Editor, number: int) -> str:
    """The text of the last edit, of so many."""
    edits = editor.all_received("workspace/applyEdit")
    assert len(edits) == number
    changes = edits[-1]["edit"]["changes"][URI]
    return str(changes[0]["newText"])


async def test_words_and_lines_are_taken_by_command(worker: Worker) -> None:
    async with editing(worker) as editor:
        editor.open("alpha ")
        text, taken = "alpha ", []
        for number, (unit, count) in enumerate([("word", 1), ("line", 1), ("line", 2)], 1):
            result = await told(editor, "accept", **here(len(text)), unit=unit, count=count)
            assert result == {"applied": True}
            taken.append(applied(editor, number))
            text += taken[-1]
            change = {"text": text}
            params = {"textDocument": {"uri": URI, "version": number + 1}}
            editor.notify("textDocument/didChange", {**params, "contentChanges": [change]})
            if "\n" in text:
                break

        assert taken == ["one", " two", "\nthree"]
        stats = await told(editor, "stats")
        assert stats["languages"]["none"]["characters"] >= len(TEXT)


async def test_what_is_on_the_screen_is_explained_first(worker: Worker) -> None:
    async with editing(worker) as editor:
        editor.open("alpha ")
        await asked(editor)
        change = {"text": "alpha one"}
        params = {"textDocument": {"uri": URI, "version": 2}, "contentChanges": [change]}
        editor.notify("textDocument/didChange", params)
        page = await told(editor, "explain", **here(9))
        elsewhere = await told(editor, "explain", **here(2))

        assert page["explanation"]["on_screen"] == {
            "text": " two\nthree", "typed": "one", "line": 1, "column": 7, "asked": "typing",
        }  # fmt: skip
        assert page["explanation"]["shown"] == [TEXT]  # the models say the same everywhere
        assert "left of the answer at 1:7 (while typing): 'one' of it" in page["markdown"]
        assert elsewhere["explanation"]["on_screen"] is None


async def test_what_is_no_part_is_refused(worker: Worker) -> None:
    async with editing(worker) as editor:
        editor.open("alpha ")
        given = {"command": "infill.accept", "arguments": [{**here(), "unit": "paragraph"}]}
        error = (await editor.ask(EXECUTE, given))["error"]

        assert error["code"] == -32602
        assert "none of word, line, all" in error["message"]


async def test_nothing_is_counted_where_nothing_is_to_be_learnt(worker: Worker) -> None:
    editor = Editor(worker)
    await editor.initialize(initializationOptions={"learn": False})
    editor.open("alpha ")
    await asked(editor)

    assert (await told(editor, "stats"))["file"] is None
    editor.session.close()
    await editor.session.ended()


async def test_clients_without_a_plugin_are_told_in_a_sentence(worker: Worker) -> None:
    async with editing(worker) as editor:
        editor.open("alpha ")
        page = await told(editor, "explain", **here())

        assert page["markdown"].startswith("# Why at `/project/a.txt:1:7`")
        shown = editor.all_received("window/showMessage")
        assert [message["message"] for message in shown] == ["infill: This is shown while typing."]


async def dismissed_twice(editor: Editor) -> None:
    for _ in range(2):
        [item] = await asked(editor)
        await editor.ask(EXECUTE, {**item["command"], "command": "infill.dismissed"})


async def test_a_text_that_was_dismissed_twice_says_so(worker: Worker) -> None:
    plugin = {"editorPluginInfo": {"name": "a"}}
    editor = Editor(worker)
    await editor.initialize(initializationOptions=plugin)
    editor.open("alpha ")
    await dismissed_twice(editor)

    assert await asked(editor) == []
    assert await why(editor) == "it was dismissed twice here"
    editor.session.close()
    await editor.session.ended()


async def test_what_was_learned_is_forgotten_by_command(worker: Worker) -> None:
    plugin = {"editorPluginInfo": {"name": "a"}, "learn": False}
    editor = Editor(worker)
    await editor.initialize(initializationOptions=plugin)
    editor.open("alpha ")
    await dismissed_twice(editor)
    assert (await told(editor, "stats"))["all"]["dismissed"] == 2
    assert (await told(editor, "resetLearned"))["all"]["dismissed"] == 0

    assert await asked(editor)
    assert editor.all_received("window/showMessage")[-1]["message"].endswith("is forgotten.")
    editor.session.close()
    await editor.session.ended()


class Measured(Knowing):
    """Says how probable its texts are, so less than all of them is shown."""

    def describe(self) -> EngineInfo:
        return replace(super().describe(), show_threshold=0.5)


async def test_what_was_learned_of_the_user_is_explained() -> None:
    worker = Worker(loads(Measured(always(TEXT))))
    worker.load(EngineConfig()).result(60)
    editor = Editor(worker)
    await editor.initialize(initializationOptions={"learn": False})
    editor.open("alpha ")
    assert "You dismissed" not in (await told(editor, "explain", **here()))["markdown"]
    for _ in range(60):
        editor.session.acceptance.dismissed("none", 0.9)
    page = (await told(editor, "explain", **here()))["markdown"]

    assert "You dismissed more of what was shown in none" in page
    assert "from 99 %, not 70 %" in page
    editor.session.close()
    await editor.session.ended()
    assert worker.close(60)
