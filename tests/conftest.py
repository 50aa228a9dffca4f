"""For all tests: in which order they run."""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take long begin first: side by side with the others, none is left over."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
