"""A real VS Code, really typed into, with the embedded model behind the real server."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infill_ls.completion.acceptance import of_user
from infill_ls.settings import Settings
from tests.editors.conftest import npm
from tests.editors.latency import Latencies
from tests.editors.places import (
    BRACKETS,
    LINE,
    SURE,
    WIDE_CRLF,
    Place,
    several_lines,
    several_words,
    typed_on,
)
from tests.editors.processes import idle
from tests.editors.server_log import counted
from tests.editors.vscode.code_server import VSCode

# In tests the machine may be busy with other tests, and a late answer is not a wrong one.
SETTINGS = {
    "infill.deadlineMs": 20_000,
    "infill.deadlineInvokedMs": 20_000,
    "infill.disabledLanguages": [],
    "infill.minConfidence": 0,
    # Ghost text comes before the next edit, and Tab is its key.
    "infill.modes": ["subtle.py: subtle", "line_ends.py: eol-only", "renamed.py: onDemand"],
}
FETCHED = "x = a.get({})\ny = 1\n"
RENAMED = "def total(a):\n    return a\n\n\n# far\n# away\n\nprint(total(1))\n\nprint(total(2))\n"
SELECTED = LINE.file("value_31 = None")
FILES = {
    **{
        f"{name}.py": LINE.file()
        for name in (
            *("accepted", "word", "through", "dismissed", "paused", "killed", "timed"),
            *("explained", "ahead", "subtle", "line_ends", "snoozed"),
        )
    },
    "wide.py": WIDE_CRLF.file(),
    "selected.py": SELECTED,
    "renamed.py": RENAMED.encode(),
    **{f"fetched{number}.py": FETCHED.format(number).encode() for number in range(5)},
    **{f"brackets_{number}.py": place.file() for number, place in enumerate(BRACKETS)},
}


@pytest.mark.timeout(200)
def test_the_policy_of_the_extension_holds() -> None:
    npm("test")


@pytest.mark.timeout(200)
def test_the_package_is_small(vsix: Path) -> None:
    assert vsix.stat().st_size < 500_000


e2e = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="class")
def code(tools: Path, vsix: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VSCode]:
    """With the embedded model."""
    out = tmp_path_factory.mktemp("vscode")
    server = f"-m infill_ls --log-file '{out}/vs/server.log' --log-level info \"$@\""
    with VSCode(tools, vsix, out / "vs", FILES, SETTINGS, server) as code:
        try:
            assert code.wait_status("ready", 120), (code.status(), code.messages())
            yield code
        finally:
            code.shot("last")


def plain(text: str) -> str:
    """As it was written, but for its lines: the editor wraps them, and draws blanks as others."""
    return " ".join(text.split())


def suggested(
    code: VSCode, name: str, place: Place = LINE, fits: Callable[[str], object] = bool
) -> tuple[Path, str, str]:
    """The file, what was typed on the place's line, and the ghost text behind it when all is
    quiet again."""
    path = code.open(name)
    code.go_to(place.row)
    found = typed_on(place, code.type, code.settled, fits)
    assert found, (code.status(), code.messages(), code.answers())
    return path, *found


def kinds_since(code: VSCode, num_answers: int) -> set[str]:
    """Where the answers came from that were not overtaken."""
    return {answer.how for answer in code.answers()[num_answers:] if not answer.overtaken}


class TestVSCode:
    """In this order: a file is a test's own, the editor is not."""

    pytestmark = e2e

    def test_ghost_text_is_accepted_into_the_file_byte_by_byte(self, code: VSCode) -> None:
        path, typed, ghost = suggested(code, "accepted.py")
        code.shot("ghost")
        code.press("Tab")
        assert code.gone_ghost()
        code.save()

        assert path.read_bytes() == LINE.file(typed + ghost)
        assert code.until(lambda: counted(code.log_file)[1] == 1)

    def test_a_word_is_accepted_and_the_rest_stays(self, code: VSCode) -> None:
        path, typed, ghost = suggested(code, "word.py", fits=several_words)
        code.press("Control+ArrowRight")
        assert code.until(lambda: code.ghost() != ghost, 5)
        rest = code.settled()
        code.shot("word")
        code.press("Escape")
        code.save()

        accepted = ghost.removesuffix(rest)
        assert 0 < len(accepted) < len(ghost)
        assert path.read_bytes() == LINE.file(typed + accepted)
        assert code.until(lambda: counted(code.log_file)[2] == 1)

    def test_typing_through_it_takes_no_new_run_of_the_model(self, code: VSCode) -> None:
        path, typed, ghost = suggested(code, "through.py", fits=several_words)
        num_answers = len(code.answers())
        code.type(ghost[:2])
        assert code.settled() == ghost[2:]
        assert "model" not in [answer.how for answer in code.answers()[num_answers:]]
        code.press("Tab")
        code.save()

        assert path.read_bytes() == LINE.file(typed + ghost)

    def test_what_follows_an_accepted_text_is_there_without_a_new_run_of_the_model(
        self, code: VSCode
    ) -> None:
        suggested(code, "ahead.py", SURE)
        assert idle(code.shared)
        num_answers = len(code.answers())
        code.press("Tab")
        assert code.until(lambda: len(code.answers()) > num_answers), code.status()
        if not code.settled():
            assert idle(code.shared)
            code.press("Enter")
        assert code.wait_ghost(), code.answers()[num_answers:]
        code.shot("after-tab")
        code.press("Escape")
        code.save()

        assert kinds_since(code, num_answers) == {"reused"}, code.answers()[num_answers:]

    def test_escape_dismisses_it(self, code: VSCode) -> None:
        path, typed, _ = suggested(code, "dismissed.py")
        code.press("Escape")
        assert code.gone_ghost()
        assert code.settled() == ""
        code.save()

        assert path.read_bytes() == LINE.file(typed)

    def test_characters_of_any_width_and_line_ends_stay_as_they_are(self, code: VSCode) -> None:
        path, typed, ghost = suggested(code, "wide.py", WIDE_CRLF)
        code.shot("wide")
        code.press("Tab")
        assert code.gone_ghost()
        code.save()

        assert path.read_bytes() == WIDE_CRLF.file(typed + ghost)

    def test_several_lines_go_in_between_brackets(self, code: VSCode) -> None:
        for number, place in enumerate(BRACKETS):
            path = code.open(f"brackets_{number}.py")
            code.go_to(place.row)
            if found := typed_on(place, code.type, code.settled, several_lines):
                break
        assert found, code.answers()
        typed, ghost = found
        code.shot("brackets")
        code.press("Tab")
        assert code.gone_ghost()
        code.save()

        assert path.read_bytes() == place.file(typed + ghost)

    def test_a_selection_is_infilled_and_undone(self, code: VSCode) -> None:
        path = code.open("selected.py")
        before = path.read_bytes()
        code.go_to(LINE.row)
        code.press(*["Shift+ArrowLeft"] * len("None"))
        code.command("Infill Selection")
        assert code.until(lambda: code.page.locator(".tab.active.dirty").count(), 20), (
            code.messages()
        )
        code.save()
        after = path.read_bytes()
        code.press("Control+z")
        code.save()

        assert after.startswith(LINE.before.encode() + b"value_31 = ")
        assert after != before == SELECTED
        assert path.read_bytes() == before

    def test_a_file_is_paused_and_resumed_from_the_status_bar(self, code: VSCode) -> None:
        code.open("paused.py")
        code.choose("Pause in paused.py")
        assert code.wait_status("paused in this file", 10)
        num_answers = len(code.answers())
        code.go_to(LINE.row)
        code.type(LINE.line[: LINE.least - 1])
        assert code.settled() == ""
        assert len(code.answers()) == num_answers
        code.shot("paused")

        code.choose("Resume in paused.py")
        assert code.wait_status("ready", 10)
        code.type(LINE.line[LINE.least - 1])
        assert code.until(lambda: len(code.answers()) > num_answers)
        code.press("Escape")
        code.save()

    def test_a_page_says_why_and_what_was_considered(self, code: VSCode) -> None:
        suggested(code, "explained.py")
        code.command("Why Is This Shown Here, or Nothing?")
        page = code.page.locator(".editor-group-container .tab.active", has_text="Why.md")
        page.wait_for()
        said = code.page.locator(".editor-group-container").last.locator(".view-lines").first
        assert code.until(lambda: "shown while typing" in plain(said.inner_text()))
        code.shot("explained")

        assert "Every text that was considered" in plain(said.inner_text())
        code.press("x")  # nobody can write to it
        assert not code.page.locator(".tab.dirty", has_text="Why.md").count()
        code.command("View: Close Editor")

    def test_subtle_shows_it_on_a_key_alone(self, code: VSCode) -> None:
        path = code.open("subtle.py")
        code.go_to(LINE.row)

        def said() -> str:
            assert code.settled() == ""
            return code.status()

        found = typed_on(SURE, code.type, said, lambda status: "a suggestion is ready" in status)
        assert found, (code.status(), code.answers())
        assert code.answers()[-1].how == "held back"
        code.shot("subtle")
        code.press("Alt+\\")
        assert code.wait_ghost(), code.answers()
        ghost = code.settled()
        code.shot("subtle-shown")
        assert code.answers()[-1].how == "reused"
        assert code.wait_status("ready", 5), code.status()
        code.press("Tab")
        assert code.gone_ghost()
        code.save()

        assert path.read_bytes() == LINE.file(found[0] + ghost)

    def test_at_line_ends_alone(self, code: VSCode) -> None:
        path, typed, _ = suggested(code, "line_ends.py", SURE)
        code.shot("line-ends")
        code.press("Escape", "Home")
        num_answers = len(code.answers())
        code.type("a")
        assert code.settled() == ""
        assert kinds_since(code, num_answers) == {"not at the line's end"}
        code.shot("within-a-line")
        code.save()

        assert path.read_bytes() == LINE.file("a" + typed)

    def test_snoozed_it_is_quiet_until_woken(self, code: VSCode) -> None:
        code.open("snoozed.py")
        code.go_to(LINE.row)
        code.choose("Snooze")
        code.pick("15 minutes")
        assert code.wait_status("snoozed until", 30), code.status()
        num_answers = len(code.answers())
        code.type(LINE.line[:4])  # whoever snoozes it wants to type on
        assert code.settled() == ""
        [why] = kinds_since(code, num_answers)
        assert why.startswith("snoozed until"), why
        code.shot("snoozed")
        code.choose("Snooze")
        code.pick("Wake up")
        assert code.wait_status("infill: ready", 30), code.status()
        code.type(SURE.line[4 : SURE.least])
        assert code.wait_ghost(), code.answers()
        code.press("Escape")
        code.save()

    def test_the_next_edit_is_gone_to_and_made_and_then_the_one_after(self, code: VSCode) -> None:
        path = code.open("renamed.py")
        code.go_to(1)
        code.press("Home", *["ArrowRight"] * len("def "), *["Shift+ArrowRight"] * len("total"))
        code.type("subtotal")
        assert code.wait_behind("print(subtotal(1))"), (code.behind_lines(), code.messages())
        code.shot("next-edit")
        code.press("Tab")  # far: there first
        assert code.until(lambda: code.line() == 8, 5)
        code.press("Tab")
        assert code.wait_behind("print(subtotal(2))"), code.behind_lines()
        code.press("Tab")
        assert code.until(lambda: not code.behind_lines(), 5)
        code.save()

        assert path.read_text() == RENAMED.replace("total", "subtotal")
        said = "next edits shown 2, accepted 2"
        assert code.until(lambda: said in code.log_file.read_text(encoding="utf-8"))

    def test_a_file_is_due_what_others_had_as_soon_as_it_is_opened(self, code: VSCode) -> None:
        for number in range(4):
            code.open(f"fetched{number}.py")
            code.go_to(1)
            code.press("Home", *["ArrowRight"] * len("x = a."), *["Shift+ArrowRight"] * len("get"))
            code.type("fetch")
            code.press("Escape")
            code.save()
        path = code.open("fetched4.py")

        assert code.wait_behind("x = a.fetch(4)"), (code.behind_lines(), code.messages())
        code.shot("next-edit-opened")
        code.go_to(1)
        code.press("Tab")
        assert code.until(lambda: not code.behind_lines(), 5)
        code.save()
        assert path.read_text() == FETCHED.format(4).replace("get", "fetch")

    def test_a_killed_server_comes_back_with_one_message(self, code: VSCode) -> None:
        path = code.open("killed.py")
        code.go_to(LINE.row)
        code.type(LINE.line[:4])
        num_started = len(code.pids())
        os.kill(code.pids()[-1], signal.SIGKILL)
        code.type(LINE.line[4 : LINE.least])  # no key may be lost while there is no server
        assert code.until(code.messages, 10)
        told = code.messages()
        assert code.until(lambda: len(code.pids()) > num_started, 30)
        assert code.wait_status("ready", 100), code.status()
        at_its_end = Place(
            before=LINE.before, line=LINE.line[LINE.least :], least=1, after=LINE.after
        )
        found = typed_on(at_its_end, code.type, code.settled, bool)
        assert found, code.answers()
        code.press("Escape")
        code.save()

        assert told == ["infill: the server ended unexpectedly and is being started again."]
        assert path.read_bytes() == LINE.file(LINE.line[: LINE.least] + found[0])

    def test_another_window_shares_the_server(self, code: VSCode) -> None:
        before, num_started = code.shared(), len(code.pids())
        window = code.browser.new_page()
        window.goto(f"{code.address}/?folder={code.folder}")
        assert code.until(lambda: len(code.pids()) > num_started, 60)
        item = window.locator(".statusbar-item[id$='infill']").first
        assert code.until(lambda: item.get_attribute("aria-label") == "infill: ready", 60)
        window.close()

        assert len(before) == 1
        assert code.shared() == before

    def test_what_was_learned_is_forgotten_by_command(self, code: VSCode) -> None:
        counts = of_user()  # where the server of the editor has its own
        counts.shown("python", 0.9)
        counts.save()
        assert counts.path is not None
        assert counts.path.exists()

        code.command("Forget What Was Learned of Me")
        told = "infill: What was learned of you is forgotten."
        assert code.until(lambda: told in code.messages(), 10), code.messages()
        assert not counts.path.exists()
        code.command("Notifications: Clear All Notifications")

    def test_how_long_it_takes(self, code: VSCode, latencies: Latencies) -> None:
        """From the last key of a burst to the screen: pause, request, model run, drawing. With the
        deadline that a user has."""
        given = {"infill.deadlineMs": Settings().deadline_ms}
        code.set_user(SETTINGS | given)
        code.open("timed.py")
        code.go_to(LINE.row)
        kept, num_before = 0, len(code.answers())
        for number in range(31, 41):
            num_answers = len(code.answers())
            code.page.keyboard.type(f"value_{number} = sto")
            code.until(lambda seen=num_answers: len(code.answers()) > seen)
            ms = code.latency()
            code.settled()
            answers = [answer for answer in code.answers()[num_answers:] if answer.num_items]
            if ms and [answer.how for answer in answers] == ["model"]:
                latencies.add(f"VS Code {code.version}", ms, answers[0].ms)
                kept += 1
            code.press("Escape", "Enter")
        code.save()

        # On a busy machine it may be that nothing is there in time, and then nothing is shown.
        assert kept or "late" in kinds_since(code, num_before), code.answers()
