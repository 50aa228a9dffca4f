"""The keywords of `jsonschema` that match patterns, by our automaton: its own do so by `re`, which
some patterns keep busy for ever.
"""

from collections.abc import Iterator
from typing import Any

from jsonschema import validators
from jsonschema.exceptions import ValidationError

from infill_ls.completion.structures.patterns import is_found


def with_our_patterns(kind: Any) -> Any:
    """A class of validators, with these. `unevaluatedProperties` stays as it is: let patterns be
    plain where that is used."""
    theirs = kind.VALIDATORS["additionalProperties"]

    def additional_properties(
        validator: Any, additional: Any, instance: Any, schema: dict[str, Any]
    ) -> Iterator[ValidationError]:
        """The original, of a schema that names the properties that patterns allow."""
        patterns = schema.get("patternProperties", {})
        if patterns and validator.is_type(instance, "object"):
            named = {key: True for key in instance if any(is_found(each, key) for each in patterns)}
            schema = {"properties": named | schema.get("properties", {})}
        yield from theirs(validator, additional, instance, schema)

    extend: Any = validators.extend  # it has no types
    return extend(
        kind,
        {
            "pattern": _pattern,
            "patternProperties": _pattern_properties,
            "additionalProperties": additional_properties,
        },
    )


def _pattern(
    validator: Any, pattern: str, instance: Any, schema: object
) -> Iterator[ValidationError]:
    if validator.is_type(instance, "string") and not is_found(pattern, instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _pattern_properties(
    validator: Any, patterns: dict[str, Any], instance: Any, schema: object
) -> Iterator[ValidationError]:
    if validator.is_type(instance, "object"):
        for pattern, of_pattern in patterns.items():
            for key, value in instance.items():
                if is_found(pattern, key):
                    yield from validator.descend(value, of_pattern, path=key, schema_path=pattern)
