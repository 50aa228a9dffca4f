"""How a connection begins and ends: what is offered to a client, and when the engine is loaded."""

from lsprotocol import types as T

from infill_ls import __version__
from infill_ls.server.features import commands, configuration, menu
from infill_ls.server.handlers import AtOnce, Handlers, InBackground
from infill_ls.server.loading import load
from infill_ls.server.params import (
    FoldersParams,
    InitializeParams,
    folders_params,
    initialize_params,
    no_params,
)
from infill_ls.server.session import Session
from infill_ls.uris import document_key


def initialize(session: Session, params: InitializeParams) -> T.InitializeResult:
    session.features = params.client
    session.initial = params.options
    session.folders = params.folders
    configuration.use_settings(session)
    session.offers_menu = menu.wanted(session)
    if params.process_id is not None:
        session.watch(params.process_id)
    return T.InitializeResult(
        capabilities=_offered(session), server_info=T.ServerInfo("infill-ls", __version__)
    )


def _offered(session: Session) -> T.ServerCapabilities:
    return T.ServerCapabilities(
        position_encoding=T.PositionEncodingKind(session.features.encoding),
        text_document_sync=T.TextDocumentSyncOptions(
            open_close=True, change=T.TextDocumentSyncKind.Incremental
        ),
        inline_completion_provider=T.InlineCompletionOptions(),
        completion_provider=T.CompletionOptions(resolve_provider=False)
        if session.offers_menu
        else None,
        code_action_provider=T.CodeActionOptions(code_action_kinds=[commands.REWRITE]),
        workspace=T.WorkspaceOptions(
            workspace_folders=T.WorkspaceFoldersServerCapabilities(
                supported=True, change_notifications=True
            )
        ),
        execute_command_provider=T.ExecuteCommandOptions(commands=list(commands.NAMES)),
    )


def did_change_folders(session: Session, params: FoldersParams) -> None:
    removed = set(map(document_key, params.removed))
    kept = [uri for uri in session.folders if document_key(uri) not in removed]
    session.folders = tuple(dict.fromkeys((*kept, *params.added)))


async def initialized(session: Session, _: None) -> None:
    await configuration.pull(session)
    await configuration.subscribe(session)
    await load(session)


def shutdown(session: Session, _: None) -> None:
    """Requests under way are answered as cancelled, this one with null."""
    session.close()


HANDLERS: Handlers = {
    T.INITIALIZE: AtOnce(initialize_params, initialize),
    T.INITIALIZED: InBackground(no_params, initialized),
    T.WORKSPACE_DID_CHANGE_WORKSPACE_FOLDERS: AtOnce(folders_params, did_change_folders),
    T.SHUTDOWN: AtOnce(no_params, shutdown),
}
