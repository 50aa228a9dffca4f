"""Which document a URI names, however a client quotes it. Knows nothing of documents or files.

Clients quote differently (`c%3A`, `c:`, `C:`; `%E9`, `%e9`), some not at all (`#`, `?`, a space),
and names on a disk need not be UTF-8. Two URIs are one document exactly when their keys are equal.
Nothing here raises, whatever it is given.
"""

import re
from functools import lru_cache
from urllib.parse import quote, unquote_to_bytes

# One letter is no scheme but a Windows drive.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(.*)", re.DOTALL)
_AUTHORITY = re.compile(r"//([^/?#]*)(.*)", re.DOTALL)
_PARTS = re.compile(r"([^?#]*)(\?[^#]*)?(#.*)?", re.DOTALL)
_DRIVE = re.compile(r"/?([A-Za-z]:)((?:[/\\].*)?)", re.DOTALL)
_SAFE = ":@!$&'()*+,;=~"  # and letters, digits and _.-


@lru_cache(maxsize=1024)
def document_key(uri: str) -> str:
    """The one spelling of a URI under which its document is kept: a URI too, and its own key."""
    scheme, rest = _split(uri)
    if scheme == "file":
        path = _file_path(rest)
        before = "/" if _DRIVE.fullmatch(path) else ""
        return "file:" + ("//" if (before + path).startswith("/") else "") + before + _quoted(path)
    authority, path, query, fragment = _parts(rest)
    named = authority or path.startswith("//")
    return (
        f"{scheme}:"
        + (f"//{quote(_bytes(authority), safe=_SAFE)}" if named else "")
        + _quoted(path)
        + ("?" + _quoted(query[1:]) if query else "")
        + ("#" + _quoted(fragment[1:]) if fragment else "")
    )


@lru_cache(maxsize=1024)
def path_of(uri: str) -> str | None:
    """The path in a URI, decoded; None where there is none that a file can have.

    Of a `file:` URI it is what the system calls the file: `/home/me/a.py`, `c:/a.py`,
    `//server/share/a.py`; bytes that are not UTF-8 are kept as `os.fsencode` wants them. A `#` or
    `?` in one belongs to a name: no client means anything else by it, and some do not quote it.
    Of other schemes neither the query nor the fragment is part of it, so that a notebook's cell
    has the notebook's path, and `untitled:a.py` has `a.py`.
    """
    scheme, rest = _split(uri)
    if scheme == "file":
        path = _file_path(rest)
    else:
        authority, path, _, _ = _parts(rest)
        path = (path.removeprefix("/") if _DRIVE.fullmatch(path) else path) or authority
    return path if path and "\0" not in path else None


def _split(uri: str) -> tuple[str, str]:
    """The scheme and what follows it; a path alone is a file's."""
    found = _SCHEME.fullmatch(uri)
    return (found[1].lower(), found[2]) if found else ("file", uri)


def _file_path(rest: str) -> str:
    found = _AUTHORITY.fullmatch(rest)
    host, path = (_decoded(part) for part in (found.groups() if found else ("", rest)))
    if _DRIVE.fullmatch(host):  # `file://c:/a.py`, with a slash too few
        path = host + path
    elif host and host.lower() != "localhost":
        path = f"//{host.lower()}{path}"
    drive = _DRIVE.fullmatch(path)
    return drive[1].lower() + drive[2].replace("\\", "/") if drive else path


def _parts(rest: str) -> tuple[str, str, str, str]:
    """Authority, path, query with its `?`, and fragment with its `#`; "" where there is none."""
    found = _AUTHORITY.fullmatch(rest)
    authority, rest = (_decoded(found[1]).lower(), found[2]) if found else ("", rest)
    parts = _PARTS.fullmatch(rest)
    assert parts is not None, "it matches anything"
    path, query, fragment = (_decoded(part or "") for part in parts.groups())
    if drive := _DRIVE.fullmatch(path):
        path = path.replace(drive[1], drive[1].lower(), 1)
    return authority, path, query, fragment


def _decoded(text: str) -> str:
    """One string for the same bytes, UTF-8 or not."""
    data = unquote_to_bytes(text.encode("utf-8", "surrogatepass"))
    return data.decode("utf-8", "surrogateescape")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _quoted(path: str) -> str:
    return quote(_bytes(path), safe="/" + _SAFE)
