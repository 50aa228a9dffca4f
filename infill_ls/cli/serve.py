"""How `infill-ls` serves editors: on stdio, through the server that a user's windows share, or TCP.

Imports nothing of the server before it is known which: the relay starts in a tenth of its time.
"""

import argparse
import ipaddress
import json
import logging
import os
import secrets
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import platformdirs

from infill_engine import Engine, EngineConfig
from infill_ls import __version__
from infill_ls.cli.arguments import address, count, deadline_ms
from infill_ls.cli.errors import FileError, UsageError
from infill_ls.fim.address import OPEN_FIM, FimAddress, PortError

Load = Callable[[EngineConfig], Engine]
_SAID_OVER_TCP = "initializationOptions.token"
_SAID_OVER_HTTP = "Authorization: Bearer"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """The options of the command line under their names there."""

    stdio: bool = False
    connect: bool = False
    tcp: tuple[str, int] | None = None
    socket: Path | None = None
    fim: tuple[str, int] | None = None
    fim_deadline_ms: int | None = None
    token_file: Path | None = None
    no_token: bool = False
    allow_remote: bool = False
    log_file: Path | None = None
    log_level: str = "warning"
    clientProcessId: int | None = None  # as editors spell it


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """Without defaults as well: those are `ServerOptions`'s."""
    server = parser.add_argument_group("server", argument_default=argparse.SUPPRESS)
    where = server.add_mutually_exclusive_group()
    where.add_argument("--stdio", action="store_true", help="serve on stdio, the default")
    where.add_argument(
        "--connect",
        action="store_true",
        help="serve on stdio, from the one server that all windows of this user share",
    )
    where.add_argument(
        "--tcp", type=address, metavar="HOST:PORT", help="serve every editor that connects there"
    )
    where.add_argument("--socket", type=Path, help=argparse.SUPPRESS)  # started by --connect
    server.add_argument(
        "--fim",
        type=address,
        metavar="HOST:PORT",
        help="fill in the middle over HTTP there, as llama.cpp and OpenAI do; alone, or beside "
        "--tcp or --connect with the same model",
    )
    server.add_argument(
        "--fim-deadline-ms",
        type=deadline_ms,
        metavar="N",
        help="how long the model may take for a client of --fim that does not say it; by default "
        "as while typing, and where that gave it no time for a text, as when asked",
    )
    server.add_argument(
        "--token-file",
        type=Path,
        metavar="F",
        help="the file with what clients must say, of --tcp and, if it is given, of --fim",
    )
    server.add_argument("--no-token", action="store_true", help="serve whoever can connect")
    server.add_argument(
        "--allow-remote", action="store_true", help="let other machines connect by --tcp or --fim"
    )
    server.add_argument("--log-file", type=Path, metavar="F", help="append the log to F")
    server.add_argument("--log-level", choices=("debug", "info", "warning", "error"))
    server.add_argument(
        "--clientProcessId", type=count, metavar="N", help="end when the process N has ended"
    )


def serve(arguments: argparse.Namespace, config: EngineConfig, load: Load) -> int:
    known = {field.name for field in fields(ServerOptions)}
    options = ServerOptions(**{n: v for n, v in vars(arguments).items() if n in known})
    _log_to(options.log_file, options.log_level)
    if sys.stdin is not None and sys.stdin.isatty() and not (options.tcp or options.fim):
        print(
            "infill-ls serves LSP on stdin and stdout, and waits for an editor; in a terminal, try "
            "`infill-ls try`. Ctrl-C ends it.",
            file=sys.stderr,
            flush=True,
        )
    _check(options)
    if options.connect:
        return _connect(options, config)
    if options.socket:
        from infill_ls.server.shared import run_shared

        return run_shared(options.socket, config, load=load)
    if options.tcp or options.fim:
        return _listen(options, config, load)
    from infill_ls.server.stdio import run_stdio

    return run_stdio(config, load=load, client_process_id=options.clientProcessId)


def _connect(options: ServerOptions, config: EngineConfig) -> int:
    """A server of its own for every configuration, release and installation."""
    from infill_ls.server.endpoint import endpoint
    from infill_ls.server.relay import run_relay

    chosen = {name: value for name, value in asdict(config).items() if _is_set(name, value)}
    model = [part for name, value in chosen.items() for part in _option(name, value)]
    path = endpoint([__version__, sys.executable, *model])
    # Not from the folder that an editor opened: what is importable there is not ours.
    program = [sys.executable, "-P", "-m", "infill_ls"]
    level = ["--log-level", options.log_level]
    return run_relay(path, [*program, *model, *level, "--socket", str(path)], _opening(options))


