"""What suggests while somebody types: nothing, n-gram copy, and the real server."""

import re
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.soak.editor import Text, misplaced
from benchmarks.soak.serve import digest
from benchmarks.typing.serve import NOTES
from benchmarks.typing.sessions import Session
from benchmarks.typing.typist import Answer
from infill_ls.cli.bench.cases import Case
from infill_ls.cli.bench.scores import copied
from infill_ls.cli.bench.wire import ServerError, ServerProcess
from infill_ls.cli.machine import resident_mb

# What the server's log says of a request.
REPORT = re.compile(r"(?:invoked|automatic) v\S+: (?P<how>.+?), \d+ items, \d+ ms")
JUDGED = re.compile(r"; ms: .*\bjudge (?!0\.0,)")
READY_SECONDS = 120.0  # for the model and the judge to be loaded
REST_SECONDS = 1.0  # at a place, before somebody types there
QUIET_SECONDS, POLL_SECONDS = 10.0, 0.002  # until what is done between two keys is done
WALL_MS = 60_000  # where a deadline is CPU time
WARM_UP = "def mean(values):\n    total = 0\n    for value in values:\n        "


class Nothing:
    """Implements `System`: whoever types, types all of it."""

    def begin(self, session: Session) -> None:
        pass

    def insert(self, text: str) -> None:
        pass

    def suggest(self) -> Answer:
        return Answer()


class Copy:
    """Implements `System`: what followed the longest context elsewhere in the file."""

    def begin(self, session: Session) -> None:
        self._session, self._typed = session, ""

    def insert(self, text: str) -> None:
        self._typed += text

    def suggest(self) -> Answer:
        started, session = time.perf_counter(), self._session
        case = Case(
            name=session.name,
            kind="tail",
            language_id=session.language_id,
            prefix=session.before + self._typed,
            reference="",
            suffix=session.after,
        )
        text = copied(case)
        return Answer(text=text, ms=(time.perf_counter() - started) * 1e3)


class Server:
    """Implements `System` over a server process and a folder for the packages' files.

    `workspace` says whether the editor tells of the folder that it works in. Where there are
    `notes` (see serve.py), what the server does between two keys is waited for, and milliseconds
    are the engine's CPU time.
    """

    def __init__(
        self, process: ServerProcess, folder: Path, notes: "Notes | None", *, workspace: bool
    ) -> None:
        self._process, self._folder, self._notes = process, folder, notes
        self._workspace = workspace
        self._number = 0
        self._root = ""
        self._text = Text("", "", "", 0)

    @property
    def resident_mb(self) -> float | None:
        return resident_mb(self._process.pid)

    def begin(self, session: Session) -> None:
        """Opens the file and rests at the place, until all is read round it."""
        if self._number:
            self._process.close(self._text.uri)
        self._number += 1
        self._process.logged.clear()
        root = self._folder / str(self._number)
        whole = session.before + session.after
        for path, text in {**session.others, session.path: whole}.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text, encoding="utf-8")
        if self._workspace:
            self._process.change_folders([root.as_uri()], [self._root] if self._root else [])
            self._root = root.as_uri()
        uri = (root / session.path).as_uri()
        self._text = Text(uri, session.language_id, whole, len(session.before))
        self._process.open(uri, session.language_id, whole)
        if self._workspace:
            self._wait_for_workspace()
        self.suggest()
        if self._workspace or self._notes is None:
            time.sleep(REST_SECONDS)

    def _wait_for_workspace(self) -> None:
        until = time.monotonic() + READY_SECONDS
        while not any(message.startswith("workspace: ") for message in [*self._process.logged]):
            if time.monotonic() > until:
                raise ServerError(f"the workspace was not read within {READY_SECONDS:.0f} s")
            time.sleep(POLL_SECONDS)

    def insert(self, text: str) -> None:
        if self._notes is not None:
            self._notes.forget()
        edited = self._text
        edited.version += 1
        self._process.insert(edited.uri, edited.version, *edited.position(), text)
        at = edited.cursor
        edited.text = edited.text[:at] + text + edited.text[at:]
        edited.cursor += len(text)

    def suggest(self) -> Answer:
        """What is shown behind the cursor. An answer with something for another place, or none,
        has a fault. Raises ServerError when the server has ended."""
        line, character = self._text.position()
        self._process.logged.clear()
        started = time.perf_counter()
        try:
            items = self._process.complete(self._text.uri, line, character, invoked=False)
        except TimeoutError:
            return Answer(fault="unanswered", how="unanswered")
        ms = (time.perf_counter() - started) * 1e3
        if self._notes is not None:
            ms = self._notes.ran(self._text)
        how, judged = said_of(self._process.logged)
        if not items:
            return Answer(ms=ms, how=how, judged=judged)
        item = items[0]
        if fault := misplaced(item, line, character, self._text.line_text):
            return Answer(ms=ms, how=how, judged=judged, fault=fault)
        typed = character - item["range"]["start"]["character"]
        return Answer(text=item["insertText"][typed:], ms=ms, how=how, judged=judged)


