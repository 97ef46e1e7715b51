#!/usr/bin/env python3
"""Compares constraints to JSON schemas with the package jsonschema.

    python tests/interop/schema_oracle.py build/release/tests/interop/schema_tool

Random texts of schemas, some made by pydantic's habits, must be valid; texts that are spelled as constraints want them
must be permitted exactly if they are valid. Exits with 1 on any difference and with 77 without the package.
"""

import json
import subprocess
import sys

try:
    import jsonschema
except ImportError:
    print("skipped: the Python package jsonschema is missing")
    sys.exit(77)

OBJECT = {"type": "object", "additionalProperties": False}
SCHEMAS = [
    {},
    {"type": "object"},
    {"type": "array", "items": {"type": "integer", "minimum": -5, "exclusiveMaximum": 1000}, "minItems": 1, "maxItems": 4},
    {"type": "number", "exclusiveMinimum": -3, "maximum": 2},
    {"type": "number", "minimum": 10, "exclusiveMaximum": 12},
    {"type": "number", "exclusiveMinimum": -20, "exclusiveMaximum": -10},
    {"type": "string", "minLength": 2, "maxLength": 4},
    {"type": "string", "pattern": "^[A-Z][a-z]*( [A-Z]\\.)?$", "maxLength": 9},
    {"type": "string", "pattern": "b+[^a]|^c"},
    {"enum": ["a", "ab", "\u00e9\"\\", 1, 1.5, None, True, [1, {"x": "y"}]]},
    {"type": ["string", "null"], "enum": ["x", None, 3]},
    {
        **OBJECT,
        "properties": {
            "user": {"$ref": "#/$defs/User"},
            "tags": {"type": "array", "items": {"type": "string", "enum": ["a", "b"]}},
            "score": {"anyOf": [{"type": "number", "minimum": 0}, {"type": "null"}], "default": None, "title": "Score"},
        },
        "required": ["user", "tags"],
        "$defs": {
            "User": {
                **OBJECT,
                "properties": {
                    "id": {"type": "string", "format": "uuid"},
                    "born": {"type": "string", "format": "date"},
                    "seen": {"type": "string", "format": "date-time"},
                    "at": {"type": "string", "format": "ipv4"},
                    "mail": {"type": "string", "format": "email"},
                    "friends": {"type": "array", "items": {"$ref": "#/$defs/User"}, "maxItems": 2},
                },
                "required": ["id", "friends"],
            }
        },
    },
    {"type": "object", "properties": {"a": {"type": "null"}, "ab": {"type": "integer"}}, "additionalProperties": {"type": "string"}},
    {"type": "object", "properties": {"a": {}, "b": {}}, "required": ["b", "c"], "additionalProperties": {"type": "boolean"}},
    {"allOf": [{"$ref": "#/$defs/A"}, {"type": "object", "properties": {"b": {"type": "boolean"}}, "required": ["b"]}],
     "$defs": {"A": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}}},
    {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "items": False},
    {"type": "object", "properties": {"n": {"type": "integer"}}, "anyOf": [{"required": ["n"]}, {"properties": {"m": {"type": "null"}}}]},
]  # fmt: skip

VALUES = [
    None, True, False, 0, -1, 1, 7, 12, 999, 1000, -5, -6, 0.5, -2.75, 11.25, -15.5, 2.0, "", "a", "ab", "abb", "cab", "bbc",
    "Ada L.", "Ada l.", "\u00e9\u00e9", "\U0001f600\U0001f600", "\u00e9\"\\", "x", [], [1], [1, 2, 3, 4], [1, 2, 3, 4, 5],
    [1, {"x": "y"}], ["s"], ["s", 1], ["s", 1, 2], {}, {"a": None}, {"a": 1}, {"ab": 3}, {"a": None, "x": "y"},
    {"x": 1}, {"b": 1, "c": True}, {"b": 1, "c": 1}, {"a": 1, "b": True}, {"a": 1}, {"n": 1}, {"n": "x"},
]  # fmt: skip


def main():
    checkers = jsonschema.FormatChecker(
        [name for name in ("date", "uuid", "ipv4", "email", "date-time") if name in jsonschema.FormatChecker.checkers])
    lines = []
    for seed, schema in enumerate(SCHEMAS):
        lines.append({"schema": schema, "count": 60, "seed": seed})
        texts = [json.dumps(value, ensure_ascii=False, separators=(",", ":")) for value in VALUES]
        lines.append({"schema": schema, "texts": texts})
    ran = subprocess.run(sys.argv[1:2], input="\n".join(map(json.dumps, lines)), capture_output=True, text=True, check=True,
                         encoding="utf-8")  # fmt: skip
    answers = [json.loads(line) for line in ran.stdout.splitlines()]
    wrong = 0
    permitted = 0
    for i, schema in enumerate(SCHEMAS):
        validator = jsonschema.Draft202012Validator(schema, format_checker=checkers)
        if isinstance(answers[2 * i], dict):
            print(f"{schema} was refused: {answers[2 * i]['error']}")
            wrong += 1
            continue
        for text in answers[2 * i]:
            try:
                fault = next(validator.iter_errors(json.loads(text)), None)
            except ValueError as error:
                fault = error
            if fault:
                print(f"{schema} gave {text}: {fault}")
                wrong += 1
        for value, is_permitted in zip(VALUES, answers[2 * i + 1]):
            permitted += is_permitted
            if is_permitted and not validator.is_valid(value):
                print(f"{schema} permits {value}")
                wrong += 1
            # Objects with undeclared properties may be valid and not permitted; all else is both or neither.
            if not is_permitted and validator.is_valid(value) and not isinstance(value, dict) and not (
                isinstance(value, float) and value.is_integer()
            ):
                print(f"{schema} does not permit {value}")
                wrong += 1
    print(f"{len(SCHEMAS)} schemas, {permitted} values permitted, {wrong} differences.")
    return 1 if wrong or permitted < 50 else 0


if __name__ == "__main__":
    sys.exit(main())
