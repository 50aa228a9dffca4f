"""Neovim 0.12 and 0.10, really typed into, with the embedded model behind the real server."""

import os
import signal
import time
from collections.abc import Callable

import pytest

from infill_ls.completion.parts import beginning
from infill_ls.settings import Settings
from tests.editors.conftest import SETTINGS
from tests.editors.editor import Editor
from tests.editors.latency import ARTIFACTS, Latencies
from tests.editors.places import (
    BRACKETS,
    LINE,
    SURE,
    WIDE,
    WIDE_CRLF,
    Place,
    several_lines,
    several_words,
    typed_on,
)
from tests.editors.processes import idle
from tests.editors.server_log import counted

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


def version_of(editor: Editor) -> str:
    return "Neovim " + editor.lua(
        "local v = vim.version() return v.major .. '.' .. v.minor .. '.' .. v.patch"
    )


def suggested(
    editor: Editor, place: Place = LINE, fits: Callable[[str], object] = bool
) -> tuple[str, str]:
    """What was typed on the place's line, and the ghost text behind it when all is quiet again."""
    editor.type(f"{place.row}Gi")
    found = typed_on(place, editor.type_text, editor.settled, fits)

    assert found, (editor.status(), editor.messages, editor.answers())
    return found


def line_at(editor: Editor, place: Place = LINE) -> str:
    return editor.lines[place.row - 1]


def picture(editor: Editor, of: str = "") -> None:
    """Of the whole screen; of several tests, each has a name of its own."""
    editor.command("redraw")
    version = version_of(editor).removeprefix("Neovim ").rpartition(".")[0]
    editor.screen.picture(ARTIFACTS / f"neovim-{version}{of and '-'}{of}.svg")


def saved(editor: Editor) -> None:
    editor.type("<C-\\><C-n>")
    editor.command("silent write")


def test_ghost_text_is_accepted_into_the_file_byte_by_byte(editor: Editor) -> None:
    path = editor.open("accepted.py", LINE.file())

    typed, ghost = suggested(editor)
    assert line_at(editor) == typed  # ghost text is not in the file
    editor.command("redraw")
    assert editor.screen.lines[editor.screen.cursor[0]] == typed + ghost.split("\n")[0]
    _, accepted, _ = counted(editor.log_file)
    editor.type("<Tab>")
    assert editor.until(lambda: line_at(editor) != typed, 5)
    saved(editor)

    assert path.read_bytes() == LINE.file(typed + ghost)
    assert editor.until(lambda: counted(editor.log_file)[1] == accepted + 1, 5)
    assert counted(editor.log_file)[0]


def test_typing_through_keeps_it_without_a_model_run(editor: Editor) -> None:
    editor.open("typed.py", LINE.file())

    _, ghost = suggested(editor, fits=several_words)
    editor.forget_answers()
    for end in (1, 2):
        editor.type_text(ghost[end - 1])

        assert editor.until(lambda rest=ghost[end:]: editor.ghost() == rest, 5)
    assert editor.settled() == ghost[2:]
    assert {answer.how for answer in editor.answers()} <= {"reused", "superseded"}


def test_accepting_while_typing_doubles_nothing(editor: Editor) -> None:
    editor.open("raced.py", LINE.file())

    typed, ghost = suggested(editor, fits=several_words)
    editor.type(ghost[0] + "<Tab>")

    lines, first = (typed + ghost).split("\n"), LINE.row - 1
    assert editor.until(lambda: editor.lines[first : first + len(lines)] == lines, 5), editor.lines
    assert editor.cursor == (first + len(lines), len(lines[-1].encode()))


def test_another_key_takes_it_away_at_once(editor: Editor) -> None:
    editor.open("past.py", LINE.file())

    typed, ghost = suggested(editor, fits=several_words)
    other = "q" if ghost[0] != "q" else "z"
    editor.type(other)
    editor.until(lambda: line_at(editor) == typed + other, 5)

    assert not editor.ghost().startswith(ghost[1:])


def test_a_word_is_accepted_and_the_rest_stays(editor: Editor) -> None:
    path = editor.open("word.py", LINE.file())

    typed, ghost = suggested(editor, fits=several_words)
    _, _, in_part = counted(editor.log_file)
    editor.type("<M-w>")
    assert editor.until(lambda: line_at(editor) != typed, 5)
    taken = line_at(editor).removeprefix(typed)

    assert ghost.startswith(taken)
    assert taken != ghost
    assert taken.strip().isidentifier() or not any(c.isalnum() for c in taken)
    assert editor.mode == "i"
    assert editor.until(lambda: editor.ghost() == ghost[len(taken) :], 5)
    picture(editor, "word")
    assert editor.until(lambda: counted(editor.log_file)[2] == in_part + 1, 5)
    saved(editor)
    assert path.read_bytes() == LINE.file(typed + taken)


