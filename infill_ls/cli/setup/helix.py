"""Helix's languages.toml: one more server for the languages that we know.

A language's list of servers replaces the default one, so what it is now is asked of Helix itself.
Lines are changed in place, and the result is read again: every other value has to be as it was.
"""

import re
import subprocess
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

SERVER = "infill-ls"
# Helix's names of languages whose texts are parsed.
LANGUAGES = (
    *("bash", "c", "c-sharp", "cpp", "css", "dart", "dockerfile", "go", "html", "java"),
    *("javascript", "json", "jsx", "kotlin", "lua", "make", "php", "python", "ruby", "rust"),
    *("scala", "sql", "svelte", "swift", "toml", "tsx", "typescript", "vue", "yaml"),
)
_SECONDS = 10.0
_STRING = r"\"[^\"\n]*\"|'[^'\n]*'"
_PART = re.compile(rf"#[^\n]*|{_STRING}|\s+|[^\s#\"']+")
# What `language-servers` begins with, and its items; a table among them may hold a list.
_LIST = re.compile(rf"(language-servers\s*=\s*\[)((?:#[^\n]*|{_STRING}|\[[^\]]*\]|[^\[\]\"'#])*)\]")
_NAME_LINE = re.compile(r"^[ \t]*name\s*=[^\r\n]*", re.MULTILINE)
# What is ours: a table of the server with its lines, and one of a language as we write it.
_SERVER_TABLE = re.compile(
    rf"(?:^\r?\n)?^[ \t]*\[language-server\.[\"']?{SERVER}\b[^\n]*(?:\n|\Z)"
    r"(?:[ \t]*[\w.\"'-]+[ \t]*=[^\n]*(?:\n|\Z))*",
    re.MULTILINE,
)
_LANGUAGE_TABLE = re.compile(
    r"(?:^\r?\n)?^\[\[language\]\]\r?\nname = [^\n]*\n"
    rf"language-servers = [^\n]*\"{SERVER}\"\](?:\r?\n|\Z)(?=\s*(?:\[|\Z))",
    re.MULTILINE,
)
_ITEM = re.compile(rf",\s*([\"']){SERVER}\1|([\"']){SERVER}\2\s*,?[ \t]*")
_NAMED = re.compile(r"^\s*(?:\S\s+)?([\w.+-]+):")


class TomlError(Exception):
    """The text is no TOML, or has a form that is not known how to change."""


