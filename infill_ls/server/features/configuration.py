"""The settings of a client, pushed or pulled, and what follows when they change."""

import logging
from collections.abc import Iterator, Sequence
from typing import Any

from infill_ls.client_settings import parse, pushed
from infill_ls.modes import languages_in
from infill_ls.server import lsp
from infill_ls.server.fields import Fields
from infill_ls.server.handlers import AtOnce, Handlers
from infill_ls.server.loading import engine_config, load
from infill_ls.server.session import NoAnswer, Session
from infill_ls.settings import SECTION

logger = logging.getLogger(__name__)
PULL_SECONDS = 2.0  # a client that never answers must not keep the model from loading
REGISTER_SECONDS = 10.0


def did_change_configuration(session: Session, settings: Any) -> None:
    """What is pushed holds for the next message."""
    given = pushed(settings)
    if given is not None:
        session.configured = given
        use_settings(session)
    session.start(_follow(session, pull_first=given is None))


async def _follow(session: Session, *, pull_first: bool) -> None:
    if pull_first:
        await pull(session)
    replaces = not session.shared or session.worker.failed
    if replaces and engine_config(session) != session.worker.config:
        await load(session)
    session.follow_workspace()


async def pull(session: Session) -> None:
    """Without an answer what is known goes on to hold."""
    if not session.features.configuration:
        return
    asked = {"items": [{"section": SECTION}]}
    try:
        answer = await session.ask(lsp.CONFIGURATION, asked, PULL_SECONDS)
    except NoAnswer as why:
        logger.warning("the client does not give its configuration: %s", why)
        return
    if isinstance(answer, list) and answer and isinstance(answer[0], dict):
        session.configured = answer[0]
        use_settings(session)


async def subscribe(session: Session) -> None:
    """Clients that are asked for their configuration say only on registration that it changed."""
    if session.features.registers_configuration:
        options = {"section": SECTION}
        session.start(register(session, "configuration", lsp.DID_CHANGE_CONFIGURATION, options))


async def register(session: Session, name: str, method: str, options: dict[str, Any]) -> None:
    """Asks a client for what it sends on registration alone."""
    registration = {"id": f"infill-ls/{name}", "method": method, "registerOptions": options}
    asked = {"registrations": [registration]}
    try:
        await session.ask(lsp.REGISTER_CAPABILITY, asked, REGISTER_SECONDS)
    except NoAnswer as why:
        logger.warning("the client does not register %s: %s", method, why)


def use_settings(session: Session) -> None:
    """What the client configured goes over what it sent at the start."""
    settings, messages = parse(session.initial)
    if session.configured:
        base = session.initial if isinstance(session.initial, dict) else {}
        set_now = {name: value for name, value in session.configured.items() if value is not None}
        settings, messages = parse({SECTION: {**base.get(SECTION, base), **set_now}})
    for message in (*messages, *_unknown_languages(settings.modes)):
        session.tell(lsp.MessageType.WARNING, message)
    if settings != session.settings:
        session.settings = settings
        session.requests.reuse.clear()
        session.count()


def _unknown_languages(modes: Sequence[str]) -> Iterator[str]:
    """A sentence for each that may be meant as a folder."""
    for language in languages_in(modes):
        from infill_ls.syntax.language import is_known  # not needed for a start

        if not is_known(language):
            yield (
                f'{SECTION}.modes names "{language[:40]}", but no language is known here by that '
                f'name. If it is a folder, write "{language[:40]}/".'
            )


def _settings_param(fields: Fields) -> Any:
    """Anything: what of it is ours, and right, the settings' own parser says."""
    return fields.optional("settings")


HANDLERS: Handlers = {
    lsp.DID_CHANGE_CONFIGURATION: AtOnce(_settings_param, did_change_configuration),
}
