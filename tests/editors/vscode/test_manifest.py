"""What the VS Code extension says of itself in package.json."""

import json
import re
from typing import Any

from infill_ls.cli.main import parser
from infill_ls.settings import OPTIONS, SECTION
from tests.editors.vscode.manifest import PACKAGE, properties, restricted

MANIFEST: dict[str, Any] = json.loads(PACKAGE.read_text(encoding="utf-8"))
SETTINGS = {
    name: value
    for page in MANIFEST["contributes"]["configuration"]
    for name, value in page["properties"].items()
}


def test_the_settings_are_the_servers() -> None:
    ours = {name: value for name, value in SETTINGS.items() if name.startswith(f"{SECTION}.")}

    assert ours == properties(), "run: python -m tests.editors.vscode.manifest"


def test_every_default_is_one_the_server_takes() -> None:
    for option in OPTIONS:
        default = SETTINGS[f"{SECTION}.{option.name}"]["default"]
        assert option.accepts(default) or (default is None and option.optional)


def test_a_workspace_cannot_say_what_is_run_or_where_code_goes() -> None:
    risky = re.compile(r"infill-ls\.(path|python|package)|infill\.(model|device|dtype|remote.*)")
    named = {name for name in SETTINGS if risky.fullmatch(name)}
    untrusted = MANIFEST["capabilities"]["untrustedWorkspaces"]

    assert len(named) > 10
    assert {SETTINGS[name]["scope"] for name in named} == {"machine"}
    assert untrusted["supported"] == "limited"
    assert untrusted["restrictedConfigurations"] == restricted(MANIFEST)
    assert named <= set(untrusted["restrictedConfigurations"])


def test_the_doctor_can_be_told_every_setting_of_the_model() -> None:
    for option in OPTIONS:
        if SETTINGS[f"{SECTION}.{option.name}"]["scope"] == "machine":
            flag = re.sub("[A-Z]", lambda match: f"-{match[0].lower()}", f"--{option.name}")
            value = option.choices[0] if option.choices else "1"
            given = [flag] if option.kind == "boolean" else [flag, value]
            parsed = parser().parse_args(["doctor", *given])

            assert flag.removeprefix("--").replace("-", "_") in vars(parsed)


def test_every_command_has_a_title_and_is_carried_out() -> None:
    source = (PACKAGE.parent / "src" / "extension.ts").read_text(encoding="utf-8")
    carried_out = set(re.findall(r"'(infill\.\w+)': ", source))

    assert {each["command"] for each in MANIFEST["contributes"]["commands"]} == carried_out


def test_every_command_of_the_walkthrough_and_the_menu_exists() -> None:
    named = set(re.findall(r"command:(infill\.\w+)", json.dumps(MANIFEST)))
    menu = (PACKAGE.parent / "src" / "status.ts").read_text(encoding="utf-8")
    named |= set(re.findall(r"command: '(infill\.\w+)'", menu))

    assert named <= {each["command"] for each in MANIFEST["contributes"]["commands"]}


def test_the_lock_file_names_no_host_of_a_registry() -> None:
    lock = (PACKAGE.parent / "package-lock.json").read_text(encoding="utf-8")

    assert '"resolved"' not in lock
    assert '"integrity"' in lock
