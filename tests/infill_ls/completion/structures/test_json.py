"""JSON that is not finished, and a schema: what comes out always satisfies it."""

import json
import math
import time
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from benchmarks.structures.schemas import cases
from infill_ls.completion.structures.complete import completed, json_task
from infill_ls.completion.structures.json_text import DocumentError
from infill_ls.completion.structures.schema import Schema, SchemaError
from infill_ls.completion.structures.slots import composed
from tests.infill_ls.completion.structures.proposing import Proposing, Say

SERVICE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1},
        "port": {"type": "integer", "minimum": 1024, "maximum": 65535},
        "level": {"enum": ["debug", "info", "error"]},
        "owner": {"$ref": "#/$defs/person"},
        "tags": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
    },
    "required": ["name", "port", "level"],
    "additionalProperties": False,
    "$defs": {
        "person": {
            "type": "object",
            "properties": {
                "email": {"type": "string", "format": "email"},
                "boss": {"anyOf": [{"$ref": "#/$defs/person"}, {"type": "null"}]},
            },
            "required": ["email", "boss"],
        }
    },
}


def finished(document: str, schema: Any = True, says: Say | str = "", **options: bool) -> str:
    task = json_task(document, Schema(schema), **options)
    return completed(Proposing(says), task).text


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ('{"a": 1', '{"a": 1}'),
        ('{"a": [1, {"b": "x', '{"a": [1, {"b": "x"}]}'),
        ('{"a": "x\\u00', '{"a": "x"}'),
        ('{"a": "ends with a space ', '{"a": "ends with a space "}'),
        ("[1, , 2]", "[1, null, 2]"),
        ('{"a": ___, "b": "___"}', '{"a": null, "b": null}'),
        ('{"a":}', '{"a": null}'),
        ("[1, 2,]", "[1, 2]"),
        ('{"a": {"b": [1, 2}', '{"a": {"b": [1, 2]}}'),  # an end between others is missing
        ("tr", "true"),
        ("[-", "[-1]"),
        ("[1.", "[1.0]"),
        ('{"key', '{"key": null}'),
        ('{"key"', '{"key": null}'),
        ('{\n  "a": [\n    1,\n', '{\n  "a": [\n    1,\n    null\n  ]\n}\n'),
    ],
)
def test_what_is_open_is_closed_and_what_is_there_stays(document: str, expected: str) -> None:
    assert finished(document) == expected


def test_values_are_proposed_and_go_in_as_far_as_they_are_right() -> None:
    proposals = iter(("billing", "80", "infos"))
    text = finished("", SERVICE, lambda _, __: next(proposals))

    assert json.loads(text) == {"name": "billing", "port": 1024, "level": "info"}


def test_holes_that_are_near_share_a_canvas_with_the_structure_pinned() -> None:
    engine = Proposing("x")
    completed(engine, json_task('{"name": ___, "port": ___', Schema(SERVICE)))

    (first, *_) = engine.requests[0].middle[1::2]
    assert first == '", "port": '
    assert '"minimum": 1024' in engine.requests[0].neighbours[0]


@pytest.mark.parametrize(
    "says", ["", '"', "}\n", "\\", "99999999999", "debug", "a\\u12", "\x00", "ü😀"]
)
def test_whatever_is_proposed_the_result_satisfies_the_schema(says: str) -> None:
    for document in ("", '{\n  "po', '{"owner": {"email": "bo', '{"tags": ["a", ___, ___]'):
        text = finished(document, SERVICE, says, everything=True)

        Draft202012Validator(SERVICE).validate(json.loads(text))


def test_indentation_and_optional_properties() -> None:
    text = finished('{\n    "name": "x"\n}\n', SERVICE)
    everything = finished('{"name": "x"}', SERVICE, everything=True)

    assert text.startswith('{\n    "name": "x",\n    "port": 1024,\n    "level": ')
    assert text.endswith('"\n}\n')
    assert set(json.loads(everything)) == set(SERVICE["properties"])
    assert "\n" not in everything


