"""The JSON Schema of schedule files, made from the fields of the faults."""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Iterator
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import attrs

from moored.faults.catalogue.base import Fault
from moored.faults.catalogue.validators import COUNT, NUMBER, NUMBERS, SECONDS, Schema
from moored.faults.notation import plain_value
from moored.faults.recording import VERSION
from moored.faults.schedule import KINDS

__all__ = ["schedule_json_schema"]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TITLE = "A schedule of faults for Moored's fault proxy, or a recording of one"


def schedule_json_schema() -> Schema:
    """The JSON Schema (draft 2020-12) of what :func:`~moored.faults.load_schedule` reads.

    The same is in the package as ``moored/faults/schedule.schema.json``.  What it cannot say: the
    end of a range is not before its start, text has no lone surrogates, and the reason of a close
    frame is measured in bytes.
    """
    faults = {"type": "array", "items": {"$ref": "#/$defs/fault"}}
    with_schema = {
        "type": "object",
        "properties": {"$schema": {"type": "string"}, "faults": faults},
        "required": ["faults"],
        "additionalProperties": False,
    }
    return {
        "$schema": _DIALECT,
        "title": _TITLE,
        "anyOf": [faults, with_schema, {"$ref": "#/$defs/recording"}],
        "$defs": {
            "fault": {
                "type": "object",
                "required": ["fault"],
                "oneOf": [{"$ref": f"#/$defs/{name}"} for name in KINDS],
            },
            "numbers": NUMBERS,
            "recording": _recording(),
            **{name: _fault(kind) for name, kind in KINDS.items()},
        },
    }


def _fault(kind: type[Fault]) -> Schema:
    types_of = get_type_hints(kind)
    texts = dict(_field_texts(kind))
    properties = {"fault": {"const": kind.kind}}
    required = ["fault"]
    for field in attrs.fields(kind):
        schema = dict(_field(field, types_of[field.name]))
        if field.name in texts:
            schema["description"] = texts[field.name]
        if field.default is attrs.NOTHING:
            required.append(field.name)
        elif field.default is not None:
            schema["default"] = plain_value(field.default)
        properties[field.name] = schema
    rules = [rule for each in kind.__mro__ for rule in vars(each).get("rules", ())]
    return {
        "title": kind.kind,
        "description": _plain_text((inspect.getdoc(kind) or "").split("\n\n")[0]),
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
        **({"allOf": rules} if rules else {}),
    }


def _field(field: attrs.Attribute[Any], hint: Any) -> Schema:
    """What a field may hold: by its metadata, its validator or its type, the first that says."""
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    if "schema" in field.metadata:
        schema = field.metadata["schema"]
    elif field.validator is not None:
        schema = getattr(field.validator, "schema")  # noqa: B009 - not one of every validator
    else:
        schema = _by_type(field, next(each for each in options if each is not types.NoneType))
    if schema is NUMBERS:  # The longest, and on every kind.
        schema = {"$ref": "#/$defs/numbers"}
    return _or_null(schema) if types.NoneType in options else schema


def _or_null(schema: Schema) -> Schema:
    match schema:
        case {"type": kind}:
            return {**schema, "type": [kind, "null"]}
        case {"enum": choices}:
            return {**schema, "enum": [*choices, None]}
        case {"anyOf": options}:
            return {**schema, "anyOf": [*options, {"type": "null"}]}
        case _:
            return {"anyOf": [schema, {"type": "null"}]}


def _by_type(field: attrs.Attribute[Any], hint: Any) -> Schema:
    if get_origin(hint) is Literal:
        return {"enum": list(get_args(hint))}
    if hint is bool:
        return {"type": "boolean"}
    raise TypeError(f"{field.name} of type {hint} needs a validator that has a schema")


def _recording() -> Schema:
    entry = {
        "type": "object",
        "description": "A fault that took effect, and where.",
        "properties": {
            "fault": {"$ref": "#/$defs/fault"},
            "connection": NUMBER.schema,
            "time": {"type": "number", "description": "Seconds since the proxy began."},
            "detail": {"type": "string"},
            "path": {"type": "string"},
            "messages": COUNT.schema,
            "bytes": COUNT.schema,
            "seconds": SECONDS.schema,
            "message": _or_null(NUMBER.schema),
        },
        "required": ["fault", "connection", "bytes", "seconds"],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {
            "recording": {"const": VERSION},
            "seed": {"type": "integer"},
            "forgotten": {"const": 0},
            "injected": {"type": "array", "items": entry},
        },
        "required": ["recording", "injected"],
    }


_FIELD_TEXT = re.compile(r"^:ivar (\w+): (.*?)(?=^\S|\n\n|\Z)", re.MULTILINE | re.DOTALL)


def _field_texts(kind: type[Fault]) -> Iterator[tuple[str, str]]:
    """The text about each field, from the docstrings, those of the kind itself last."""
    for each in reversed(kind.__mro__):
        for name, text in _FIELD_TEXT.findall(inspect.cleandoc(each.__doc__ or "")):
            yield name, _plain_text(text)


def _plain_text(text: str) -> str:
    text = re.sub(r":[a-z]+:`~?([^`]+)`", r"\1", " ".join(text.split()))
    return text.replace("``", "")
