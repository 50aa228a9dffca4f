"""Infilling on demand, and the completion menu for clients without inline completion, as bytes."""

from typing import Any

import pytest

from tests.e2e.wire import INFILL, URI, Wire, infill_at, running, types

pytestmark = pytest.mark.e2e
EXECUTE, ACTION, MENU = (
    "workspace/executeCommand",
    "textDocument/codeAction",
    "textDocument/completion",
)
VERSIONED = {"workspace": {"applyEdit": True, "workspaceEdit": {"documentChanges": True}}}
INLINE = {"textDocument": {"inlineCompletion": {}}}


def at(line: int, character: int, to: tuple[int, int] | None = None) -> dict[str, Any]:
    end = to or (line, character)
    return {
        "start": {"line": line, "character": character},
        "end": {"line": end[0], "character": end[1]},
    }


def command(name: str, **about: Any) -> dict[str, Any]:
    return {"command": f"infill.{name}", "arguments": [{"uri": URI, **about}]}


async def edit_of(client: Wire) -> dict[str, Any]:
    message = await client.notification("workspace/applyEdit")
    edit: dict[str, Any] = message["params"]["edit"]
    return edit


async def test_a_selection_is_infilled_by_an_edit_of_the_version_that_was_read() -> None:
    async with running({"texts": ["return a + b"]}) as (_, client):
        result = await client.initialize(capabilities=VERSIONED)
        await client.ready()
        client.open("def add(a, b):\r\n    pass\r\n\r\nadd(1, 2)\r\n")

        selected = command("infillSelection", version=1, range=at(1, 0, (2, 0)))
        client.send(client.asks("q", EXECUTE, selected))

        commands = result["capabilities"]["executeCommandProvider"]["commands"]
        assert {"infill.infillSelection", "infill.infillAtCursor"} <= set(commands)
        assert await edit_of(client) == {
            "documentChanges": [
                {
                    "textDocument": {"uri": URI, "version": 1},
                    # Whole lines were selected: the indentation and the line end stay.
                    "edits": [{"range": at(1, 4, (1, 8)), "newText": "return a + b"}],
                }
            ]
        }
        await client.answer("q")


async def test_at_the_cursor_nothing_is_replaced_and_line_ends_are_the_files() -> None:
    async with running({"texts": ["1,\n    2,\n"]}) as (_, client):
        await client.initialize()
        await client.ready()
        client.open("f(\r\n    \r\n)\r\n")

        here = command("infillAtCursor", position={"line": 1, "character": 4})
        client.send(client.asks("q", EXECUTE, here))

        edit = await edit_of(client)
        assert list(edit) == ["changes"]  # to a client that takes no versions
        assert edit["changes"][URI][0]["range"] == at(1, 4)
        assert edit["changes"][URI][0]["newText"].startswith("1,\r\n    2,")
        await client.answer("q")


async def test_a_text_that_changed_is_left_as_it_is() -> None:
    async with running({"texts": ["x"]}) as (_, client):
        await client.initialize(capabilities=VERSIONED)
        await client.ready()
        client.open("a = \n")
        client.send(types("b", 0, 4, version=2))

        result = await client.request(
            EXECUTE, command("infillAtCursor", version=1, position={"line": 0, "character": 4})
        )

        assert result == {"applied": False}
        assert "changed" in (await client.notification("window/showMessage"))["params"]["message"]
        assert client.all_heard("workspace/applyEdit") == []


async def test_a_text_that_changes_meanwhile_is_left_as_it_is() -> None:
    async with running({"texts": ["x"], "steps": 20, "seconds": 0.1}) as (_, client):
        await client.initialize(capabilities=VERSIONED)
        await client.ready()
        client.open("a = \n")

        here = command("infillAtCursor", version=1, position={"line": 0, "character": 4})
        client.send(client.asks("q", EXECUTE, here))
        client.send(types("b", 0, 0, version=2))

        assert (await client.answer("q"))["result"] == {"applied": False}
        assert client.all_heard("workspace/applyEdit") == []


