"""What a server is shown so that it lets us in, and what it must show us. Sends nothing.

The key goes into one header and nowhere else: it is in no message, no log line and no `repr`.
"""

import os
import re
import ssl
from pathlib import Path

from infill_engine.config import EngineConfig
from infill_engine.errors import ModelError


def authorization(config: EngineConfig) -> str | None:
    """The Authorization header, read afresh so that a key may be renewed. None without a key.

    Raises ModelError naming the variable or the file, never the key.
    """
    if config.remote_key_env is not None:
        where = f"the environment variable {config.remote_key_env}"
        key = os.environ.get(config.remote_key_env, "")
    elif config.remote_key_file is not None:
        where = f"the key file {config.remote_key_file}"
        try:
            key = Path(config.remote_key_file).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ModelError(f"{where} cannot be read: {type(error).__name__}") from None
    else:
        return None
    key = key.strip()
    if not re.fullmatch(r"[\x21-\x7e]+", key):
        # Checked here, because the HTTP library would quote the value in its complaint.
        raise ModelError(f"{where} holds no usable key: it must be one line of printable ASCII")
    return f"Bearer {key}"


def tls_context(base: str, config: EngineConfig) -> ssl.SSLContext:
    """For a server: trusts the system's authorities, or those of `remote_ca_file` alone, and shows
    our certificate.

    Raises ModelError naming the setting whose file cannot be used.
    """
    if base.startswith("http://"):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # not used; the authorities take 30 ms
    context = _trusting(config.remote_ca_file)
    if config.remote_client_cert is None:
        return context
    certificate = Path(config.remote_client_cert).expanduser()
    key = config.remote_client_key and Path(config.remote_client_key).expanduser()
    try:
        # Without a password OpenSSL would ask for one on the terminal that the editor speaks on.
        context.load_cert_chain(certificate, key, password="")
    except OSError as error:  # ssl.SSLError is one
        settings = f"remote_client_cert={config.remote_client_cert!r}"
        if config.remote_client_key is not None:
            settings += f" with remote_client_key={config.remote_client_key!r}"
        raise ModelError(
            f"{settings} cannot be used: {error.strerror or error}; it takes a certificate and its "
            "key in PEM, the key without a password"
        ) from None
    return context


def _trusting(ca_file: str | None) -> ssl.SSLContext:
    if ca_file is None:
        return ssl.create_default_context()
    try:
        return ssl.create_default_context(cafile=str(Path(ca_file).expanduser()))
    except OSError as error:
        raise ModelError(
            f"remote_ca_file={ca_file!r} cannot be used: {error.strerror or error}; it takes "
            "certificates in PEM"
        ) from None
