"""Which server a document's requests go to, without any server."""

import math
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from infill_engine.remote.routing import (
    FIRST_REST,
    HEDGES_A_REQUEST,
    LEAST_ANSWERS,
    LONGEST_REST,
    MOST_HEDGES_SAVED,
    NUM_DOCUMENTS,
    Routes,
)

URLS = [f"http://gpu{number}:8000" for number in range(5)]
DOCUMENTS = [f"file:///src/{number}.py" for number in range(400)]


def test_documents_are_spread_over_the_servers() -> None:
    routes = Routes(URLS, "salt")
    homes = Counter(routes.order(document, 0.0)[0] for document in DOCUMENTS)

    assert min(homes.values()) > 400 / 5 / 2
    assert homes != Counter(Routes(URLS, "other").order(each, 0.0)[0] for each in DOCUMENTS)


@given(gone=st.integers(0, 4), document=st.text())
def test_a_server_that_leaves_moves_its_own_documents_alone(gone: int, document: str) -> None:
    left = [url for url in URLS if url != URLS[gone]]
    before = [URLS[each] for each in Routes(URLS).order(document, 0.0)]
    after = [left[each] for each in Routes(left).order(document, 0.0)]

    assert after == [url for url in before if url != URLS[gone]]


def test_a_server_rests_after_a_fault_and_longer_after_the_next() -> None:
    routes = Routes(URLS)
    home, *others = routes.order("a", 0.0)
    routes.failed(home, 0.0)

    assert routes.order("a", 0.99 * FIRST_REST) == [*others, home]
    assert routes.order("a", FIRST_REST) == [home, *others]
    routes.failed(home, 10.0)
    assert routes.order("a", 10.0 + 1.5 * FIRST_REST)[-1] == home
    for _ in range(20):
        routes.failed(home, 20.0)
    assert routes.order("a", 20.0 + LONGEST_REST)[0] == home
    routes.answered("a", home, home, 0.1)
    routes.failed(home, 100.0)
    assert routes.order("a", 100.0 + FIRST_REST)[0] == home


def test_a_spare_is_asked_after_the_time_that_most_answers_took() -> None:
    routes = Routes(URLS)
    assert routes.hedge_after() == math.inf
    for at in range(100):
        routes.answered("a", 0, 0, at / 100)
    assert routes.hedge_after() == 0.95
    routes.unanswered(5.0)
    assert routes.hedge_after() == 0.95


@given(slow=st.lists(st.booleans(), min_size=1, max_size=300))
def test_few_requests_are_made_twice_however_slow_the_servers_are(slow: list[bool]) -> None:
    routes = Routes(URLS)
    for _ in range(LEAST_ANSWERS):
        routes.answered("a", 0, 0, 0.1)
    made = 0
    for each in slow:
        if routes.hedge_after() < math.inf and each:
            routes.hedged()
            made += 1

    assert made <= MOST_HEDGES_SAVED + HEDGES_A_REQUEST * len(slow)
    assert made or sum(slow) < 1


def test_a_document_moves_to_the_spare_that_was_first_twice_in_a_row() -> None:
    routes = Routes(URLS)
    home, spare, *_ = before = routes.order("a", 0.0)
    for first in (spare, home, spare, spare):
        assert routes.order("a", 0.0) == before
        routes.answered("a", home, first, 0.1)

    assert routes.order("a", 0.0)[:2] == [spare, home]
    assert routes.order("b", 0.0) == Routes(URLS).order("b", 0.0)
    for number in range(NUM_DOCUMENTS):
        routes.order(f"{number}", 0.0)
    assert routes.order("a", 0.0) == before, "only so many are remembered"
