"""Every benchmark and trainer names itself as it is run, and its options say what they are."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]


def parsers() -> Iterator[tuple[str, ast.Call]]:
    """The module as `python -m` takes it, and the call that makes its parser."""
    for top in (ROOT / "benchmarks", ROOT / "engine" / "train"):
        for path in sorted(top.rglob("*.py")):
            name = ".".join(path.relative_to(top.parent).with_suffix("").parts)
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                called = node.func if isinstance(node, ast.Call) else None
                if isinstance(called, ast.Attribute) and called.attr == "ArgumentParser":
                    assert isinstance(node, ast.Call)
                    yield name.removesuffix(".__main__"), node


def test_a_command_calls_itself_what_it_is_called_by() -> None:
    found = {
        module: [ast.literal_eval(each.value) for each in call.keywords if each.arg == "prog"]
        for module, call in parsers()
    }

    assert len(found) > 30
    assert found == {module: [f"python -m {module}"] for module in found}
