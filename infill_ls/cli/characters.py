"""Text of files and servers as a terminal may get it: no character of it does anything there."""

import unicodedata


def visible(text: str) -> str:
    """What would move the cursor, ring or change direction becomes a picture of it or `�`.

    Line feeds and tabs stay.
    """
    return text if text.isprintable() else "".join(map(_shown, text))


def _shown(character: str) -> str:
    if character.isprintable() or character in "\n\t":
        return character
    if ord(character) < 0x20:
        return chr(0x2400 + ord(character))
    # Controls, directions and separators; white space that only looks odd stays.
    return character if unicodedata.category(character) == "Zs" else "�"
