"""What stands between brackets, of a line. Knows no strings: one with a bracket in it is not
taken for plain."""

_PAIRS = {"(": ")", "[": "]", "{": "}"}


def balanced(text: str) -> bool:
    """Whether every bracket has its partner."""
    waiting: list[str] = []
    for character in text:
        if character in _PAIRS:
            waiting.append(_PAIRS[character])
        elif character in ")]}" and (not waiting or waiting.pop() != character):
            return False
    return not waiting


def arguments(line: str, start: int) -> tuple[list[str], int] | None:
    """What commas part between brackets of which the first was opened before `start`, and the
    offset behind the last; None where it is not closed on the line, or a part is empty."""
    depth, found = 0, [""]
    for at in range(start, len(line)):
        character = line[at]
        if character in ")]}" and not depth:
            values = [each.strip() for each in found]
            if not values[-1]:
                values.pop()
            return (values, at + 1) if all(values) and all(map(balanced, values)) else None
        depth += character in _PAIRS
        depth -= character in ")]}"
        if character == "," and not depth:
            found.append("")
        else:
            found[-1] += character
    return None
