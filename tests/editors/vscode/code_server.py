"""A real VS Code with our extension, driven by its page in a headless Chromium.

Everything it writes is below one folder. The server is a script that a setting names, as a user
might, or one in the workspace's `.venv`, as a project might bring it; it runs this checkout.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.editors.latency import ARTIFACTS
from tests.editors.processes import shared_servers
from tests.editors.server_log import Answer, answers_in

ROOT = Path(__file__).parents[3]
EXTENSION = ROOT / "editors" / "vscode"
PYTHONPATH = ":".join(str(ROOT / folder) for folder in (".", "engine", "kernels"))
GHOST = ".ghost-text-decoration, .ghost-text-decoration-preview, .ghost-text, .suggest-preview-text"
# A quiet workbench; what matters here is that nothing else than us suggests or changes a text.
WORKBENCH = {
    "security.workspace.trust.enabled": False,
    "workbench.startupEditor": "none",
    "telemetry.telemetryLevel": "off",
    "update.mode": "none",
    "extensions.autoUpdate": False,
    "extensions.autoCheckUpdates": False,
    "extensions.ignoreRecommendations": True,
    "chat.disableAIFeatures": True,
    "chat.commandCenter.enabled": False,
    "window.commandCenter": False,
    "workbench.secondarySideBar.defaultVisibility": "hidden",
    "workbench.editor.useModal": "off",
    "editor.quickSuggestions": {"other": "off", "comments": "off", "strings": "off"},
    "editor.suggestOnTriggerCharacters": False,
    "editor.wordBasedSuggestions": "off",
    "editor.autoClosingBrackets": "never",
    "editor.autoClosingQuotes": "never",
    "editor.minimap.enabled": False,
    "editor.fontSize": 15,
    "files.autoSave": "off",
    "files.encoding": "utf8",
}
# Ghost text as it stands in the page: on the cursor's line, and below it.
SHOWN = """(selector) => {
  const text = (elements) => [...elements]
    .filter((element) => element.getClientRects().length)
    .map((element) => element.textContent)
    .join('');
  const all = [...document.querySelectorAll(selector)];
  const below = [...document.querySelectorAll('.suggest-preview-text .view-line')];
  return text(all.filter((element) => !element.closest('.suggest-preview-text')))
    + below.map((line) => '\\n' + text(line.querySelectorAll('.ghost-text'))).join('');
}"""
# What our decorations say behind lines: contents of a style sheet's making, in no element.
BEHIND = """() => [...document.querySelectorAll('.view-line [class*="ced-"]')]
  .map((element) => getComputedStyle(element, '::after').content)
  .filter((content) => content !== 'none' && content !== 'normal')
  .map((content) => content.replace(/^"|"$/g, ''))"""
# Times a keystroke in the page itself, from the key's event to the frame that shows ghost text.
CLOCK = """(selector) => {
  window.infillClock = { pressed: 0, shown: null };
  const clock = window.infillClock;
  document.addEventListener('keydown', () => {
    clock.pressed = performance.now();
    clock.shown = null;
  }, true);
  const look = () => {
    if (clock.shown === null) {
      for (const element of document.querySelectorAll(selector)) {
        if (element.textContent && element.getClientRects().length) {
          clock.shown = performance.now() - clock.pressed;
        }
      }
    }
    requestAnimationFrame(look);
  };
  look();
}"""


def command_line(tools: Path, folder: Path) -> list[str]:
    """Of a VS Code that writes below that folder."""
    return [
        str(tools / "python" / "playwright" / "driver" / "node"),
        str(tools / "node_modules" / "code-server" / "out" / "node" / "entry.js"),
        f"--config={folder / 'config.yaml'}",
        f"--user-data-dir={folder / 'data'}",
        f"--extensions-dir={folder / 'extensions'}",
    ]


class VSCode:
    """`tools` is what fetch.sh filled, `vsix` the extension, None where it is installed already.

    `files` are the workspace's, by name, `settings` the user's and `machine` the machine's;
    `server` and `workspace_server` stand for this Python's arguments, as a shell has them, and ""
    for no server."""

    def __init__(
        self,
        tools: Path,
        vsix: Path | None,
        folder: Path,
        files: dict[str, bytes],
        settings: dict[str, Any],
        server: str,
        machine: dict[str, Any] | None = None,
        workspace_server: str = "",
    ) -> None:
        sys.path.append(str(tools / "python"))
        import playwright.sync_api

        self.tools = tools
        self.folder = folder
        self.workspace = folder / "workspace"
        for name in ("workspace", "data/User", "data/Machine", "extensions", "home"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (self.workspace / name).write_bytes(content)
        for given, place in ((server, folder), (workspace_server, self.workspace / ".venv")):
            if given:
                program = place / "bin" / "infill-ls"
                program.parent.mkdir(parents=True)
                program.write_text(self.script(given))
                program.chmod(0o755)
        (folder / "data" / "User" / "settings.json").write_text(json.dumps(WORKBENCH | settings))
        # Not by PATH: VS Code takes that from a login shell.
        own = {"infill-ls.path": str(folder / "bin" / "infill-ls")} if server else {}
        # A window whose files are elsewhere, as code-server's are, has settings of scope `machine`
        # from there.
        (folder / "data" / "Machine" / "settings.json").write_text(
            json.dumps(own | (machine or {}))
        )
        # They have no keys of their own.
        line = {"key": "ctrl+alt+l", "command": "infill.acceptLine"}
        lines = {"key": "ctrl+alt+2", "command": "infill.acceptLines", "args": {"count": 2}}
        (folder / "data" / "User" / "keybindings.json").write_text(json.dumps([line, lines]))
        # VS Code leaves sockets there, whose paths may not be long.
        self._sockets = tempfile.TemporaryDirectory(prefix="vs-", ignore_cleanup_errors=True)
        self._env = {
            **{name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"},
            "HOME": str(folder / "home"),
            "XDG_CONFIG_HOME": str(folder / "home" / ".config"),
            "TMPDIR": self._sockets.name,
            "XDG_RUNTIME_DIR": self._sockets.name,
            "EXTENSIONS_GALLERY": "{}",
            # Not the server of this checkout, which is none that a user has.
            "PATH": os.pathsep.join(
                part
                for part in os.environ["PATH"].split(os.pathsep)
                if not Path(part, "infill-ls").exists()
            ),
        }
        self._command = command_line(tools, folder)
        if vsix:
            self._run("--install-extension", str(vsix))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"
        trust = settings.get("security.workspace.trust.enabled", False)
        with (folder / "code-server.log").open("w") as log:
            self._process = subprocess.Popen(
                [
                    *self._command,
                    "--auth=none",
                    f"--bind-addr=127.0.0.1:{port}",
                    "--disable-telemetry",
                    "--disable-update-check",
                    # A page that goes may fail to say so: its extension host then waits for it
                    # to come back, three hours if it is not told otherwise.
                    "--reconnection-grace-time=3",
                    *([] if trust else ["--disable-workspace-trust"]),
                    "--disable-getting-started-override",
                ],
                env=self._env,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._playwright: Any = None
        try:
            assert self.until(self._up, 60), "code-server did not start"
            self._playwright = playwright.sync_api.sync_playwright().start()
            self.browser = self._playwright.chromium.launch(
                executable_path=(tools / "chromium-path").read_text().strip(),
                env={**os.environ, "HOME": str(folder / "home")},
                # Chromium has no sandbox for root, and tests in containers run as root.
                args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
            )
            # Pages of one context: what one has stored, trust included, the next one knows.
            self._context = self.browser.new_context(viewport={"width": 1100, "height": 800})
            # On a busy machine a page takes its time.
            self._context.set_default_timeout(90_000)
            self.page = self._context.new_page()
            self.load()
        except BaseException:
            self.quit()
            raise

    def __enter__(self) -> "VSCode":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.quit()

    def quit(self) -> None:
        if self._playwright:
            with suppress(Exception):
                self.browser.close()
            self._playwright.stop()
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
        for pid in shared_servers(Path(self._sockets.name)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        self._sockets.cleanup()

    def script(self, server: str) -> str:
        """A program that runs the server and notes its number."""
        return (
            f"#!/bin/sh\necho $$ >>'{self.folder}/pids'\nexport PYTHONPATH='{PYTHONPATH}'\n"
            f"exec '{sys.executable}' {server}\n"
        )

    def _run(self, *arguments: str) -> str:
        done = subprocess.run(
            [*self._command, *arguments], env=self._env, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def _up(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}/healthz", timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    @property
    def version(self) -> str:
        package = self.tools / "node_modules/code-server/lib/vscode/package.json"
        return str(json.loads(package.read_text())["version"])

    def until(self, condition: Callable[[], Any], seconds: float = 20.0) -> Any:
        """What the condition says at last."""
        end = time.monotonic() + seconds
        while not (last := condition()) and time.monotonic() < end:
            time.sleep(0.05)
        return last

    def crash(self) -> None:
        """The page's process ends without a word to VS Code; another opens the workspace."""
        with suppress(Exception):
            self.page.goto("chrome://crash")
        self.page.close()
        self.page = self._context.new_page()
        self.load()

    def load(self) -> None:
        """Opens the workspace, or opens it anew: its extension host ends, and another starts."""
        self.page.goto(f"{self.address}/?folder={self.workspace}")
        self.page.locator(".explorer-folders-view .monaco-list-row").first.wait_for()
        self.page.evaluate(CLOCK, GHOST)

    # -- the editor ------------------------------------------------------------------------------

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def type(self, text: str) -> None:
        self.page.keyboard.type(text, delay=25)

    def set_user(self, settings: dict[str, Any]) -> None:
        """The user's settings, from now on, written in the editor: this VS Code sees no change of
        their file that it does not make itself."""
        given = WORKBENCH | settings
        self.command("Preferences: Open User Settings (JSON)")
        self.page.locator(".monaco-editor[data-uri$='settings.json']").click()
        self.press("Control+a", "Delete")
        self.page.keyboard.insert_text(json.dumps(given))
        assert self.until(lambda: self.page.locator(".tab.active.dirty").count(), 10)
        self.save()
        file = self.folder / "data" / "User" / "settings.json"
        assert self.until(lambda: file.read_text() == json.dumps(given), 10), file.read_text()
        self.command("View: Close Editor")

    def open(self, name: str) -> Path:
        row = self.page.locator(".explorer-folders-view .monaco-list-row", has_text=name)
        row.dblclick()
        self.page.locator(f".tab.active[data-resource-name='{name}']").wait_for()
        return self.workspace / name

    def go_to(self, line: int) -> None:
        """The end of a line, from wherever the keys went before."""
        # Not its lines: of a text that is scrolled they begin outside of what is seen.
        text = self.page.locator(".editor-instance .monaco-editor").first
        text.click(position={"x": 400, "y": 150})
        self.press("Control+Home", *["ArrowDown"] * (line - 1), "End")

    def command(self, title: str) -> None:
        self.press("F1")
        self.page.locator(".quick-input-widget input").first.fill(f">{title}")
        self.page.locator(".quick-input-list .monaco-list-row", has_text=title).first.click()

    def save(self) -> None:
        self.press("Control+s")
        assert self.until(lambda: not self.page.locator(".tab.active.dirty").count(), 10)

    def shot(self, name: str) -> None:
        ARTIFACTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=ARTIFACTS / f"vscode-{name}.png")

    # -- what it shows ---------------------------------------------------------------------------

    def ghost(self) -> str:
        """Any that is visible, with its line ends."""
        return str(self.page.evaluate(SHOWN, GHOST)).replace("\xa0", " ")

    def behind_lines(self) -> list[str]:
        """What is drawn behind lines that is no text of the file."""
        found = self.page.evaluate(BEHIND)
        return [str(each).replace("\xa0", " ").strip() for each in found]

    def wait_behind(self, text: str, seconds: float = 30.0) -> bool:
        return bool(self.until(lambda: any(text in each for each in self.behind_lines()), seconds))

    def line(self) -> int:
        """The cursor's."""
        item = self.page.locator(".statusbar-item[id='status.editor.selection']").first
        found = re.search(r"Ln (\d+)", item.inner_text())
        return int(found[1]) if found else 0

    def wait_ghost(self, seconds: float = 20.0) -> str:
        return str(self.until(self.ghost, seconds))

    def settled(self) -> str:
        """The ghost text when nothing changes any more."""
        last, since = None, time.monotonic()
        end = since + 30
        while time.monotonic() < min(since + 0.8, end):
            now = self.ghost(), self.status(), len(self.answers())
            if now != last or "thinking" in now[1]:
                last, since = now, time.monotonic()
            time.sleep(0.05)
        return self.ghost()

    def gone_ghost(self, seconds: float = 5.0) -> bool:
        return bool(self.until(lambda: not self.ghost(), seconds))

    def status(self) -> str:
        item = self.page.locator(".statusbar-item[id$='infill']").first
        return str(item.get_attribute("aria-label") or "") if item.count() else ""

    def wait_status(self, part: str, seconds: float = 60.0) -> bool:
        return bool(self.until(lambda: part in self.status(), seconds))

    def choose(self, label: str) -> None:
        """From the menu behind the status bar's item."""
        self.page.locator(".statusbar-item[id$='infill'] a").first.click()
        row = self.page.locator(".quick-input-list .monaco-list-row", has_text=label).first
        row.wait_for()
        self.page.keyboard.type(label)
        self.press("Enter")

    def pick(self, label: str) -> None:
        """From the list that a command asks with."""
        row = self.page.locator(".quick-input-list .monaco-list-row", has_text=label).first
        row.wait_for()
        row.click()

    def answer(self, prompt: str) -> None:
        """Enter, for what a command asks: before its prompt is there, the keys are another's."""
        self.page.locator(".quick-input-widget .quick-input-message", has_text=prompt).wait_for()
        self.press("Enter")

    def button(self, title: str) -> None:
        """Of a message or a dialog."""
        self.page.get_by_role("button", name=title, exact=True).first.click()

    def messages(self) -> list[str]:
        return list(self.page.locator(".notification-list-item-message").all_text_contents())

    def latency(self) -> float | None:
        """Milliseconds from the last key to its ghost text; None when none comes."""
        shown = self.until(lambda: self.page.evaluate("window.infillClock.shown"), 3)
        return float(shown) if shown else None

    @property
    def log_file(self) -> Path:
        """Of the server that the windows share; else of the window's own."""
        shared = Path(self._sockets.name).glob("infill-ls/*.log")
        newest = sorted(shared, key=lambda log: log.stat().st_mtime)
        return newest[-1] if newest else self.folder / "server.log"

    # -- the server ------------------------------------------------------------------------------

    def pids(self) -> list[int]:
        """Of every server that was started, oldest first."""
        file = self.folder / "pids"
        return [int(line) for line in file.read_text().split()] if file.exists() else []

    def running(self) -> list[int]:
        """Those of the servers that have not ended."""
        return [pid for pid in self.pids() if Path(f"/proc/{pid}").exists()]

    def shared(self) -> list[int]:
        """The servers that windows share."""
        return shared_servers(Path(self._sockets.name))

    def answers(self) -> list[Answer]:
        return answers_in(self.log_file)