def test_lines_are_accepted_by_number(editor: Editor) -> None:
    for place in BRACKETS:
        path = editor.open("lines.py", place.file())
        editor.type(f"{place.row}Gi")
        if found := typed_on(place, editor.type_text, editor.settled, several_lines):
            break
    assert found, editor.answers()
    typed, ghost = found
    _, accepted, in_part = counted(editor.log_file)
    editor.lua("require('infill_ls').accept_lines(2)")
    taken = beginning(ghost, "line", 2)
    rest = place.file(typed + taken)
    assert editor.until(lambda: len(editor.lines) == len(rest.splitlines()), 5), editor.lines
    assert editor.until(lambda: sum(counted(editor.log_file)[1:]) == accepted + in_part + 1, 5)
    picture(editor, "lines")
    saved(editor)

    assert path.read_bytes() == rest


def test_a_page_says_why_and_is_in_no_file(editor: Editor) -> None:
    editor.open("explained.py", LINE.file())
    suggested(editor)
    editor.type("<Esc>:Infill explain<CR>")
    assert editor.until(lambda: editor.lua("return vim.bo.filetype") == "markdown", 20)
    page = editor.lines
    picture(editor, "explain")

    assert page[0].startswith("# Why at `")
    assert f"explained.py:{LINE.row}:" in page[0]
    assert page[2].startswith("On the screen is ")
    assert any("shown while typing" in line for line in page)
    assert "## Every text that was considered" in page
    assert editor.lua("return { vim.bo.buftype, vim.bo.modifiable }") == ["nofile", False]
    editor.type("q")
    assert editor.until(lambda: editor.lua("return vim.bo.filetype") == "python", 5)


def test_snoozed_it_is_quiet_and_the_statusline_says_so(editor: Editor) -> None:
    editor.open("snoozed.py", LINE.file())
    editor.command("Infill snooze 5")
    component = "return require('infill_ls').status()"
    assert editor.until(lambda: editor.lua(component) == "infill z", 5), editor.messages
    editor.type(f"{LINE.row}Gi")
    editor.type_text(LINE.line)
    assert editor.settled() == ""
    picture(editor, "snoozed")
    editor.command("Infill wake")
    assert editor.until(lambda: editor.lua(component) == "infill", 5)


def test_what_follows_an_accepted_text_is_there_without_a_new_run_of_the_model(
    editor: Editor,
) -> None:
    editor.open("ahead.py", LINE.file())
    suggested(editor, SURE)
    server = [editor.lua(SERVER_PID, str(editor.log_file))]
    assert idle(lambda: server)
    editor.forget_answers()
    editor.type("<Tab>")
    if not editor.settled():
        assert idle(lambda: server)
        editor.type("<CR>")
    assert editor.wait_ghost(), editor.answers()
    picture(editor, "after-accepting")

    kinds = {answer.how for answer in editor.answers() if not answer.overtaken}
    assert kinds == {"reused"}, editor.answers()


def test_subtle_shows_it_on_a_key_alone(editor: Editor) -> None:
    editor.open("subtle.py", LINE.file())
    editor.forget_answers()
    editor.type(f"{SURE.row}Gi")

    def said() -> str:
        assert editor.settled() == ""
        return editor.status()

    assert typed_on(SURE, editor.type_text, said, lambda state: state == "held"), editor.answers()
    assert editor.answers()[-1].how == "held back"
    picture(editor, "subtle")
    editor.type("<M-\\>")
    assert editor.wait_ghost(), editor.answers()
    picture(editor, "subtle-shown")
    assert editor.answers()[-1].how == "reused"
    assert editor.until(lambda: editor.status() == "ready", 5)


def test_at_line_ends_alone(editor: Editor) -> None:
    editor.open("line_ends.py", LINE.file())
    suggested(editor, SURE)
    picture(editor, "line-ends")
    editor.type("<Home>")
    editor.forget_answers()
    editor.type_text("a")
    assert editor.settled() == ""
    picture(editor, "within-a-line")

    assert [answer.how for answer in editor.answers()] == ["not at the line's end"]


def test_what_was_accepted_is_counted(editor: Editor) -> None:
    assert editor.until(lambda: "accepted" in editor.lua("return require('infill_ls').stats()"), 5)


def test_what_was_learned_is_forgotten_by_command(editor: Editor) -> None:
    stats = "return require('infill_ls').stats()"
    assert editor.until(lambda: "accepted" in editor.lua(stats), 5)

    editor.type("<Esc>:Infill forget<CR>")
    assert editor.until(lambda: "What was learned of you is forgotten" in editor.messages, 5)
    assert editor.until(lambda: editor.lua(stats) == "", 5)


def test_dismissed_it_stays_away_and_tab_is_a_tab_again(editor: Editor) -> None:
    editor.open("dismissed.py", LINE.file())
    editor.command("setlocal noexpandtab")

    typed, _ = suggested(editor)
    editor.type("<M-e>")

    assert editor.until(lambda: not editor.ghost(), 5)
    assert not editor.until(editor.ghost, 0.5)
    for key in ("<M-l>", "<M-w>", "<M-j>", "<M-e>"):  # with nothing to take they do nothing
        editor.type(key)
    assert editor.mode == "i"
    assert line_at(editor) == typed
    editor.type("<Tab>")
    assert editor.until(lambda: line_at(editor) == typed + "\t", 5)


