"""How a text is indented, and how it should be where the cursor stands."""

import re

from infill_ls.completion.context import Context
from infill_ls.completion.lines import last_filled, width


def indented(text: str, context: Context) -> str:
    """With the file's own indentation, and the first line joined to what is typed of it."""
    before = context.line_before
    if before.strip() or not text[:1].isspace():
        return _in_units(text, context)
    # The cursor stands on a line of its own: no empty lines, and no second indentation.
    starts_below = "\n" in text[: len(text) - len(text.lstrip())]
    text = text.lstrip("\n") if not starts_below else re.sub(r"\A\s*\n", "", text)
    content = text.lstrip(" \t")
    lead = width(text[: len(text) - len(content)] + "x")
    here = width(before)
    if starts_below and lead < here:
        return ""  # it belongs to a block further out
    lead = lead - here if starts_below else lead
    step = width(context.indentation + "x")
    plausible = here + lead <= _expected_width(context) and (here + lead) % step == 0
    first = context.indentation * (lead // step) + " " * (lead % step) if plausible else ""
    return first + _in_units(content, context)


def _expected_width(context: Context) -> int:
    """How far the cursor's line should be indented, going by the line before it."""
    last = last_filled(context.prefix[: len(context.prefix) - len(context.line_before)])
    opens = last.rstrip()[-1:] in ("{", "(", "[", ":")
    return width(last) + (width(context.indentation + "x") if opens else 0)


def _in_units(text: str, context: Context) -> str:
    """Tabs or spaces as the file has them, at the start of every line but the first."""
    head, newline, rest = text.partition("\n")
    if not newline or not re.search("^ |^\t", rest, re.MULTILINE):
        return text
    if context.language.id == "shellscript" and "<<" in text:
        return text  # in a here-document white space is text
    if context.indentation == "\t":
        step = _step(rest)
        rest = re.sub(
            r"^[ \t]+",
            lambda match: (
                "\t" * (match[0].count("\t") + match[0].count(" ") // step)
                + " " * (match[0].count(" ") % step)
            ),
            rest,
            flags=re.MULTILINE,
        )
    elif "\t" in rest:
        rest = re.sub(
            r"^[ \t]+",
            lambda match: match[0].replace("\t", context.indentation),
            rest,
            flags=re.MULTILINE,
        )
    return head + newline + rest


def _step(text: str) -> int:
    """How many spaces one level has in a text that is indented with spaces."""
    widths = [len(match[0]) for match in re.finditer(r"^ +", text, re.MULTILINE)]
    return 4 if all(width % 4 == 0 for width in widths) else 2
