"""Under which name the text of a request is kept, so that the next one of the same place finds
what was said and parsed there, though HTTP clients name no document.

Requests that are under way at the same time never share a name: in a document the newest one would
end the others.
"""

from collections import OrderedDict
from collections.abc import Callable

from infill_ls.documents import Document

MOST_IDLE = 8
_ALIKE = 200  # characters behind the cursor that make the place


class Places:
    """Names by the text behind the cursor, which typing leaves as it is. `forget` is told of those
    that are no longer kept. Belongs to the event loop."""

    def __init__(self, forget: Callable[[str], None]) -> None:
        self._forget = forget
        self._idle: OrderedDict[str, tuple[Document, str]] = OrderedDict()  # with what follows
        self._num_made = 0

    def take(self, before: str, after: str, language_id: str) -> Document:
        """A document of its own until it is given back."""
        text, key = before + after, after[:_ALIKE]
        for uri, (document, follows) in reversed(self._idle.items()):
            if follows == key and document.language_id == language_id:
                del self._idle[uri]
                # The same object again where the text is the same: then nothing is parsed again.
                return document if document.text == text else _document(document, text)
        self._num_made += 1
        return Document(uri=f"fim:/{self._num_made}", version=1, language_id=language_id, text=text)

    def give_back(self, document: Document, offset: int) -> None:
        after = document.text[offset : offset + _ALIKE]
        self._idle[document.uri] = document, after
        if len(self._idle) > MOST_IDLE:
            self._forget(self._idle.popitem(last=False)[0])


def _document(former: Document, text: str) -> Document:
    return Document(
        uri=former.uri, version=former.version + 1, language_id=former.language_id, text=text
    )