@pytest.mark.parametrize(
    ("document", "place", "says"),
    [
        ('{\n  "nme": 1', "Line 2, column 3", "it has 'name'"),
        ('{"port": 7}', "Line 1, column 10", "less than the minimum of 1024"),
        ('{"level": "warn"}', "Line 1, column 11", "not one of"),
        ('{"owner": {"email": 3}}', "Line 1, column 21", "not of type 'string'"),
        ("[]", "Line 1, column 1", "wants object"),
        ('{"name" 1}', "Line 1, column 9", "colon"),
        ('{"name": "x"} y', "Line 1, column 15", "behind the document's end"),
        ('{"name": x}', "Line 1, column 10", "put it in quotes"),
        ('{"a": 1 // c\n}', "Line 1, column 9", "comma"),
        ('{"name": \xa0"x"}', "Line 1, column 10", "'\\xa0' is no space of JSON"),
        ('{"name":\f1', "Line 1, column 9", "is no space of JSON"),
        ("[" * 300, "Line 1, column 201", "levels"),
        ('{"port": ' + "9" * 5000, "Line 1, column 10", "5000 digits"),
    ],
)
def test_a_contradiction_is_said_with_its_place(document: str, place: str, says: str) -> None:
    with pytest.raises(DocumentError) as error:
        json_task(document, Schema(True if document.startswith("[[") else SERVICE))

    assert str(error.value).startswith(place)
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        (3, "is a number"),
        ({"type": "strin"}, "not valid at #/type"),
        ({"$ref": "https://example.com/other.json"}, r"\$defs of the same file"),
        ({"properties": {"a": {"$ref": "#/no"}}}, "#/properties/a"),
        ({"required": ["a"], "properties": {"a": False}, "type": "object"}, "not allowed"),
        ({"type": "string", "pattern": "(?=a)b"}, "lookahead"),
        ({"type": "object", "required": ["a"], "properties": {"a": {"$ref": "#"}}}, "without end"),
        ({"type": "integer", "minimum": 3, "maximum": 2}, "no number"),
        ({"type": "array", "items": {"const": 1}, "uniqueItems": True, "minItems": 2}, "different"),
        ({"not": {}}, "the schema: #/not of it leaves none"),
        ({"type": "array", "minItems": 5, "maxItems": 2}, "at # minItems 5 is more than maxItems"),
        (
            {"type": "object", "required": ["a"], "properties": {"a": {"not": {}}}},
            "#/properties/a/not of it leaves none",
        ),
        (
            {"type": "object", "required": ["a", "b"], "maxProperties": 1},
            "at # its 'maxProperties' leaves no value",
        ),
        ({"type": "number", "minimum": math.inf}, "a number at #/minimum that is none in JSON"),
        ({"properties": {"a": {"default": math.nan}}}, "a number at #/properties/a/default"),
        ({"$ref": "#"}, "refers to itself without end"),
        ({"anyOf": [{"$ref": "#"}, {"type": "null"}]}, "refers to itself without end"),
        ({"type": "string", "minLength": 10**9}, "more than the 4000 characters"),
        (
            {"type": "string", "pattern": "|".join(map(str, range(3000)))},
            "[|]3.*… is not supported",
        ),
        ({"type": "array", "minItems": 200, "items": {"const": 1}, "not": {}}, "its 'not'"),
        ({"$schema": "http://json-schema.org/draft-03/schema#"}, "draft 3"),
    ],
)
def test_a_schema_that_cannot_be_met_is_a_sentence(schema: Any, says: str) -> None:
    with pytest.raises(SchemaError, match=says):
        json_task("", Schema(schema))


EVIL = "^(a|aa)+$"


@pytest.mark.parametrize("draft", ["draft/2020-12/schema", "draft/2019-09/schema"])
@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string", "pattern": EVIL}, '"{}"'),
        ({"propertyNames": {"pattern": EVIL}}, '{"{}": 1}'),
        ({"patternProperties": {EVIL: {}}, "additionalProperties": False}, '{"{}": 1}'),
        ({"$defs": {"a": {"pattern": EVIL}}, "items": {"$ref": "#/$defs/a"}}, '["{}"]'),
    ],
)
def test_no_pattern_takes_for_ever(schema: Any, value: str, draft: str) -> None:
    schema = schema | {"$schema": f"https://json-schema.org/{draft}"}
    started = time.process_time()

    right = value.replace("{}", "a" * 60)
    assert finished(right, schema) == right
    with pytest.raises((DocumentError, SchemaError)):
        json_task(value.replace("{}", "a" * 60 + "!"), Schema(schema))

    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"pattern": r"(a)\1"}, r"At #/pattern the pattern .* a back reference"),
        ({"properties": {"a": {"pattern": "(?i)a"}}}, "At #/properties/a/pattern .* flags"),
        ({"patternProperties": {"(?i:a)": {}}}, "At #/patternProperties/.* flags"),
        ({"patternProperties": {EVIL: {}}, "unevaluatedProperties": False}, "repeat twice"),
    ],
)
def test_patterns_that_are_not_supported_are_said_with_their_place(schema: Any, says: str) -> None:
    with pytest.raises(SchemaError, match=says):
        Schema(schema)


