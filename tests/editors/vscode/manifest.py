"""The settings of the VS Code extension, made from the server's own.

`python -m tests.editors.vscode.manifest` writes them into its package.json.
"""

import json
from pathlib import Path
from typing import Any

from infill_ls.settings import OPTIONS, SECTION, Option

PACKAGE = Path(__file__).parents[3] / "editors" / "vscode" / "package.json"
# What decides where code goes and what the machine runs: a repository that is opened must not.
MACHINE = {"model", "judge", "adapter", "device", "dtype", "threads"}


def properties() -> dict[str, Any]:
    return {f"{SECTION}.{option.name}": property_of(option) for option in OPTIONS}


def is_of_the_machine(option: Option) -> bool:
    return option.name in MACHINE or option.name.startswith("remote")


def property_of(option: Option) -> dict[str, Any]:
    kind = "array" if option.kind == "strings" else option.kind
    default = list(option.default) if option.kind == "strings" else option.default
    made: dict[str, Any] = {"type": [kind, "null"] if option.optional else kind, "default": default}
    if option.kind == "strings":
        made["items"] = {"type": "string"}
    if option.choices:
        made["enum"] = [*option.choices, *([None] if option.optional else [])]
    if option.low is not None:
        made |= {"minimum": option.low, "maximum": option.high}
    made["scope"] = "machine" if is_of_the_machine(option) else "window"
    made["description"] = option.about
    return made


def restricted(package: dict[str, Any]) -> list[str]:
    """What a workspace must not set before it is trusted. VS Code takes settings of scope `machine`
    from no workspace at all; this says so to people, and holds where that should change."""
    pages = package["contributes"]["configuration"]
    scopes = {name: each["scope"] for page in pages for name, each in page["properties"].items()}
    return [name for name, scope in scopes.items() if scope == "machine"]


def write() -> None:
    package = json.loads(PACKAGE.read_text(encoding="utf-8"))
    package["contributes"]["configuration"][0]["properties"] = properties()
    package["capabilities"]["untrustedWorkspaces"]["restrictedConfigurations"] = restricted(package)
    text = json.dumps(package, indent=2, ensure_ascii=False)
    PACKAGE.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    write()
