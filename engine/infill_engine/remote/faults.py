"""The sentence for each way in which a request over HTTP can fail, with the remedy.

Nothing in it varies from one time to the next, so that whoever shows it can show it once.
"""

import ssl
from collections.abc import Iterator

import httpx

from infill_engine.remote.http import RemoteError


def unreachable(where: str, why: str = "it accepts no connection") -> RemoteError:
    return RemoteError(f"{where} cannot be reached ({why}); check the network and the URL")


def nobody_listens(where: str) -> RemoteError:
    said = f"nothing listens at {where}; start the server or correct the URL"
    return RemoteError(said, again_after=0.0)


def no_answer(base: str, seconds: float, *, begun: bool) -> RemoteError:
    what = "the answer began, but no end of it came" if begun else "no answer"
    return RemoteError(
        f"{what} from {base} within {seconds:g} s; raise remote_timeout, or ask the server's owner"
    )


def too_slow(base: str, seconds: float) -> RemoteError:
    return RemoteError(
        f"{base} answered none of several requests before their deadlines, {seconds:g} s in all; "
        "allow more time (deadlineMs, deadlineInvokedMs), or ask the server's owner"
    )


def too_much(path: str, most: int) -> RemoteError:
    return RemoteError(
        f"{path} answered with more than {most >> 20} MB, which no answer of a model has; is the "
        "URL that of the model server?"
    )


def unexpected(path: str, error: Exception) -> RemoteError:
    return RemoteError(f"{path} failed for a reason that the log tells ({type(error).__name__})")


def is_refusal(error: httpx.ConnectError) -> bool:
    """Whether the machine is there, but no process listens."""
    return any(isinstance(cause, ConnectionRefusedError) for cause in _causes(error))


def broken(error: Exception, base: str, *, where: str, answered: bool) -> RemoteError:
    """For what the library raised. `where` names whom we connect to, `base` whom we talk to."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return RemoteError(
                f"the certificate of {base} is not trusted ({cause.verify_message}); "
                "set remote_ca_file to the certificate of its authority"
            )
        if isinstance(cause, ssl.SSLError) and "CERTIFICATE_REQUIRED" in (cause.reason or ""):
            return RemoteError(
                f"{base} asks who we are; set remote_client_cert to a certificate that it knows"
            )
    said = [cause.strerror for cause in _causes(error) if isinstance(cause, OSError)]
    reason = next((words for words in said if words), type(error).__name__)
    match error:
        case httpx.ProxyError():
            return RemoteError(
                f"the proxy of the environment does not let us through to {base} ({error}); unset "
                "remote_trust_env, or add the server to NO_PROXY"
            )
        case httpx.ConnectTimeout():
            return unreachable(where)
        case httpx.ConnectError():
            return unreachable(where, reason)
        case httpx.RemoteProtocolError() if answered:
            reason = "the body ended early"
        case httpx.RemoteProtocolError() if "disconnected" in str(error):
            reason = "it was closed"
        case httpx.RemoteProtocolError():
            return RemoteError(f"{base} answers what is no HTTP; is the port in the URL right?")
    return RemoteError(
        f"the connection to {base} broke before the answer was complete ({reason}); the log of the "
        "server, or of a proxy before it, says more"
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and everything that it came of."""
    yield error
    inner = [error.__cause__ or error.__context__]
    if isinstance(error, BaseExceptionGroup):
        inner += error.exceptions
    for cause in inner:
        if cause is not None:
            yield from _causes(cause)