@pytest.mark.parametrize("arguments", [[], [3], [{}], [{"uri": URI}], [{"uri": URI, "range": 1}]])
async def test_arguments_that_are_none_are_refused(arguments: list[Any]) -> None:
    async with running({"texts": ["x"]}) as (_, client):
        await client.initialize()

        client.send(
            client.asks("q", EXECUTE, {"command": "infill.infillAtCursor", "arguments": arguments})
        )

        assert (await client.answer("q"))["error"]["code"] == -32602


async def test_code_actions_come_when_asked_for_and_lead_to_the_commands() -> None:
    literals: dict[str, Any] = {
        "textDocument": {
            "codeAction": {"codeActionLiteralSupport": {"codeActionKind": {"valueSet": []}}}
        }
    }
    async with running({"texts": ["x"]}) as (_, client):
        await client.initialize(capabilities=literals)
        client.open("a = b\n")

        async def actions(**more: Any) -> list[tuple[str, str]]:
            given = {"context": {"diagnostics": [], **more.pop("context", {})}, **more}
            found = await client.request(ACTION, {"textDocument": {"uri": URI}, **given})
            return [(each["kind"], each["command"]["command"]) for each in found]

        selection = [("refactor.rewrite", "infill.infillSelection")]
        assert await actions(range=at(0, 4, (0, 5))) == selection
        assert await actions(range=at(0, 4)) == [("refactor.rewrite", "infill.infillAtCursor")]
        assert await actions(range=at(0, 4, (0, 5)), context={"only": ["refactor"]}) == selection
        assert await actions(range=at(0, 4), context={"only": ["quickfix"]}) == []
        assert await actions(range=at(0, 4), context={"triggerKind": 2}) == []


async def test_all_holes_are_filled_by_one_edit() -> None:
    async with running({"texts": ["x"]}) as (_, client):
        await client.initialize(capabilities=VERSIONED)
        await client.ready()
        client.open("def f(___):\r\n    return ___\r\n", language="python")
        asked = {"textDocument": {"uri": URI}, "context": {"diagnostics": []}}
        actions = await client.request(ACTION, {**asked, "range": at(0, 0)})

        client.send(client.asks("q", EXECUTE, command("infillHoles", version=1)))

        assert actions[-1]["title"] == "Infill all 2 holes"
        assert actions[-1]["command"] == "infill.infillHoles"
        (change,) = (await edit_of(client))["documentChanges"]
        assert change["textDocument"] == {"uri": URI, "version": 1}
        assert change["edits"] == [
            {"range": at(0, 6, (0, 9)), "newText": "x"},
            {"range": at(1, 11, (1, 14)), "newText": "x"},
        ]
        assert (await client.answer("q"))["result"] == {"applied": True}


async def test_what_is_missing_in_a_template_is_filled_and_what_cannot_be_is_said() -> None:
    async with running({"texts": ["80"]}) as (_, client):
        await client.initialize()
        await client.ready()
        client.open('{"a": , "b": [1', language="json")
        result = await client.request(EXECUTE, command("infillHoles"))
        edit = await edit_of(client)

        assert result == {"applied": True}
        assert edit["changes"][URI] == [{"range": at(0, 6, (0, 15)), "newText": '80, "b": [1]}'}]
        client.open("{'a'", uri="file:///project/b.json", language="json")
        broken = {"command": "infill.infillHoles", "arguments": [{"uri": "file:///project/b.json"}]}
        assert await client.request(EXECUTE, broken) == {"applied": False}
        told = await client.notification("window/showMessage")
        assert "Line 1, column 2" in told["params"]["message"]


async def test_selections_are_holes_as_well() -> None:
    async with running({"texts": ["x"]}) as (_, client):
        await client.initialize()
        await client.ready()
        client.open("f(a, b)\n", language="python")
        ranges = [at(0, 2, (0, 3)), at(0, 5, (0, 6))]
        await client.request(EXECUTE, command("infillHoles", ranges=ranges))

        edits = (await edit_of(client))["changes"][URI]
        assert edits == [{"range": each, "newText": "x"} for each in ranges]