def configured_servers(program: str, language: str) -> list[str] | None:
    """The servers that this Helix starts for a language, its user's configuration included; None
    where it does not say."""
    try:
        done = subprocess.run(
            [program, "--health", language],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return listed_servers(done.stdout) if done.returncode == 0 else None


def listed_servers(health: str) -> list[str] | None:
    """Those of what `hx --health LANGUAGE` prints."""
    lines = re.sub(r"\x1b\[[0-9;]*m", "", health).splitlines()
    for number, line in enumerate(lines):
        if line.startswith("Configured language server"):
            found = []
            for below in lines[number + 1 :]:
                if not below.startswith(" "):
                    break
                if match := _NAMED.match(below):
                    found.append(match[1])
            return found
    return None


def with_server(text: str, command: Sequence[str], servers: Mapping[str, Sequence[str]]) -> str:
    """The text with our server, and with it behind those of each language. Raises TomlError."""
    old = _read(text)
    newline = "\r\n" if "\r\n" in text else "\n"
    own = {each.get("name"): each for each in old.get("language", [])}
    result = text
    added: list[str] = []
    for language, configured in servers.items():
        if language not in own:
            added += ["", "[[language]]", f'name = "{language}"', _listed([*configured, SERVER])]
        elif SERVER not in _names(own[language].get("language-servers", configured)):
            result = _in_place(result, language, configured)
    if SERVER not in old.get("language-server", {}):
        args = ", ".join(f'"{argument}"' for argument in command[1:])
        about = [f"command = {_string(command[0])}", f"args = [{args}]"]
        added = [f"[language-server.{SERVER}]", *about, *added]
        added = ["", *added] if text.strip() else added
    if added:
        result += "" if not result or result.endswith("\n") else newline
        result += newline.join([*added, ""])
    if _read(result) != _expected(old, command, servers):
        raise TomlError("its tables are written in a way that cannot be added to")
    return result


def without_server(text: str, written: str) -> str:
    """The text without our server; of what was `written` those tables of languages go that still
    stand there alike. Raises TomlError."""
    old = _without(_read(text))
    result = _LANGUAGE_TABLE.sub(lambda it: "" if it[0].strip() in written else it[0], text)
    result = _SERVER_TABLE.sub("", result)
    result = _LIST.sub(lambda it: f"{it[1]}{_ITEM.sub('', it[2])}]", result)
    new = _read(result)
    if _without(new) != old or SERVER in new.get("language-server", {}) or SERVER in _listing(new):
        raise TomlError("our lines were changed so that they cannot be taken out safely")
    return result


def _without(data: Mapping[str, Any]) -> dict[str, Any]:
    """All but our server, and but languages of which nothing else is said than their servers."""
    servers = {name: it for name, it in data.get("language-server", {}).items() if name != SERVER}
    languages = []
    for language in data.get("language", []):
        if language.keys() - {"name", "language-servers"}:
            listed = language.get("language-servers", [])
            languages.append({**language, "language-servers": [x for x in listed if x != SERVER]})
    return {**data, "language-server": servers, "language": languages}


def _listing(data: Mapping[str, Any]) -> list[Any]:
    """All servers of all languages."""
    return [
        name
        for language in data.get("language", [])
        for name in _names(language.get("language-servers", []))
    ]


def _expected(
    old: Mapping[str, Any], command: Sequence[str], servers: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    ours = {"command": command[0], "args": list(command[1:])}
    languages = [dict(each) for each in old.get("language", [])]
    for name, configured in servers.items():
        mine = next((each for each in languages if each.get("name") == name), None)
        if mine is None:
            languages.append(mine := {"name": name})
        listed = mine.get("language-servers", configured)
        if SERVER not in _names(listed):
            mine["language-servers"] = [*listed, SERVER]
    known = {SERVER: ours} | old.get("language-server", {})
    listed_languages = {"language": languages} if languages else {}
    return {**old, "language-server": known, **listed_languages}


def _names(listed: Sequence[Any]) -> list[Any]:
    return [each.get("name") if isinstance(each, dict) else each for each in listed]


def _in_place(text: str, language: str, configured: Sequence[str]) -> str:
    """A language's table with the server; what is wrong with that is found out by reading it."""
    table = re.compile(
        r"^[ \t]*\[\[language\]\](?:(?!^[ \t]*\[)[\s\S])*?"
        rf"^[ \t]*name\s*=\s*[\"']{re.escape(language)}[\"'][^\n]*\n(?:(?!^\[)[\s\S])*",
        re.MULTILINE,
    )
    found = table.search(text)
    if not found:
        raise TomlError(f"the table of {language} cannot be found")
    body = found[0]
    if listed := _LIST.search(body):
        at = _past_last_item(body, listed.end(1), listed.end(2))
        comma = ", " if body[listed.end(1) : at].strip() and body[at - 1] != "," else ""
        space = " " if body[at - 1] == "," else ""
        body = f'{body[:at]}{comma}{space}"{SERVER}"{body[at:]}'
    else:
        line = _listed([*configured, SERVER])
        body = _NAME_LINE.sub(lambda name: f"{name[0]}\n{line}", body, count=1)
    return text[: found.start()] + body + text[found.end() :]


def _past_last_item(text: str, start: int, end: int) -> int:
    """Behind the last item of a list or its comma, before white space and comments."""
    last = start
    for part in _PART.finditer(text, start, end):
        if not part[0].isspace() and not part[0].startswith("#"):
            last = part.end()
    return last


def _listed(servers: Sequence[str]) -> str:
    return f"language-servers = [{', '.join(map(_string, servers))}]"


def _string(text: str) -> str:
    return "'" + text + "'" if "\\" in text else f'"{text}"'


def _read(text: str) -> dict[str, Any]:
    try:
        data = tomllib.loads(text)
    except ValueError as error:  # also a number of more digits than Python reads
        raise TomlError(str(error)) from error
    except RecursionError as error:
        raise TomlError("its lists or tables are too deep") from error
    if not isinstance(data.get("language-server", {}), dict):
        raise TomlError("language-server is no table")
    languages = data.get("language", [])
    if not (isinstance(languages, list) and all(isinstance(each, dict) for each in languages)):
        raise TomlError("language is no list of tables")
    for language in languages:
        if not isinstance(language.get("name", ""), str):
            raise TomlError(f"a language has the name {language['name']!r}")
        if not isinstance(language.get("language-servers", []), list):
            raise TomlError(f"language-servers of {language.get('name')} is no list")
    return data
