"""JSON schemas of requests and answers, made from a task's options."""

from __future__ import annotations

from typing import Any

from longspan.tasks.estimator import Estimator
from longspan.tasks.options import Option, options_of

_TYPES = {int: "integer", float: "number", bool: "boolean", str: "string"}
_VALUE = {"type": ["number", "string", "boolean", "null"]}
SOURCE: dict[str, Any] = {
    "description": "A list of objects, the rows of a table by column; a list of texts; a list of numbers, "
    "one series; or a list of lists of numbers, several sequences.",
    "type": "array",
    "items": {
        "anyOf": [
            {"type": "object", "additionalProperties": _VALUE},
            _VALUE,
            {"type": "array", "items": {}},
        ]
    },
}


def search_options(task: Estimator) -> dict[str, Option]:
    """The options of one call of `predict`, by name."""
    return {name: option for name, option in options_of(type(task)).items() if option.group == "predict"}


def option_schema(option: Option) -> dict[str, Any]:
    """The JSON schema of an option's values.

    >>> option_schema(Option("k", int, False, False, True, None, "items of a list", (), "predict", minimum=1))
    {'type': ['integer', 'null'], 'minimum': 1, 'description': 'items of a list', 'default': None}
    """
    single: dict[str, Any] = {"type": _TYPES[option.kind]}
    if option.choices:
        single["enum"] = list(option.choices)
    if option.minimum is not None:
        single["minimum"] = option.minimum
    if option.maximum is not None:
        single["maximum"] = option.maximum
    if option.positive:
        single["exclusiveMinimum"] = 0
    schema = {"type": "array", "items": single} if option.many else single
    if option.optional:
        schema["type"] = [schema["type"], "null"]
        if "enum" in schema:
            schema["enum"].append(None)
    return schema | {"description": option.help, "default": option.default}


def request_schema(task: Estimator) -> dict[str, Any]:
    """The JSON schema of a request for predictions."""
    remembers = task.stream_ is not None
    properties = {name: option_schema(option) for name, option in search_options(task).items()}
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [] if remembers else ["source"],
        "properties": {"source": SOURCE, **properties},
    }


ANSWER: dict[str, Any] = {
    "type": "object",
    "required": ["columns", "rows"],
    "properties": {
        "columns": {"type": "array", "items": {"type": "string"}},
        "rows": {"type": "array", "items": {"type": "object"}},
        "notes": {"type": "array", "items": {"type": "string"}},
    },
}
ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string", "description": "One sentence: what, expected, received."}},
}
