"""One server process for all tests of the remote engine."""

from collections.abc import Iterator

import pytest

from tests.engine.served import Server, serving


@pytest.fixture(scope="session")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("contract")) as running:
        yield running


@pytest.fixture
def server(process: Server) -> Server:
    process.now()
    process.second.now()
    return process
