"""Neovim 0.12 and 0.10, really typed into, with the embedded model behind the real server.

What the model says is its own affair: these tests want it to go on with a line that stands thirty
times above the cursor, and hold everything else to what it said then.
"""

import os
import signal
import time

import pytest

from tests.editors.editor import Editor
from tests.editors.latency import Latencies

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

NUM_LINES = 30


def lines_of(template: str, newline: str = "\n") -> str:
    return "".join(template.format(i) + newline for i in range(1, NUM_LINES + 1))


READS = lines_of("value_{} = store.read(0)")
TYPED = "value_31 = sto"


def version_of(editor: Editor) -> str:
    return "Neovim " + editor.lua(
        "local v = vim.version() return v.major .. '.' .. v.minor .. '.' .. v.patch"
    )


def typed_in(editor: Editor, text: str) -> str:
    """Ghost text behind `text` on the empty line in the middle, when all is quiet again."""
    editor.type(f"{NUM_LINES + 1}Gi")
    editor.type_text(text)
    ghost = editor.wait_ghost()

    assert ghost, (editor.status(), editor.messages, editor.answers())
    return editor.settled()


def saved(editor: Editor) -> None:
    editor.type("<C-\\><C-n>")
    editor.command("write")


def test_ghost_text_is_accepted_into_the_file_byte_by_byte(editor: Editor) -> None:
    path = editor.open("accepted.py", (READS + "\nprint(value_1)\n").encode())

    ghost = typed_in(editor, TYPED)
    assert editor.lines[NUM_LINES] == TYPED  # ghost text is not in the file
    editor.type("<Tab>")
    assert editor.until(lambda: editor.lines[NUM_LINES] != TYPED, 5)
    saved(editor)

    assert path.read_bytes() == f"{READS}{TYPED}{ghost}\nprint(value_1)\n".encode()


def test_typing_through_keeps_it_without_a_model_run(editor: Editor) -> None:
    editor.open("typed.py", (READS + "\nprint(value_1)\n").encode())

    ghost = typed_in(editor, TYPED)
    editor.forget_answers()
    for i in range(1, min(4, len(ghost))):
        editor.type_text(ghost[i - 1])

        assert editor.until(lambda rest=ghost[i:]: editor.ghost() == rest, 5)
    assert editor.settled() == ghost[min(4, len(ghost)) - 1 :]
    assert set(editor.answers()) <= {"reused", "superseded"}


def test_accepting_while_typing_doubles_nothing(editor: Editor) -> None:
    editor.open("raced.py", (READS + "\nprint(value_1)\n").encode())

    ghost = typed_in(editor, TYPED)
    editor.type(ghost[0] + "<Tab>")

    assert editor.until(lambda: editor.lines[NUM_LINES] == TYPED + ghost, 5), editor.lines
    assert editor.cursor == (NUM_LINES + 1, len((TYPED + ghost).encode()))


def test_another_key_takes_it_away_at_once(editor: Editor) -> None:
    editor.open("past.py", (READS + "\nprint(value_1)\n").encode())

    ghost = typed_in(editor, TYPED)
    other = "q" if ghost[0] != "q" else "z"
    editor.type(other)
    editor.until(lambda: editor.lines[NUM_LINES] == TYPED + other, 5)

    assert not editor.ghost().startswith(ghost[1:])


def test_a_word_is_accepted_and_the_rest_stays(editor: Editor) -> None:
    editor.open("word.py", (READS + "\nprint(value_1)\n").encode())

    ghost = typed_in(editor, TYPED)
    editor.type("<M-w>")
    assert editor.until(lambda: editor.lines[NUM_LINES] != TYPED, 5)
    taken = editor.lines[NUM_LINES].removeprefix(TYPED)

    assert ghost.startswith(taken)
    assert taken.strip().isidentifier() or not any(c.isalnum() for c in taken)
    assert editor.mode == "i"
    if taken != ghost:
        assert editor.until(lambda: editor.ghost() == ghost[len(taken) :], 5)


def test_dismissed_it_stays_away_and_tab_is_a_tab_again(editor: Editor) -> None:
    editor.open("dismissed.py", (READS + "\nprint(value_1)\n").encode())
    editor.command("setlocal noexpandtab")

    typed_in(editor, TYPED)
    editor.type("<M-e>")

    assert editor.until(lambda: not editor.ghost(), 5)
    assert editor.settled() == ""
    assert editor.mode == "i"
    editor.type("<Tab>")
    assert editor.until(lambda: editor.lines[NUM_LINES] == TYPED + "\t", 5)


def test_leaving_insert_mode_takes_it_away(editor: Editor) -> None:
    editor.open("left.py", (READS + "\nprint(value_1)\n").encode())

    typed_in(editor, TYPED)
    editor.type("<Esc>")

    assert editor.until(lambda: not editor.ghost(), 5)
    assert editor.lines[NUM_LINES] == TYPED


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_characters_of_any_width_and_line_ends_of_any_kind(editor: Editor, newline: str) -> None:
    above = lines_of("größe['日本 😀'] = lager.lies('é 😀')", newline)
    typed = "größe['日本 😀'] = lag"
    path = editor.open("wide.py", f"{above}{newline}print(größe){newline}".encode())

    ghost = typed_in(editor, typed)
    editor.type("<Tab>")
    assert editor.until(lambda: editor.lines[NUM_LINES] == (typed + ghost).split("\n")[0], 5)
    saved(editor)

    assert "\r" not in ghost
    accepted = (typed + ghost).replace("\n", newline)
    assert path.read_bytes() == f"{above}{accepted}{newline}print(größe){newline}".encode()


def test_how_long_it_takes(editor: Editor, latencies: Latencies) -> None:
    """From the last key of a burst to the screen: pause, request, model run, drawing."""
    editor.open("timed.py", (READS + "\nprint(value_1)\n").encode())
    typed_in(editor, TYPED)
    for number in range(NUM_LINES + 2, NUM_LINES + 9):
        editor.type("<M-e><Esc>o")
        editor.settled()
        editor.forget_answers()
        started = time.monotonic()
        editor.type(f"value_{number} = sto")
        if editor.wait_ghost(5) and "model" in editor.answers():
            latencies.add(version_of(editor), "model", (time.monotonic() - started) * 1e3)

    assert latencies


def test_the_server_is_killed_and_comes_back(editors: dict[str, Editor]) -> None:
    """In all of them at once, for loading takes its time."""
    if not editors:
        pytest.skip("no Neovim")
    for editor in editors.values():
        editor.open("killed.py", (READS + "\nprint(value_1)\n").encode())
        ghost = typed_in(editor, TYPED)
        pid = editor.lua(SERVER_PID, str(editor.log_file))
        os.kill(pid, signal.SIGKILL)
        editor.type_text(ghost[0])
        assert editor.until(lambda e=editor: not e.attached(), 10)
        editor.type_text("#lost?")  # while there is no server

        assert editor.lines[NUM_LINES] == TYPED + ghost[0] + "#lost?"
        editor.type("<Esc>0D")
    for editor in editors.values():
        assert editor.until(editor.ready, 120), (editor.status(), editor.messages)
        assert typed_in(editor, TYPED)
        assert editor.messages.count("the server died") == 1


# Neovim keeps its child's number to itself; the log file on the command line tells ours.
SERVER_PID = """
  for _, pid in ipairs(vim.api.nvim_get_proc_children(vim.fn.getpid())) do
    local file = io.open('/proc/' .. pid .. '/cmdline')
    local line = file and file:read('*a') or ''
    if file then file:close() end
    if line:find(..., 1, true) then return pid end
  end"""