def _opening(options: ServerOptions) -> bytes:
    """What the shared server is told first: to fill in the middle as well, if that is wanted."""
    address = _fim_address(options)
    if address is None:
        return b""
    message = {"jsonrpc": "2.0", "method": OPEN_FIM, "params": asdict(address)}
    return json.dumps(message).encode()


def _is_set(name: str, value: object) -> bool:
    return bool(value != getattr(EngineConfig(), name))


def _option(name: str, value: object) -> list[str]:
    flag = f"--{name.replace('_', '-')}"
    return [flag] if value is True else [flag, str(value)]


def _listen(options: ServerOptions, config: EngineConfig, load: Load) -> int:
    """Over TCP, HTTP or both."""
    from infill_ls.server.processes import run_fim, run_tcp

    if options.stdio:
        raise UsageError("--fim goes with --tcp or --connect, or alone; leave out --stdio.")
    fim = _fim_address(options)
    try:
        if options.tcp is None:
            assert fim is not None, "one of both is given"
            return run_fim(fim, config, load=load)
        host, port = _allowed(options.tcp, options)
        token = None if options.no_token else _token(options.token_file, _SAID_OVER_TCP)
        return run_tcp(host, port, config, token=token, fim=fim, load=load)
    except PortError as error:
        raise UsageError(str(error)) from error


def _fim_address(options: ServerOptions) -> FimAddress | None:
    """Who can reach it from elsewhere needs a token; on this machine, if one was named."""
    if options.fim is None:
        return None
    host, port = _allowed(options.fim, options)
    needs_token = options.token_file is not None or not _is_loopback(host)
    token = (
        _token(options.token_file, _SAID_OVER_HTTP)
        if needs_token and not options.no_token
        else None
    )
    return FimAddress(
        host=host,
        port=port,
        token=token,
        remote=not _is_loopback(host),
        deadline_ms=options.fim_deadline_ms,
    )


def _check(options: ServerOptions) -> None:
    """What is served to whom shall not depend on an option that nobody reads."""
    if options.token_file and options.no_token:
        raise UsageError("--token-file wants a token and --no-token wants none; leave one out.")
    if options.token_file and not (options.tcp or options.fim):
        raise UsageError("--token-file goes with --tcp or --fim; leave it out.")
    if options.fim_deadline_ms and not options.fim:
        raise UsageError("--fim-deadline-ms goes with --fim; editors have infill.deadlineMs.")


def _allowed(address: tuple[str, int], options: ServerOptions) -> tuple[str, int]:
    host, _ = address
    if not (_is_loopback(host) or options.allow_remote):
        raise UsageError(
            f"{host} can be reached from other machines, which would read and fill your texts; "
            "serve 127.0.0.1, or say --allow-remote."
        )
    return address


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _token(path: Path | None, how: str) -> str:
    """What clients have to say, from a file that only this user reads; made at the first start.
    `how` they have to say it."""
    path = path or platformdirs.user_data_path("infill-ls") / "tcp-token"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_hex(32) + "\n")
        token = path.read_text(encoding="ascii").strip()
        others = os.name == "posix" and path.stat().st_mode & 0o077
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not text"
        raise FileError(
            f"The token file {path} cannot be used: {why}. Name another with --token-file."
        ) from error
    if len(token) < 16 or others:
        what = (
            "other users may read it. Say chmod 600 of it, or remove it"
            if others
            else "it holds less than 16 characters. Write more of them into it, or remove it"
        )
        raise FileError(f"The token file {path} is no secret: {what}, and a new one is made.")
    print(f"infill-ls wants the token in {path} as {how}", file=sys.stderr, flush=True)
    return token


def _log_to(path: Path | None, level: str) -> None:
    """Standard output belongs to the protocol, so the log goes to a file or standard error."""
    try:
        handler = (
            logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
            if path
            else logging.StreamHandler()
        )
    except OSError as error:
        raise FileError(f"The log file {path} cannot be written: {error.strerror}.") from error
    form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(handlers=[handler], level=level.upper(), format=form)