def test_messages_and_properties_named_pattern_are_none() -> None:
    schema = {
        "properties": {"pattern": {"const": "("}, "$schema": {"const": "b"}},
        "errorMessage": {"pattern": "no (name"},
        "required": ["pattern", "$schema"],
    }

    assert json.loads(finished("", schema)) == {"pattern": "(", "$schema": "b"}


def test_a_number_beyond_floats_is_said_where_it_is_compared() -> None:
    with pytest.raises(DocumentError, match="too large to be compared"):
        json_task("9" * 400, Schema({"multipleOf": 0.3}))
    assert finished("9" * 400) == "9" * 400


def test_one_of_very_many_values_is_found_without_comparing_them_all() -> None:
    started = time.process_time()

    task = json_task("", Schema({"enum": [*range(20_000)]}))

    assert json.loads(composed(task.pieces)) == 0
    assert time.process_time() - started < 5


def test_examples_stand_for_what_cannot_be_made() -> None:
    schema = {"type": "string", "pattern": "(?=a)ab", "examples": ["abc"]}

    assert json.loads(finished("", schema)) == "abc"


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {}}, "required": ["a"], "minProperties": 3},
        {"type": "array", "contains": {"const": 5}, "items": {"type": "integer"}},
        {"if": {"properties": {"a": {"const": 1}}}, "then": {"required": ["b"]}, "type": "object"},
        {"oneOf": [{"type": "integer", "multipleOf": 3}, {"type": "integer", "multipleOf": 5}]},
        {"allOf": [{"minimum": 2}, {"maximum": 2.5}], "type": "number", "multipleOf": 0.1},
        {"type": "object", "patternProperties": {"^x_": {"type": "null"}}, "minProperties": 2,
         "additionalProperties": False},
        {"type": "object", "propertyNames": {"pattern": "^[A-Z]+$"}, "minProperties": 1},
        {"type": ["null", "array"], "items": [{"const": 1}], "$schema": "http://json-schema.org/draft-07/schema#"},
        {"type": "array", "items": {"enum": [1, 2, 3]}, "uniqueItems": True, "minItems": 3},
        {"type": "object", "properties": {"a": {"const": 1}}, "unevaluatedProperties": False,
         "required": ["a"]},
        False,
    ],
)  # fmt: skip
def test_the_less_common_keywords(schema: Any) -> None:
    if schema is False:
        with pytest.raises(SchemaError):
            json_task("", Schema(schema))
        return
    for says in ("", "7", '"x"'):
        value = json.loads(finished("", schema, says))

        assert Schema(schema).valid(value, schema)


def test_a_schema_that_goes_on_for_ever_is_left_before() -> None:
    anything = {"properties": {key: {"$ref": "#"} for key in "abcdefgh"}, "type": "object"}

    assert len(finished("", anything)) < 10_000


def test_random_schemas_and_documents_that_are_not_finished() -> None:
    said = ("", "3", "a b", '"', "true", "2024-05-06", "]")
    for at, case in enumerate(cases(40)):
        text = finished(case.document, case.schema, said[at % len(said)])

        validator = Draft202012Validator(case.schema, format_checker=FormatChecker())
        assert validator.is_valid(json.loads(text)), case


def test_every_cut_of_a_document_can_be_finished() -> None:
    whole = json.dumps(json.loads(finished("", SERVICE, "x", everything=True)), indent=2)
    for end in range(0, len(whole) + 1, 4):
        text = composed(json_task(whole[:end], Schema(SERVICE)).pieces)

        assert Schema(SERVICE).valid(json.loads(text), SERVICE), whole[:end]
        assert text.startswith(whole[:end].rstrip())
