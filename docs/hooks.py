"""The site from the repository's own Markdown: what stands there is shown, not written twice.

    {{ FILE }}            the whole file, without its title
    {{ FILE # HEADING }}  what stands below that heading
    {{ settings }}        the settings, from infill_ls/settings.py

Links in it lead to the pages of the site, and to nothing that is not there: `make docs` is strict.
MkDocs calls the functions whose names begin with `on_`.
"""

import json
import posixpath
import re
from pathlib import Path
from typing import Any

from infill_ls.settings import OPTIONS, Option

ROOT = Path(__file__).parents[1]
_PART = re.compile(r"^\{\{ (?P<file>\S+?)(?: # (?P<heading>.+?))? \}\}$", re.MULTILINE)
_LINK = re.compile(r"(?P<before>\]\()(?P<target>[^)\s]+)(?P<after>\))")
_HEADING = re.compile(r"^(#+) (.+?)\s*$")
_CODE = re.compile(r"^```.*?^```[^\n]*$|`[^`\n]*`", re.MULTILINE | re.DOTALL)

# Files of the repository that are pages or pictures of the site.
SITE = {
    "README.md": "index.md",
    "editors/README.md": "editors/index.md",
    "editors/neovim/README.md": "editors/neovim.md",
    "editors/neovim": "editors/neovim.md",
    "editors/vscode/README.md": "editors/vscode.md",
    "editors/vscode": "editors/vscode.md",
    "docs/deploy/README.md": "team.md",
    "ARCHITECTURE.md": "architecture.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "privacy.md",
    "LICENSE": "licence.md",
    "engine/infill_engine/weights/MODEL_CARD.md": "model-card.md",
    "engine/infill_engine/weights/JUDGE_CARD.md": "judge-card.md",
    "engine/infill_engine/weights/DATA_NOTICE.md": "data-notice.md",
    "editors/vscode/images/screenshot.png": "images/vscode.png",
    "editors/neovim/screenshot.svg": "images/neovim.svg",
    "benchmarks/quality.png": "images/quality.png",
}
# Sections of files above that have a page of their own.
SECTIONS = {
    ("editors/README.md", "over-http"): "editors/http.md",
}


class DocsError(Exception):
    """A page asks for what is not there."""


def on_files(files: Any, config: Any) -> Any:
    """The pictures that lie elsewhere in the repository."""
    from mkdocs.structure.files import File

    for source, target in SITE.items():
        if target.startswith("images/"):
            files.append(File.generated(config, target, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    return filled(markdown, page.file.src_uri)


def filled(markdown: str, page: str) -> str:
    """A page with its parts in it. Raises DocsError."""

    def part(match: re.Match[str]) -> str:
        file, heading = match["file"], match["heading"]
        if file == "settings":
            return settings()
        text = (ROOT / file).read_text(encoding="utf-8")
        if file == "LICENSE":
            return f"```\n{text}```"
        body = section(text, heading, file) if heading else without_title(text)
        return relinked(body, file, page)

    return _PART.sub(part, markdown)


def without_title(text: str) -> str:
    return re.sub(r"\A# .*\n+", "", text)


def section(text: str, heading: str, file: str) -> str:
    """What stands below a heading, up to the next one of its level or above."""
    lines, taken, level, in_code = text.splitlines(), [], 0, False
    for line in lines:
        in_code ^= line.startswith("```")
        found = None if in_code else _HEADING.match(line)
        if level and found and len(found[1]) <= level:
            break
        if level:
            taken.append(line)
        elif found and found[2] == heading:
            level = len(found[1])
    if not level:
        raise DocsError(f"{file} has no heading {heading!r}")
    return "\n".join(taken).strip() + "\n"


def relinked(text: str, file: str, page: str) -> str:
    """Links that are relative to `file` as links of `page`. Raises DocsError for one to a file
    that is neither a page nor a picture of the site."""

    def link(match: re.Match[str]) -> str:
        target, _, anchor = match["target"].partition("#")
        if re.match(r"[a-z]+:", target):
            return match[0]
        named = (
            posixpath.normpath(posixpath.join(posixpath.dirname(file), target)) if target else file
        )
        to = SECTIONS.get((named, anchor))
        if to is None:
            if named not in SITE:
                raise DocsError(f"{file} links to {target}, which is no page of the site")
            to = SITE[named] + (f"#{anchor}" if anchor else "")
        relative = posixpath.relpath(to, posixpath.dirname(page) or ".")
        return f"{match['before']}{relative}{match['after']}"

    pieces, at = [], 0
    for code in _CODE.finditer(text):
        pieces += [_LINK.sub(link, text[at : code.start()]), code[0]]
        at = code.end()
    return "".join([*pieces, _LINK.sub(link, text[at:])])


def settings() -> str:
    return "\n".join(setting(option) for option in OPTIONS)


def setting(option: Option) -> str:
    default = json.dumps(option.default, ensure_ascii=False)
    return (
        f"### {option.name}\n\n{option.about}\n\nTakes {option.allowed}; unless set `{default}`.\n"
    )