async def test_acceptance_is_reported_by_those_who_report() -> None:
    async with running({"texts": ["one two"]}) as (_, client):
        await client.initialize(initializationOptions={"editorPluginInfo": {"name": "a"}})
        await client.ready()
        client.open("a = ")
        [item] = (await client.request(INFILL, infill_at(0, 4)))["items"]

        client.notify("textDocument/didShowCompletion", {"item": item})
        client.notify(
            "textDocument/didPartiallyAcceptCompletion", {"item": item, "acceptedLength": 3}
        )
        await client.notification("window/logMessage", "accepted 3 characters")
        await client.request(EXECUTE, item["command"])

        await client.notification("window/logMessage", "accepted 4 characters")


async def test_why_something_is_shown_or_not_is_told_as_a_page_and_as_data() -> None:
    async with running({"texts": ["f(b)", "f(b c)"]}) as (_, client):
        await client.initialize(initializationOptions={"trigger": "onDemand"})
        await client.ready()
        client.open("a = ", language="python")

        asked = command("explain", position={"line": 0, "character": 4})
        told = await client.request(EXECUTE, asked)
        asked["arguments"][0]["invoked"] = True
        invoked = (await client.request(EXECUTE, asked))["explanation"]

        assert told["explanation"]["why_not"] == "on demand only"
        assert told["markdown"].startswith("# Why at `")
        assert invoked["shown"] == ["f(b)"]
        fates = [(each["said"], each["fate"]) for each in invoked["considered"]]
        assert fates == [("f(b)", "shown"), ("f(b c)", "refused")]
        assert invoked["window"]["prefix"] == 4
        assert set(invoked["ms"]) >= {"context", "encode", "denoise", "judge", "validate", "total"}


async def test_the_menu_is_only_for_clients_without_inline_completion() -> None:
    async def provider(**params: Any) -> Any:
        async with running({"texts": ["x"]}) as (_, client):
            return (await client.initialize(**params))["capabilities"].get("completionProvider")

    assert await provider(capabilities=INLINE) is None
    assert await provider(initializationOptions={"fallback": "never"}) is None
    always = await provider(capabilities=INLINE, initializationOptions={"fallback": "always"})
    assert always == {"resolveProvider": False}  # and no trigger characters


async def test_an_item_of_the_menu_goes_on_from_the_word_before_the_cursor() -> None:
    async with running({"texts": ["_all(\n    wide😀,\n)"]}) as (_, client):
        await client.initialize()
        await client.ready()
        client.open("x = 1\r\nsend\r\n")

        menu = await client.request(
            MENU, {"textDocument": {"uri": URI}, "position": {"line": 1, "character": 4}}
        )

        whole, first = menu["items"]
        assert menu["isIncomplete"]
        assert whole["label"] == "send_all( ⏎"
        assert whole["textEdit"] == {
            "range": at(1, 0, (1, 4)),
            "newText": "send_all(\r\n    wide😀,\r\n)",  # not every client makes them its own
        }
        assert whole["filterText"] == first["filterText"] == "send_all("
        assert whole["insertTextMode"] == 1
        assert whole["sortText"] > "zzz"
        assert "preselect" not in whole
        assert first["textEdit"]["newText"] == "send_all("


async def test_a_client_that_asks_inline_gets_an_empty_menu() -> None:
    async with running({"texts": ["x"]}) as (_, client):
        await client.initialize()
        await client.ready()
        client.open("a = ")
        where = {"textDocument": {"uri": URI}, "position": {"line": 0, "character": 4}}

        assert (await client.request(MENU, where))["items"]
        await client.request(INFILL, infill_at(0, 4))
        assert await client.request(MENU, where) == {"isIncomplete": False, "items": []}
