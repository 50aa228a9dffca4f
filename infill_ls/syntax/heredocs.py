"""Here-documents by the id of their language, and YAML's blocks, which are like them: they begin
with the next line. Data, and what a beginning of one says."""

import re
from dataclasses import dataclass

from infill_ls.syntax.language import is_known

HEREDOCS = {
    "shellscript": r"<<(?P<trim>-?)[ \t]*(?P<mark>'[^'\n]+'|\"[^\"\n]+\"|\\?[A-Za-z_][\w.-]*)",
    "dockerfile": r"<<(?P<trim>-?)(?P<mark>'[^'\n]+'|\"[^\"\n]+\"|[A-Za-z_]\w*)",
    "ruby": r"<<(?:(?P<trim>[~-])(?P<mark>['\"`]?\w+['\"`]?)|(?P<plain>['\"`]?[A-Z]\w*['\"`]?))",
    "crystal": r"<<(?P<trim>-)(?P<mark>'\w+'|\w+)",
    "perl": r"<<(?P<trim>~?)(?P<mark>'[^'\n]+'|\"[^\"\n]+\"|[A-Z_]\w*)",
    "terraform": r"<<(?P<trim>-?)(?P<mark>[A-Za-z_]\w*)",
    "php": r"<<<(?P<trim>)[ \t]*(?P<mark>['\"]?\w+['\"]?)(?=[ \t]*(?:\n|\Z))",
    "yaml": r"(?P<mark>[|>])(?<=[:-][ ].)[-+\d]{0,2}(?=[ \t]*(?:\n|\Z|[ ]\#))",
}
"""What they begin with."""
_CODE = {
    "shellscript": ("$(", "${"),
    "ruby": ("#{",),
    "crystal": ("#{",),
    "perl": ("@{[", "${\\("),
    "terraform": ("${", "%{"),
    "php": ("{$", "${"),
}
_QUOTES = {"shellscript": "'\"\\", "dockerfile": "'\""}  # that make one plain text; elsewhere '
_KEY = re.compile(r"[ ]*(?:-[ ]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Heredoc:
    """`mark` ends it, alone on a line, or indented and followed by something where it is
    `trimmed`; of a YAML block it is the indentation of what the block belongs to. `code` are what
    begins code in it; it is `foreign` where it is in a language of its own."""

    mark: str
    trimmed: bool
    code: tuple[str, ...]
    foreign: bool


def heredoc(language_id: str, found: re.Match[str], line: str) -> Heredoc | None:
    """What such a beginning says behind `line`; None where it is a shift in arithmetic."""
    if language_id == "yaml":
        return _block(found["mark"], line)
    if line.count("((") > line.count("))"):
        return None
    named = found.groupdict()
    said = named["mark"] or named.get("plain") or ""
    plain = said[:1] in tuple(_QUOTES.get(language_id, "'"))
    mark = said.strip("'\"`\\")
    # A Dockerfile's is a script or a file; elsewhere the mark may name the language.
    other = language_id == "dockerfile" or (len(mark) > 1 and is_known(mark))
    return Heredoc(
        mark=mark,
        trimmed=bool(named["trim"]) or language_id == "php",
        code=() if plain else _CODE.get(language_id, ()),
        foreign=other,
    )


def _block(mark: str, line: str) -> Heredoc:
    """Folded lines are prose; what keeps its lines is a script or a file, mostly."""
    head = _KEY.match(line)
    indentation = line[: head.end()] if head else ""
    if indentation == line:  # of the list itself
        indentation = indentation.rstrip().removesuffix("-")
    return Heredoc(mark=" " * len(indentation), trimmed=True, code=(), foreign=mark == "|")
