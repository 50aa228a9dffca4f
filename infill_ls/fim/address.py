"""Where servers listen and who may ask. Imports nothing slow: the command line says it."""

from dataclasses import dataclass

from infill_engine.errors import InfillError

OPEN_FIM = "infill-ls/fim"  # how a window's relay asks for it, with the fields of `FimAddress`


class PortError(InfillError):
    """Nobody can listen at this address, or somebody else does."""

    def __init__(self, host: str, port: int, error: OSError) -> None:
        super().__init__(
            f"{host}:{port} cannot be served: {error.strerror or error}. "
            "Choose another port, or end what uses it."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FimAddress:
    """`token` is what clients have to send as `Authorization: Bearer`, None where they need none;
    `remote` whether other machines may connect."""

    host: str
    port: int
    token: str | None = None
    remote: bool = False
