"""Where a shared server listens, in both ways that there are."""

from pathlib import Path

import pytest

from infill_ls.server import endpoint
from tests.infill_ls.server.shared import Shared


@pytest.fixture(params=["socket", "token"])
def path(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if request.param == "token":
        monkeypatch.setattr(endpoint, "HAS_SOCKETS", False)
    return tmp_path / "shared.sock"


@pytest.fixture
async def shared(path: Path) -> Shared:
    server = Shared(path)
    await server.start()
    return server
