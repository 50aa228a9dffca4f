"""What clients say about suggestions they showed: counted, for the log alone."""

from infill_ls.server import lsp
from infill_ls.server.greeting import ACCEPTED
from infill_ls.server.handlers import AtOnce, Handlers
from infill_ls.server.params import no_params
from infill_ls.server.session import Session


def did_show(session: Session, _: None) -> None:
    """Copilot's didShowCompletion."""
    session.counts.shown += 1


def did_partially_accept(session: Session, _: None) -> None:
    """Copilot's didPartiallyAcceptCompletion."""
    session.counts.accepted_in_part += 1
    session.log(str(session.counts))


def accepted(session: Session) -> None:
    """What the command of an item says when it was inserted."""
    session.counts.accepted += 1
    session.log(str(session.counts))


def acceptance(session: Session) -> lsp.Command | None:
    """The command that an item carries. Only for plugins that report: others need not run it."""
    return lsp.Command(title="Accepted", command=ACCEPTED) if session.features.plugin else None


HANDLERS: Handlers = {
    "textDocument/didShowCompletion": AtOnce(no_params, did_show),
    "textDocument/didPartiallyAcceptCompletion": AtOnce(no_params, did_partially_accept),
}
