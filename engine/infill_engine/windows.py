"""How much of each side is read, chosen so that the far borders stay where they are while typing.

A border that moved with the cursor would make every keystroke encode everything again. The border
is therefore a property of the text itself: among the line starts near the greatest distance, the
one whose line has the smallest hash (winnowing). It stays when text is typed at the cursor, when
the cursor moves, and when lines elsewhere change, and it needs no memory of earlier requests.
"""

import zlib


def prefix_window(text: str, most: int) -> str:
    """The end of `text` that is read, at most `most` characters, from a line start if it can."""
    if len(text) <= most:
        return text
    low = len(text) - most
    high = low + most // 3
    best, start = -1, -1
    at = text.find("\n", low - 1, high) + 1 if low else 0
    while 0 < at <= high:
        end = text.find("\n", at, at + 200)
        rank = zlib.crc32(text[at : end if end >= 0 else at + 200].encode("utf-8", "replace"))
        if start < 0 or rank < best:
            best, start = rank, at
        following = text.find("\n", at, high)
        if following < 0:
            break
        at = following + 1
    # One endless line: borders at multiples of 64 characters stay for 64 keystrokes.
    return text[start if start >= 0 else -(-low // 64) * 64 :]


def suffix_window(text: str, most: int) -> str:
    """The beginning of `text` that is read, at most `most` characters, up to a line end."""
    if len(text) <= most:
        return text
    low = most - most // 3
    best, end = -1, -1
    at = text.find("\n", low, most)
    while at >= 0:
        start = text.rfind("\n", max(0, at - 200), at) + 1
        rank = zlib.crc32(text[start:at].encode("utf-8", "replace"))
        if end < 0 or rank < best:
            best, end = rank, at
        at = text.find("\n", at + 1, most)
    return text[: end if end >= 0 else most]


def last_tokens(ids: list[int], most: int, chunk: int = 64) -> list[int]:
    """The last `most` ids at the most, dropping whole chunks so that the border rarely moves."""
    excess = len(ids) - most
    return ids if excess <= 0 else ids[-(-excess // chunk) * chunk :]


def first_tokens(ids: list[int], most: int, chunk: int = 64) -> list[int]:
    """The first `most` ids at the most, likewise."""
    excess = len(ids) - most
    return ids if excess <= 0 else ids[: len(ids) + (-excess // chunk) * chunk]
