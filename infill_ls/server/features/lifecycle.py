"""How a connection begins and ends: what is offered to a client, and when the engine is loaded."""

from typing import Any

from infill_ls.server import lsp
from infill_ls.server.features import configuration, workspace
from infill_ls.server.greeting import (
    InitializeParams,
    initialize_params,
    initialize_result,
    wants_menu,
)
from infill_ls.server.handlers import AtOnce, Handlers, InBackground
from infill_ls.server.loading import load
from infill_ls.server.params import FoldersParams, folders_params, no_params
from infill_ls.server.session import Session
from infill_ls.uris import document_key


def initialize(session: Session, params: InitializeParams) -> dict[str, Any]:
    session.features = params.client
    session.initial = params.options
    session.folders = params.folders
    configuration.use_settings(session)
    session.count()
    session.offers_menu = wants_menu(session.features, session.settings)
    if params.process_id is not None:
        session.watch(params.process_id)
    return initialize_result(session.features, session.settings)


def did_change_folders(session: Session, params: FoldersParams) -> None:
    removed = set(map(document_key, params.removed))
    kept = [uri for uri in session.folders if document_key(uri) not in removed]
    session.folders = tuple(dict.fromkeys((*kept, *params.added)))
    session.follow_workspace()


async def initialized(session: Session, _: None) -> None:
    await configuration.pull(session)
    await configuration.subscribe(session)
    workspace.subscribe(session)
    session.start(session.keep_counts())
    await load(session)
    session.follow_workspace()


def shutdown(session: Session, _: None) -> None:
    """Requests under way are answered as cancelled, this one with null."""
    session.close()


HANDLERS: Handlers = {
    lsp.INITIALIZE: AtOnce(initialize_params, initialize),
    lsp.INITIALIZED: InBackground(no_params, initialized),
    lsp.DID_CHANGE_FOLDERS: AtOnce(folders_params, did_change_folders),
    lsp.SHUTDOWN: AtOnce(no_params, shutdown),
}
