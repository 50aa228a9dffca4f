"""A document is the same however its URI is quoted, and another one is another."""

import os
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infill_ls.uris import document_key, path_of

SAME = [
    ("file:///c%3A/a%20b.py", "file:///c:/a b.py", "file:///C:/a%20b.py", "file:///C%3a/a b.py"),
    ("file:///c:/a.py", "file://c:/a.py", "file:/C:/a.py", "C:\\a.py", "c:/a.py"),
    ("file:///caf%C3%A9.py", "file:///café.py", "file:///caf%c3%a9.py"),
    ("file:///caf%E8.py", "file:///caf%e8.py"),
    ("file:///w/a%23b.py", "file:///w/a#b.py"),
    ("file:///w/what%3F.py", "file:///w/what?.py"),
    ("file:///a.py", "file:/a.py", "FILE:///a.py", "file://localhost/a.py", "/a.py"),
    ("file://server/share/a.py", "file://SERVER/share/a.py", "file:////server/share/a.py"),
    ("file:///a%5B1%5D.py", "file:///a[1].py", "file:///%61[1].py"),
    ("untitled:Untitled-1", "untitled:Untitled%2D1"),
    ("vscode-notebook-cell:/n.ipynb#W0s", "vscode-notebook-cell:///n.ipynb#W0s"),
    ("vfs:/c%3A/a.py", "vfs:/C:/a.py", "vfs:///c:/a.py"),
]
DIFFERENT = [
    ("file:///caf%E8.py", "file:///caf%E9.py", "file:///caf%EF%BF%BD.py", "file:///café.py"),
    ("file:///a.py", "file:///A.py", "file:a.py", "vfs:///a.py", "file://a.py", "file:///a.py/"),
    ("file:///a%2541.py", "file:///a%41.py", "file:///aA.py%20"),
    ("file:///w/a#b.py", "file:///w/a", "file:///w/a?b.py", "file:///w/a#c.py"),
    ("nb:/n.ipynb#1", "nb:/n.ipynb#2", "nb:/n.ipynb", "nb:/n.ipynb%231", "nb:/n.ipynb?1"),
    ("file:///c:/a.py", "file:///d:/a.py", "file:///cc:/a.py"),
    ("vfs:/%2Fa", "vfs://a"),
]


@pytest.mark.parametrize("uris", SAME, ids=lambda uris: uris[0])
def test_one_document_has_one_key(uris: tuple[str, ...]) -> None:
    assert len({document_key(uri) for uri in uris}) == 1
    assert len({path_of(uri) for uri in uris}) == 1


@pytest.mark.parametrize("uris", DIFFERENT, ids=lambda uris: uris[0])
def test_other_documents_have_other_keys(uris: tuple[str, ...]) -> None:
    assert len({document_key(uri) for uri in uris}) == len(uris)


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("file:///home/me/a%20b.py", "/home/me/a b.py"),
        ("file:///c%3A/Users/me/a.py", "c:/Users/me/a.py"),
        ("file:///w/c#/.env", "/w/c#/.env"),
        ("file:///w/what?/.env", "/w/what?/.env"),
        ("file://server/share/a.py", "//server/share/a.py"),
        ("file://[abc/a.py", "//[abc/a.py"),
        ("file:///caf%E8.py", "/caf\udce8.py"),
        ("untitled:a.py", "a.py"),
        ("untitled://a.py", "a.py"),
        ("vscode-notebook-cell:/w/n.ipynb#W0s", "/w/n.ipynb"),
        ("git:/w/a.py?%7B%22ref%22%3A%22~%22%7D", "/w/a.py"),
        ("vfs:/C%3A/a.py", "c:/a.py"),
        ("/w/a.py", "/w/a.py"),
        ("a.py", "a.py"),
        ("file:///a%00b.py", None),
        ("file:", None),
        ("", None),
    ],
)
def test_the_path_is_what_the_system_calls_the_file(uri: str, path: str | None) -> None:
    assert path == path_of(uri)


names = st.binary(min_size=1, max_size=12).filter(lambda name: not set(name) & {0, ord("/")})


@given(st.lists(names, min_size=1, max_size=4), st.data())
def test_every_path_of_the_system_comes_back_however_it_is_quoted(
    parts: list[bytes], data: st.DataObject
) -> None:
    path = b"/" + b"/".join(parts)
    text = os.fsdecode(path)
    if len(parts[0]) == 2 and parts[0][1:] == b":" and parts[0][:1].isalpha():
        return  # a drive on Windows

    def quoted(byte: int) -> str:
        kept = chr(byte).isascii() and byte != ord("%")
        style = data.draw(st.sampled_from(["as it is", "upper", "lower"])) if kept else "upper"
        return chr(byte) if style == "as it is" else getattr(f"%{byte:02x}", style)()

    written = "file:///" + "".join(map(quoted, path[1:]))
    assert path_of(written) == text
    assert document_key(written) == document_key("file://" + quote(path))
    assert os.fsencode(path_of(written) or "") == path


@given(st.text(alphabet=st.characters()) | st.from_regex(r"[a-zA-Z]{1,5}:[/cC:?#%a2F\\\[\]@]*"))
def test_nothing_is_no_uri_and_a_key_is_its_own_key(uri: str) -> None:
    key = document_key(uri)

    assert document_key(key) == key
    assert path_of(key) == path_of(uri)
    key.encode("ascii")


@given(names, names)
def test_two_names_are_two_documents(one: bytes, other: bytes) -> None:
    keys = {document_key(f"file:///w/{quote(name)}") for name in (one, other)}

    assert len(keys) == len({one, other})
