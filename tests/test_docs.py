"""The site has every page that it names, and every part of the repository that a page asks for;
`make docs` checks its links one by one."""

import posixpath
import re
from pathlib import Path

import pytest

from docs.hooks import SITE, DocsError, filled, relinked, section
from infill_ls.settings import OPTIONS

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
# What is for a team's machines is read as a part of a page.
PAGES = sorted(
    path.relative_to(DOCS).as_posix()
    for path in DOCS.rglob("*.md")
    if path.parent != DOCS / "deploy"
)
NAMED = re.findall(r"^\s*- (?:.+: )?(\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
PICTURES = {path.relative_to(DOCS).as_posix() for path in (DOCS / "images").iterdir()}


def test_every_page_is_in_the_menu_once() -> None:
    assert sorted(NAMED) == PAGES
    assert set(SITE.values()) <= set(PAGES) | {to for to in SITE.values() if "images/" in to}


@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_its_parts_and_links_to_what_is_there(page: str) -> None:
    markdown = filled((DOCS / page).read_text(encoding="utf-8"), page)
    known = {*PAGES, *PICTURES, *SITE.values()}
    prose = re.sub(r"^```.*?^```|`[^`\n]*`", "", markdown, flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)", prose)
    wrong = [
        link
        for link in links
        if not re.match(r"[a-z]+:", link)
        and posixpath.normpath(posixpath.join(posixpath.dirname(page), link)) not in known
    ]

    assert markdown.startswith("# ")
    assert "{{" not in prose
    assert wrong == []


def test_every_setting_is_explained() -> None:
    page = filled((DOCS / "settings.md").read_text(encoding="utf-8"), "settings.md")

    for option in OPTIONS:
        assert f"\n### {option.name}\n\n{option.about}\n\nTakes {option.allowed}; " in page
    assert 'unless set `["plaintext", ' in page
    assert "true or false; unless set `true`" in page


def test_a_part_ends_with_its_section_and_code_has_no_headings() -> None:
    text = "# A\n## B\nb\n```\n## no heading\n```\n### C\nc\n## D\nd\n"

    assert section(text, "B", "x.md") == "b\n```\n## no heading\n```\n### C\nc\n"
    with pytest.raises(DocsError, match=r"x\.md has no heading 'E'"):
        section(text, "E", "x.md")


def test_links_lead_from_page_to_page_and_code_is_left_alone() -> None:
    text = (
        "[a](neovim) [b](#over-http) `[c](neovim)` [d](https://x.org/y) [e](../README.md#start)\n"
    )
    moved = relinked(text, "editors/README.md", "editors/http.md")

    assert moved == (
        "[a](neovim.md) [b](http.md) `[c](neovim)` [d](https://x.org/y) [e](../index.md#start)\n"
    )
    with pytest.raises(DocsError, match="links to tests/e2e, which is no page"):
        relinked("[x](tests/e2e)", "README.md", "index.md")