class Notes:
    """What the engine of a server on CPU time has done since it was last asked for."""

    def __init__(self, folder: Path) -> None:
        self._path, self._seen = folder / NOTES, 0

    def ran(self, text: Text) -> float:
        """Milliseconds of the engine's runs there; waits until the text round the cursor is
        read."""
        place = digest(text.text[: text.cursor], text.text[text.cursor :])
        until, ms, found = time.monotonic() + QUIET_SECONDS, 0.0, False
        while not found and time.monotonic() < until:
            for line in self._new():
                what, where, *how = line.split(" ")
                ms += float(how[0]) if what == "ran" and where == place else 0.0
                found = found or (what == "read" and where == place)
            if not found:
                time.sleep(POLL_SECONDS)
        return ms

    def forget(self) -> None:
        """What was done before a key: nobody waited for it."""
        self._new()

    def _new(self) -> list[str]:
        if not self._path.exists():
            return []
        with self._path.open() as file:
            file.seek(self._seen)
            lines = file.read()
        whole = lines[: lines.rfind("\n") + 1]
        self._seen += len(whole)
        return whole.splitlines()


def said_of(logged: Iterable[str]) -> tuple[str, bool]:
    """Where the last answer came from, by the server's log, and whether a judge looked at it."""
    how, judged = "", False
    for message in logged:
        if found := REPORT.match(message):
            how, judged = found["how"], JUDGED.search(message) is not None
    return how, judged


@contextmanager
def server(model: str, deadline_ms: int | None, *, workspace: bool) -> Iterator[Server]:
    """A server whose model and judge are loaded; with a deadline, one on CPU time. Raises
    ServerError where it cannot load them."""
    with tempfile.TemporaryDirectory(prefix="infill-typing-") as name:
        folder, notes, settings = Path(name), None, {"deadlineInvokedMs": WALL_MS}
        arguments, module = ["--model", model], "infill_ls"
        if deadline_ms is not None:
            notes, settings = Notes(folder), settings | {"deadlineMs": WALL_MS}
            arguments, module = [name, model, str(deadline_ms)], "benchmarks.typing.serve"
        with ServerProcess(arguments, module) as process:
            process.initialize(settings, workspace_folders=True)
            _wait_for_model(process)
            yield Server(process, folder, notes, workspace=workspace)


def _wait_for_model(process: ServerProcess) -> None:
    """Until a request was answered by it, and the one after: the judge is loaded between them."""
    uri, until = "file:///typing/warm_up.py", time.monotonic() + READY_SECONDS
    process.open(uri, "python", WARM_UP)
    line, character = Text(uri, "python", WARM_UP, len(WARM_UP)).position()
    answered, version = 0, 1
    while answered < 3:
        if time.monotonic() > until:
            raise ServerError(f"the model was not loaded within {READY_SECONDS:.0f} s")
        process.logged.clear()
        process.complete(uri, line, character, invoked=True)
        how, judged = said_of(process.logged)
        answered = 3 if judged else answered + (how == "model")
        time.sleep(REST_SECONDS)
        version += 1
        process.insert(uri, version, line, character, "x")  # or it would be reused
        character += 1
    process.close(uri)
