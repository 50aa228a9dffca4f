"""How `infill-ls` serves editors: on stdio, through the server that a user's windows share, or TCP.

Imports nothing of the server before it is known which: the relay starts in a tenth of its time.
"""

import argparse
import ipaddress
import logging
import os
import secrets
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import platformdirs

from infill_engine import Engine, EngineConfig
from infill_ls import __version__
from infill_ls.cli.errors import FileError, UsageError

Load = Callable[[EngineConfig], Engine]


def serve(arguments: argparse.Namespace, config: EngineConfig, load: Load) -> int:
    _log_to(arguments.log_file, arguments.log_level)
    if arguments.connect:
        return _connect(arguments, config)
    if arguments.socket:
        from infill_ls.server.shared import run_shared

        return run_shared(arguments.socket, config, load=load)
    if arguments.tcp:
        return _tcp(arguments, config, load)
    from infill_ls.server.stdio import run_stdio

    return run_stdio(config, load=load, client_process_id=arguments.clientProcessId)


def _connect(arguments: argparse.Namespace, config: EngineConfig) -> int:
    """A server of its own for every configuration, release and installation."""
    from infill_ls.server.endpoint import endpoint
    from infill_ls.server.relay import run_relay

    chosen = {name: value for name, value in asdict(config).items() if _is_set(name, value)}
    options = [part for name, value in chosen.items() for part in _option(name, value)]
    path = endpoint([__version__, sys.executable, *options])
    # Not from the folder that an editor opened: what is importable there is not ours.
    program = [sys.executable, "-P", "-m", "infill_ls"]
    level = ["--log-level", arguments.log_level]
    return run_relay(path, [*program, *options, *level, "--socket", str(path)])


def _is_set(name: str, value: object) -> bool:
    return bool(value != getattr(EngineConfig(), name))


def _option(name: str, value: object) -> list[str]:
    flag = f"--{name.replace('_', '-')}"
    return [flag] if value is True else [flag, str(value)]


def _tcp(arguments: argparse.Namespace, config: EngineConfig, load: Load) -> int:
    from infill_ls.server.processes import run_tcp

    host, port = arguments.tcp
    if not (_is_loopback(host) or arguments.allow_remote):
        raise UsageError(
            f"{host} can be reached from other machines, which would read and fill your texts; "
            "serve 127.0.0.1, or say --allow-remote."
        )
    token = None if arguments.no_token else _token(arguments.token_file)
    try:
        return run_tcp(host, port, config, token=token, load=load)
    except OSError as error:
        raise UsageError(
            f"{host}:{port} cannot be served: {error.strerror or error}. "
            "Choose another port, or end what uses it."
        ) from error


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _token(path: Path | None) -> str:
    """What clients have to say, from a file that only this user reads; made at the first start."""
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
        what = "other users may read it" if others else "it holds less than 16 characters"
        raise FileError(f"The token file {path} is no secret: {what}. Remove it, or chmod 600 it.")
    print(
        f"infill-ls wants the token in {path} as initializationOptions.token",
        file=sys.stderr,
        flush=True,
    )
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
