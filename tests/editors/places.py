"""What is typed in the editors, and where.

What the model says is its own affair. It is asked in files that say the same over and over, behind
a beginning of it, and behind one more letter of it until it has something that fits the test; the
test then holds everything else to what it said.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A line to be typed on the empty line between `before` and `after`, and how many characters
    of it at least."""

    before: str
    line: str
    least: int
    after: str
    newline: str = "\n"

    @property
    def row(self) -> int:
        """1-based."""
        return self.before.count("\n") + 1

    def file(self, line: str = "") -> bytes:
        text = f"{self.before}{line}\n{self.after}"
        return text.replace("\n", self.newline).encode()


def over_and_over(template: str, times: int) -> str:
    return "".join(template.format(number) for number in range(1, times + 1))


READS = over_and_over("value_{} = store.read(0)\n", 30)
LINE = Place(
    before=READS,
    line="value_31 = store.read(0)",
    least=len("value_31 = sto"),
    after="print(value_1)\n",
)
# The same where its rest is hardly in doubt.
SURE = replace(LINE, least=len("value_31 = store.re"))
# Characters of one to four bytes, of one and two UTF-16 units.
WIDE = Place(
    before=over_and_over("größe['日本 😀'] = lager.lies('é 😀', {})\n", 30),
    line="größe['日本 😀'] = lager.lies('é 😀', 31)",
    least=len("größe['日本 😀'] = lag"),
    after="print(größe)\n",
)
WIDE_CRLF = Place(
    before=WIDE.before, line=WIDE.line, least=WIDE.least, after=WIDE.after, newline="\r\n"
)


def _list(template: str, item: str) -> Place:
    return Place(
        before=over_and_over(template, 12) + template.format(13).split("\n")[0] + "\n",
        line=f"    {item}",
        least=4,
        after=template.rstrip("\n").rpartition("\n")[2] + "\n\nprint(store)\n",
    )


BRACKETS = (
    _list("values_{} = [\n    1,\n    2,\n    3,\n]\n", "1,"),
    _list(
        'parser.add_argument(\n    "--name",\n    type=str,\n    default=None,\n    help="",\n)\n',
        '"--name",',
    ),
    _list("table_{} = {{\n    'red': 0,\n    'green': 0,\n    'blue': 0,\n}}\n", "'red': 0,"),
    _list('names_{} = [\n    "a",\n    "b",\n    "c",\n    "d",\n]\n', '"a",'),
    _list("values = [\n    0,\n    0,\n    0,\n    0,\n]\n", "0,"),
)


def several_words(ghost: str) -> bool:
    return len(re.findall(r"\w+|[^\w\s]+", ghost)) > 1


def several_lines(ghost: str) -> bool:
    return "\n" in ghost.strip("\n")


def typed_on(
    place: Place,
    type_: Callable[[str], None],
    ghosts: Callable[[], str],
    fits: Callable[[str], object],
) -> tuple[str, str] | None:
    """Types the place's line until the ghost text behind it fits: both, or None if none does."""
    type_(place.line[: place.least])
    for end in range(place.least, len(place.line) + 1):
        if fits(ghost := ghosts()):
            return place.line[:end], ghost
        type_(place.line[end : end + 1])
    return None
