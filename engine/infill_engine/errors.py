"""What can go wrong for a user, said in sentences.

    InfillError            what happened, with which value, and what to do
    ├── RequestError       the request cannot be served as it was put
    └── ModelError         a model cannot be found, read, or fitted to this machine
        └── RemoteError    a server gave no usable answer (`infill_engine.remote.http`)

Programming mistakes are assertions. Having nothing to offer is an empty text, never an error.
"""


class InfillError(Exception):
    """Shown to the user as it is: a sentence with the value and the remedy."""


class RequestError(InfillError):
    """The request asks for what no engine can do; the message names the field and its value."""


class ModelError(InfillError):
    """No usable model: files missing or damaged, too little memory, an unknown name or device."""
