"""The simplest JSON of a schema: deterministic, and what the schema asks for."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.sandbox.outcomes import NOT_A_MODEL
from batchmill.sandbox.samples import sample


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({}, NOT_A_MODEL),
        (True, NOT_A_MODEL),
        ({"type": "string"}, NOT_A_MODEL),
        ({"type": "string", "maxLength": 3}, "not"),
        ({"type": "string", "minLength": 13}, "not a model.."),
        ({"type": "string", "format": "date"}, "2026-01-01"),
        ({"type": "integer"}, 0),
        ({"type": "integer", "minimum": 3}, 3),
        ({"type": "number", "maximum": -2}, -2),
        ({"type": "integer", "exclusiveMinimum": 3}, 4),
        ({"type": "boolean"}, False),
        ({"type": "null"}, None),
        ({"type": ["null", "integer"]}, 0),
        ({"enum": ["b", "a"]}, "b"),
        ({"const": 7}, 7),
        ({"type": "array", "items": {"type": "integer"}}, [0]),
        ({"type": "array", "items": {"type": "integer"}, "minItems": "2"}, [0, 0]),
        ({"type": "array", "items": {"type": "integer"}, "maxItems": 0}, []),
        ({"properties": {"a": {"type": "integer"}}}, {"a": 0}),
        ({"anyOf": [{"type": "null"}, {"type": "integer"}]}, 0),
        (
            {
                "allOf": [
                    {"type": "object", "properties": {"a": {"type": "integer"}}},
                    {"properties": {"b": {"type": "null"}}},
                ]
            },
            {"a": 0, "b": None},
        ),
        ({"type": "OBJECT", "properties": {"a": {"type": "BOOLEAN", "nullable": True}}}, {"a": False}),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "integer"}}}, 0),
        ({"$ref": "#/nowhere"}, NOT_A_MODEL),
    ],
)
def test_sample_fits_its_schema(schema: Any, value: Any) -> None:
    """Each keyword, in JSON Schema's spelling or OpenAPI's."""
    assert sample(schema) == value


def test_schema_that_contains_itself_ends() -> None:
    """A list of the same ends in an empty one."""
    node = {"type": "object", "properties": {"next": {"type": "array", "items": {"$ref": "#"}}}}
    value, depth = sample(node), 0
    while value.get("next"):
        value, depth = value["next"][0], depth + 1
    assert 1 < depth < 20


def test_reference_to_itself_ends() -> None:
    """A schema that is nothing but itself is anything."""
    assert sample({"$ref": "#"}) == NOT_A_MODEL


WORDS = ("type", "properties", "items", "enum", "anyOf", "allOf", "required", "$ref", "minItems", "minLength")
plain = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 5), st.sampled_from(["object", "array", "#", "x"])
)
schemas = st.recursive(
    plain,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(WORDS), inner)),
)


@given(schemas)
def test_any_json_is_sampled(schema: Any) -> None:
    """Whatever is sent for a schema, something comes out of it that is JSON."""
    assert orjson.dumps(sample(schema))
