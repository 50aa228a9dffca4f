"""What becomes of suggestions: what clients say of those they showed, and what of accepted text is
still there after a while. Counted, and no text is kept longer than that."""

import asyncio
from dataclasses import dataclass
from typing import Any

from infill_ls.completion.acceptance import totals
from infill_ls.completion.offers import KEPT_SECONDS, OfferedItem, Taken, kept
from infill_ls.server import lsp
from infill_ls.server.fields import Fields
from infill_ls.server.greeting import ACCEPTED
from infill_ls.server.handlers import AtOnce, Handlers
from infill_ls.server.params import no_params
from infill_ls.server.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class PartlyAcceptedParams:
    """Lengths are units of UTF-16 of the item's text; `typed` of them were there before."""

    item: OfferedItem | None
    accepted: int
    typed: int


def partly_accepted_params(fields: Fields) -> PartlyAcceptedParams:
    command = fields.nested_or_empty("item").nested_or_empty("command")
    return PartlyAcceptedParams(
        item=offered_item(command),
        accepted=fields.number_or_none("acceptedLength") or 0,
        typed=fields.number_or_none("typedLength") or 0,
    )


def offered_item(command: Fields) -> OfferedItem | None:
    """Which item a command is about; None where it does not say so."""
    if not isinstance(command.optional("arguments"), list):
        return None
    said = next(command.array("arguments"), None)
    numbers = [said.number_or_none(name) for name in ("offer", "choice", "base")] if said else []
    match numbers:
        case [int(offer), int(choice), int(base)]:
            return OfferedItem(offer=offer, choice=choice, base=base)
        case _:
            return None


def did_partially_accept(session: Session, params: PartlyAcceptedParams) -> None:
    """Copilot's didPartiallyAcceptCompletion, with `typedLength`, which that has not."""
    follow(session, session.offers.accepted_to(params.item, params.accepted, params.typed))


def accepted(session: Session, item: OfferedItem | None) -> None:
    """What the command of an item says when it was inserted."""
    follow(session, session.offers.accepted(item))


def follow(session: Session, taken: Taken | None) -> None:
    """Looks again, after a while, at what was accepted."""
    if taken is not None:
        part = "the rest" if taken.whole else "a part"
        session.log(f"accepted {taken.end - taken.start} characters, {part} of a suggestion")
        session.start(_look_again(session, taken))


def statistics(session: Session) -> dict[str, Any]:
    """What `infill-ls stats --json` prints."""
    session.acceptance.follow(after=0.0)
    return totals(session.acceptance)


def reset_learned(session: Session) -> dict[str, Any]:
    """Forgets what `infill-ls stats --reset` does, and says what is counted then."""
    counts = session.acceptance
    try:
        counts.reset()
    except OSError as error:
        why = f"The counts in {counts.path} cannot be removed: {error.strerror}."
        session.show(lsp.MessageType.ERROR, f"infill: {why}")
    else:
        session.show(lsp.MessageType.INFO, "infill: What was learned of you is forgotten.")
    return totals(counts)


async def _look_again(session: Session, taken: Taken) -> None:
    await asyncio.sleep(KEPT_SECONDS)
    now = session.snapshot(taken.document.uri)
    if now is not None:
        length = taken.end - taken.start
        language = taken.document.language_id
        session.acceptance.looked_at(language, length, kept(taken, now.document))


def acceptance(session: Session, item: OfferedItem | None) -> lsp.Command | None:
    """The command that an item carries. Only for plugins that report: others need not run it."""
    if not session.features.plugin:
        return None
    said = {"offer": item.offer, "choice": item.choice, "base": item.base} if item else None
    return lsp.Command(title="Accepted", command=ACCEPTED, arguments=[said] if said else None)


HANDLERS: Handlers = {
    # What was answered in time counts as shown, for not all clients say what they show.
    "textDocument/didShowCompletion": AtOnce(no_params, lambda session, _: None),
    "textDocument/didPartiallyAcceptCompletion": AtOnce(
        partly_accepted_params, did_partially_accept
    ),
}
