"""What a language model is asked that has the edit in view: whether a place goes on with the new
lines, or with those that are there."""

from dataclasses import dataclass

from infill_ls.completion.next_edit.proposal import Proposal, Site

_ABOVE, _BESIDE = 3, 1  # lines over the place, and on both sides of the edit
_LONGEST = 160  # characters of a line


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternatives:
    """What stands before a place, and what may stand there: new, or old as it is."""

    before: str
    new: str
    old: str


def alternatives(site: Site, proposal: Proposal) -> Alternatives:
    lines, change = site.lines, site.change
    edited = lines[max(change.first - _BESIDE, 0) : change.end + _BESIDE]
    if not site.has_edit:
        edited = (change.above, *change.new, change.below)
    above = lines[max(proposal.first - _ABOVE, 0) : proposal.first]
    below = lines[proposal.end : proposal.end + 1]
    return Alternatives(
        before=f"{_text(edited)}\n{_text(above)}",
        new=_text((*proposal.lines, *below)),
        old=_text((*lines[proposal.first : proposal.end], *below)),
    )


def _text(lines: tuple[str, ...]) -> str:
    return "".join(f"{line[:_LONGEST]}\n" for line in lines)
