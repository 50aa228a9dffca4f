"""Files of the workspace that were written, made or removed: what is kept of them is read again."""

from infill_ls.server import lsp
from infill_ls.server.features.configuration import register
from infill_ls.server.fields import DocumentParams, document_params
from infill_ls.server.handlers import AtOnce, Handlers
from infill_ls.server.params import WatchedFilesParams, watched_files_params
from infill_ls.server.session import Session

EVERY_FILE = {"watchers": [{"globPattern": "**/*"}]}


def subscribe(session: Session) -> None:
    if session.features.registers_watchers and session.settings.workspace:
        session.start(register(session, "files", lsp.DID_CHANGE_WATCHED_FILES, EVERY_FILE))


def did_save(session: Session, params: DocumentParams) -> None:
    session.touched(params.uri)


def did_change_watched_files(session: Session, params: WatchedFilesParams) -> None:
    session.touched(*params.uris)


HANDLERS: Handlers = {
    lsp.DID_SAVE: AtOnce(document_params, did_save),
    lsp.DID_CHANGE_WATCHED_FILES: AtOnce(watched_files_params, did_change_watched_files),
}
