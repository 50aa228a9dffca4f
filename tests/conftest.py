"""For all tests: in which order they run, and whose data they leave alone."""

from collections.abc import Iterator
from pathlib import Path

import platformdirs
import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take long begin first: side by side with the others, none is left over."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session", autouse=True)
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Not the user's, for servers in this process and others."""
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(folder))
        if platformdirs.user_data_path("infill-ls") != folder / "infill-ls":  # not of this system
            patch.setattr(platformdirs, "user_data_path", lambda name, *_, **__: folder / name)
        yield folder