def test_leaving_insert_mode_takes_it_away(editor: Editor) -> None:
    editor.open("left.py", LINE.file())

    typed, _ = suggested(editor)
    editor.type("<Esc>")

    assert editor.until(lambda: not editor.ghost(), 5)
    assert line_at(editor) == typed


@pytest.mark.parametrize("place", [WIDE, WIDE_CRLF], ids=["LF", "CRLF"])
def test_characters_of_any_width_and_line_ends_of_any_kind(editor: Editor, place: Place) -> None:
    path = editor.open("wide.py", place.file())

    typed, ghost = suggested(editor, place)
    editor.type("<Tab>")
    assert editor.until(lambda: line_at(editor, place) == (typed + ghost).split("\n")[0], 5)
    saved(editor)

    assert "\r" not in ghost
    assert path.read_bytes() == place.file(typed + ghost)


def test_several_lines_go_in_between_brackets(editor: Editor) -> None:
    for place in BRACKETS:
        path = editor.open("brackets.py", place.file())
        editor.type(f"{place.row}Gi")
        if found := typed_on(place, editor.type_text, editor.settled, several_lines):
            break
    assert found, editor.answers()
    typed, ghost = found
    picture(editor)
    editor.type("<Tab>")
    assert editor.until(lambda: len(editor.lines) == len(place.file(typed + ghost).splitlines()), 5)
    saved(editor)

    assert path.read_bytes() == place.file(typed + ghost)


def test_the_status_is_thinking_while_the_model_runs(editor: Editor) -> None:
    editor.open("status.py", LINE.file())
    # Statuses come and go faster than a test looks.
    editor.lua("""
      local status = require('infill_ls.status')
      local server = status.server
      vim.g.infill_states = {}
      status.server = function(...)
        server(...)
        vim.g.infill_states = vim.list_extend(vim.g.infill_states, { status.component() })
      end""")
    suggested(editor)

    assert editor.until(lambda: editor.status() == "ready", 5)
    assert editor.lua("return vim.g.infill_states")[-2:] == ["infill ·", "infill"]


def test_how_long_it_takes(editor: Editor, latencies: Latencies) -> None:
    """From the last key of a burst to the screen: pause, request, model run, drawing. With the
    deadline that a user has."""
    editor.open("timed.py", LINE.file())
    editor.lua(SET_DEADLINE, Settings().deadline_ms)
    suggested(editor)
    kept = 0
    for number in range(32, 41):
        editor.type("<Esc>o")
        editor.settled()  # what is said on the empty line is not what is measured
        editor.type("<M-e>")
        editor.until(lambda: not editor.ghost(), 5)
        editor.forget_answers()
        started = time.monotonic()
        editor.type(f"value_{number} = sto")
        ghost = editor.until(lambda: editor.ghost() or editor.answers()) and editor.wait_ghost(1)
        seconds = time.monotonic() - started
        if ghost and editor.answers()[-1].how == "model":
            latencies.add(version_of(editor), 1e3 * seconds, editor.answers()[-1].ms)
            kept += 1
    editor.lua(SET_DEADLINE, SETTINGS["deadlineMs"])

    assert kept


def test_the_server_is_killed_and_comes_back(editors: dict[str, Editor]) -> None:
    """In all of them at once, for loading takes its time."""
    if not editors:
        pytest.skip("no Neovim")
    for editor in editors.values():
        editor.open("killed.py", LINE.file())
        typed, _ = suggested(editor)
        pid = editor.lua(SERVER_PID, str(editor.log_file))
        os.kill(pid, signal.SIGKILL)
        editor.type_text("#")
        assert editor.until(lambda e=editor: not e.attached(), 10)
        editor.type_text("lost?")  # while there is no server

        assert line_at(editor) == typed + "#lost?"
        editor.type("<Esc>0D")
    for editor in editors.values():
        assert editor.until(editor.ready, 120), (editor.status(), editor.messages)
        assert suggested(editor)
        assert editor.messages.count("the server died") == 1


SET_DEADLINE = """
local server = require('infill_ls.server')
local client = server.client(0)
client.settings.infill.deadlineMs = ...
server.call(client, 'notify', 'workspace/didChangeConfiguration', { settings = client.settings })
"""
# Neovim keeps its child's number to itself; the log file on the command line tells ours.
SERVER_PID = """
  for _, pid in ipairs(vim.api.nvim_get_proc_children(vim.fn.getpid())) do
    local file = io.open('/proc/' .. pid .. '/cmdline')
    local line = file and file:read('*a') or ''
    if file then file:close() end
    if line:find(..., 1, true) then return pid end
  end"""
