"""Wrong settings cost a clear message, never the session."""

import dataclasses
from typing import Any

import pytest

from infill_ls.client_settings import parse, pushed
from infill_ls.settings import OPTIONS, Settings


def check(options: Any, expected: Settings, *messages: str) -> None:
    settings, said = parse(options)

    assert settings == expected
    assert said == list(messages)


@pytest.mark.parametrize("options", [None, {}, {"infill": {}}, {"infill": None}])
def test_nothing_set_is_the_defaults(options: Any) -> None:
    check(options, Settings())


def test_names_are_camel_case_alone_or_within_the_section() -> None:
    expected = Settings(delay_ms=100, max_lines=2, trigger="onDemand")

    check({"delayMs": 100, "maxLines": 2, "trigger": "onDemand"}, expected)
    check({"infill": {"delayMs": 100, "maxLines": 2, "trigger": "onDemand"}}, expected)


def test_null_means_not_set() -> None:
    check({"delayMs": None, "model": None, "enable": None}, Settings())


def test_whole_numbers_may_come_as_floats() -> None:
    check({"maxLines": 4.0, "minConfidence": 1}, Settings(max_lines=4, min_confidence=1.0))
    assert isinstance(parse({"maxLines": 4.0})[0].max_lines, int)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "delayMs",
            9000,
            "infill.delayMs is 9000, but takes a whole number from 0 to 5000. Going on with 0.",
        ),
        (
            "maxLines",
            "six",
            'infill.maxLines is "six", but takes a whole number from 1 to 50. Going on with 6.',
        ),
        (
            "maxLines",
            2.5,
            "infill.maxLines is 2.5, but takes a whole number from 1 to 50. Going on with 6.",
        ),
        (
            "maxLines",
            True,
            "infill.maxLines is true, but takes a whole number from 1 to 50. Going on with 6.",
        ),
        (
            "enable",
            "yes",
            'infill.enable is "yes", but takes true or false. Going on with true.',
        ),
        (
            "trigger",
            "always",
            'infill.trigger is "always", but takes one of "automatic", "subtle", "eol-only", '
            '"onDemand", "off". Going on with "automatic".',
        ),
        (
            "threads",
            0,
            "infill.threads is 0, but takes a whole number from 1 to 256, or null. "
            "Going on with null.",
        ),
        (
            "disabledFiles",
            "*.py",
            'infill.disabledFiles is "*.py", but takes a list of strings. Going on with [].',
        ),
        (
            "trigger",
            "a\ud83d",
            'infill.trigger is "a�", but takes one of "automatic", "subtle", "eol-only", '
            '"onDemand", "off". Going on with "automatic".',
        ),
        (
            "minConfidence",
            float("nan"),
            "infill.minConfidence is nan, but takes a number from 0 to 1, or null. "
            "Going on with null.",
        ),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(name: str, value: Any, message: str) -> None:
    check({name: value, "numCandidates": 2}, Settings(num_candidates=2), message)


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("C:\\src\\*", "a backslash only quotes what follows it; write / between folders"),
        ("./src", "no path has . or .. in it; write the names of folders"),
        ("*.{py,[}", "its [ is not closed; write \\[ for the character itself"),
        ("file:///src", "it has two slashes in a row"),
        ("# generated", "it begins a comment; write \\# for the character"),
        ("", "it names nothing"),
    ],
)
def test_a_pattern_that_keeps_no_file_away_is_named_and_the_others_stay(
    pattern: str, why: str
) -> None:
    check(
        {"disabledFiles": [pattern, "*.{py,js}"]},
        Settings(disabled_files=(pattern, "*.{py,js}")),
        f'infill.disabledFiles has "{pattern}", which keeps no file away: {why}.',
    )


def test_an_unknown_name_gets_the_nearest_one() -> None:
    check(
        {"maxLine": 3},
        Settings(),
        "infill.maxLine is not a setting of infill-ls. Did you mean infill.maxLines?",
    )
    assert "There is: enable, trigger, modes, delayMs" in parse({"zzzzzz": 1})[1][0]


def test_what_other_plugins_send_along_is_no_mistake() -> None:
    check({"editorInfo": {"name": "Neovim"}, "editorPluginInfo": {"name": "x"}}, Settings())


@pytest.mark.parametrize("options", [[], "fast", 3])
def test_settings_that_are_no_object_are_said_to_be_none(options: Any) -> None:
    settings, messages = parse(options)

    assert settings == Settings()
    assert len(messages) == 1
    assert "must be an object" in messages[0]


def test_every_field_is_an_option_with_a_default_that_it_accepts() -> None:
    assert len(OPTIONS) == len(dataclasses.fields(Settings))
    for option, field in zip(OPTIONS, dataclasses.fields(Settings), strict=True):
        assert option.about.endswith(".")
        assert option.default == field.default
        if option.default is None:
            assert option.optional
        else:
            assert option.accepts(option.default)
            assert option.resolved(option.default) == option.default


@pytest.mark.parametrize(
    ("sent", "ours"),
    [
        ({"infill": {"delayMs": 1}, "pylsp": {"x": 1}}, {"delayMs": 1}),
        ({"delayMs": 1}, {"delayMs": 1}),
        ({"infill": None}, {}),
        ({"pylsp": {"x": 1}}, None),  # about another server
        ({}, None),
        (None, None),
        ([], None),
    ],
)
def test_of_a_pushed_configuration_our_part_is_taken(sent: Any, ours: Any) -> None:
    assert pushed(sent) == ours


def test_the_engine_s_settings_go_to_the_engine() -> None:
    from infill_ls.server.loading import ENGINE_SETTINGS

    assert {"model", "device", "threads", "remote_key_env", "remote_timeout"} <= set(
        ENGINE_SETTINGS
    )
    settings, messages = parse(
        {"remoteKeyEnv": "TEAM_KEY", "remoteTimeout": 5, "remoteTrustEnv": False}
    )
    assert messages == []
    assert settings.remote_key_env == "TEAM_KEY"
    assert settings.remote_timeout == 5.0
    assert settings.remote_trust_env is False  # and not None, so that it outdoes the command line
