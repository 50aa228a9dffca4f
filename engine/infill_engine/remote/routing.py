"""Which of several servers a document's requests go to, and when a second one is asked as well.

    document ─► home: the server whose hash with it is lowest; one that leaves moves only its own
                 │ no whole answer in the time that 95 % of the last ones took
                 ▼
                spare: the next by hash. The first answer to a request counts
                 │ it was first twice in a row
                 ▼
                the document's home from now on

Asks nobody and reads no clock, so that `benchmarks.scaleout` goes by the very same rules.
"""

import hashlib
import math
from collections import OrderedDict, deque
from collections.abc import Sequence

QUANTILE = 0.95  # "The tail at scale" (Dean and Barroso, 2013): a twentieth more requests
NUM_ANSWERS, LEAST_ANSWERS = 128, 16  # that the quantile is of, at most and at least
# Where all servers are slow a second request makes them slower: so many a request, at most.
HEDGES_A_REQUEST, MOST_HEDGES_SAVED = 0.1, 3.0
MOVES_AFTER = 2
NUM_DOCUMENTS = 64  # whose order is remembered, with where they moved to
FIRST_REST, LONGEST_REST = 1.0, 30.0  # seconds without requests after a fault, doubled by each


class Routes:
    """What is known of some servers, told apart by their number. Times are seconds of one clock.

    With other `salt` documents live elsewhere, so that all who edit a file of one name do not ask
    one server.
    """

    def __init__(self, servers: Sequence[str], salt: str = "") -> None:
        self._servers = servers
        self._salt = salt
        self._taken: deque[float] = deque(maxlen=NUM_ANSWERS)
        self._hedges = 1.0
        self._rest = [FIRST_REST] * len(servers)  # after the next fault
        self._resting = [-math.inf] * len(servers)  # until when
        self._orders: OrderedDict[str, list[int]] = OrderedDict()  # by document
        self._beaten: tuple[str, int] = ("", 0)  # a document, and how often its home was

    def order(self, document: str, now: float) -> list[int]:
        """The servers to ask, home first; those that rest after a fault come last."""
        return sorted(self._order(document), key=lambda server: self._resting[server] > now)

    def _order(self, document: str) -> list[int]:
        if document not in self._orders:
            self._orders[document] = sorted(
                range(len(self._servers)),
                key=lambda server: _digest(f"{self._salt}\0{document}\0{self._servers[server]}"),
            )
            if len(self._orders) > NUM_DOCUMENTS:
                self._orders.popitem(last=False)
        self._orders.move_to_end(document)
        return self._orders[document]

    def hedge_after(self) -> float:
        """Seconds after which a request without its whole answer goes to a spare as well.

        Infinite as long as too few answers are known, or too many were asked for twice. Every call
        is taken for a request, and saves up for the next hedge.
        """
        self._hedges = min(self._hedges + HEDGES_A_REQUEST, MOST_HEDGES_SAVED)
        if len(self._taken) < LEAST_ANSWERS or self._hedges < 1.0:
            return math.inf
        return sorted(self._taken)[int(QUANTILE * len(self._taken))]

    def hedged(self) -> None:
        self._hedges -= 1.0

    def answered(self, document: str, home: int, first: int, seconds: float) -> None:
        """A request had its whole answer, the last of it from the server `first`."""
        self._taken.append(seconds)
        self._rest[first] = FIRST_REST
        before = self._beaten[1] if self._beaten[0] == document else 0
        self._beaten = (document, before + 1 if first != home else 0)
        if self._beaten[1] >= MOVES_AFTER:
            self._beaten = (document, 0)
            order = self._order(document)
            order.remove(first)
            order.insert(0, first)

    def unanswered(self, seconds: float) -> None:
        """Its deadline came before."""
        self._taken.append(seconds)

    def failed(self, server: int, now: float) -> None:
        """It gave no answer, or none of use."""
        self._resting[server] = now + self._rest[server]
        self._rest[server] = min(2 * self._rest[server], LONGEST_REST)


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
