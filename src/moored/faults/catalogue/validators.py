"""What a field of a fault may hold, as a check and as JSON Schema in one.

Each is a validator of attrs.  The published schema of schedules is made of them (see
:mod:`moored.faults.json_schema`), so a bound stands in one place.  ``None`` passes where it is the
default, or where the validator is told so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import attrs

from moored.faults.catalogue.checks import (
    ScheduleError,
    check_integer,
    check_number,
    check_printable,
    check_text,
)

__all__ = [
    "BODY",
    "COUNT",
    "HEADERS",
    "LINE",
    "NUMBER",
    "NUMBERS",
    "PATH",
    "PRINTABLE",
    "SECONDS",
    "Integer",
    "Line",
    "Number",
    "NumberOr",
    "Path",
    "Printable",
    "Schema",
    "Text",
    "given",
    "one_of",
]

Schema = dict[str, Any]


def _may_be_none(attribute: attrs.Attribute[Any], value: object) -> bool:
    return value is None and attribute.default is None


@attrs.frozen
class Integer:
    """An integer within bounds, both included.

    :ivar nullable: whether ``None`` passes though it is not the default.
    """

    minimum: int = 0
    maximum: int | None = None
    nullable: bool = False

    def __call__(self, fault: object, attribute: attrs.Attribute[Any], value: object) -> None:
        """Check.

        :raises ScheduleError: when it is not.
        """
        if not (_may_be_none(attribute, value) or (value is None and self.nullable)):
            maximum = math.inf if self.maximum is None else self.maximum
            check_integer(attribute.name, value, minimum=self.minimum, maximum=maximum)

    @property
    def schema(self) -> Schema:
        """The same as JSON Schema."""
        bound = {} if self.maximum is None else {"maximum": self.maximum}
        return {"type": "integer", "minimum": self.minimum, **bound}


@attrs.frozen
class Number:
    """A finite number from 0.

    :ivar positive: whether 0 itself is too little.
    """

    maximum: float | None = None
    positive: bool = False

    def __call__(self, fault: object, attribute: attrs.Attribute[Any], value: object) -> None:
        """Check.

        :raises ScheduleError: when it is not.
        """
        if _may_be_none(attribute, value):
            return
        maximum = math.inf if self.maximum is None else self.maximum
        check_number(attribute.name, value, maximum=maximum)
        if self.positive and value == 0:
            raise ScheduleError(attribute.name, value, "more than 0")

    @property
    def schema(self) -> Schema:
        """The same as JSON Schema."""
        least = "exclusiveMinimum" if self.positive else "minimum"
        bound = {} if self.maximum is None else {"maximum": self.maximum}
        return {"type": "number", least: 0, **bound}


# Patterns mean the same to ECMAScript and to Python, whose "$" also matches before a line end.


@attrs.frozen
class Text:
    """Text that UTF-8 can hold.

    :ivar returns: whether it may have carriage returns.
    """

    returns: bool = True

    def __call__(self, fault: object, attribute: attrs.Attribute[Any], value: object) -> None:
        """Check.

        :raises ScheduleError: when it is not.
        """
        if _may_be_none(attribute, value):
            return
        check_text(attribute.name, value, lines=True)
        if not self.returns and "\r" in str(value):
            raise ScheduleError(attribute.name, value, "text whose lines end with \\n")

    @property
    def schema(self) -> Schema:
        """The same as JSON Schema."""
        return {"type": "string"} if self.returns else {"type": "string", "pattern": r"^[^\r]*$"}


@attrs.frozen
class Line:
    """One line of text."""

    def __call__(self, fault: object, attribute: attrs.Attribute[Any], value: object) -> None:
        """Check.

        :raises ScheduleError: when it is not.
        """
        if not _may_be_none(attribute, value):
            check_text(attribute.name, value)

    @property
    def schema(self) -> Schema:
        """The same as JSON Schema."""
        return {"type": "string", "pattern": r"^[^\r\n]*(?![\r\n])$"}


@attrs.frozen
class Printable:
    """Printable ASCII, which may stand in an HTTP header."""

    def __call__(self, fault: object, attribute: attrs.Attribute[Any], value: object) -> None:
        """Check.

        :raises ScheduleError: when it is not.
        """
        if not _may_be_none(attribute, value):
            check_printable(attribute.name, value)

    @property
    def schema(self) -> Schema:
        """The same as JSON Schema."""
        return {"type": "string", "pattern": r"^[ -~]*(?!\n)$"}


@attrs.frozen
class Path:
    """Text that begins with a slash."""

    def __call__(self, fault: object, attribute: attrs.Attribute[Any], value: object) -> None:
        """Check.

        :raises ScheduleError: when it is not.
        """
        right = isinstance(value, str) and value[:1] == "/"
        if not (_may_be_none(attribute, value) or right):
            raise ScheduleError(attribute.name, value, "text that begins with '/'")

    @property
    def schema(self) -> Schema:
        """The same as JSON Schema."""
        return {"type": "string", "pattern": "^/"}


@attrs.frozen
class NumberOr:
    """A number, or text of a kind."""

    text: Line | Printable
    number: Number | Integer = Number()

    def __call__(self, fault: object, attribute: attrs.Attribute[Any], value: object) -> None:
        """Check.

        :raises ScheduleError: when it is neither.
        """
        (self.text if isinstance(value, str) else self.number)(fault, attribute, value)

    @property
    def schema(self) -> Schema:
        """The same as JSON Schema."""
        return {"anyOf": [self.number.schema, self.text.schema]}


COUNT = Integer(0)
NUMBER = Integer(1)
SECONDS = Number()
LINE = Line()
PRINTABLE = Printable()
PATH = Path()

# Schemas of what fault_from_dict() and the converters of a field take.

NUMBERS: Schema = {
    "anyOf": [
        NUMBER.schema,
        {"type": "array", "items": NUMBER.schema, "minItems": 1},
        {
            "type": "object",
            "properties": {"from": NUMBER.schema, "to": NUMBER.schema},
            "required": ["from"],
            "additionalProperties": False,
        },
    ]
}
_HEADER_NAME = {
    "type": "string",
    "pattern": r"^[-_]*[A-Za-z0-9][-_A-Za-z0-9]*(?!\n)$",
    "not": {
        "pattern": "^([Cc][Oo][Nn][Nn][Ee][Cc][Tt][Ii][Oo][Nn]"
        "|[Cc][Oo][Nn][Tt][Ee][Nn][Tt]-[Ll][Ee][Nn][Gg][Tt][Hh]"
        "|[Tt][Rr][Aa][Nn][Ss][Ff][Ee][Rr]-[Ee][Nn][Cc][Oo][Dd][Ii][Nn][Gg])$"
    },
}
HEADERS: Schema = {
    "anyOf": [
        {
            "type": "object",
            "propertyNames": _HEADER_NAME,
            "additionalProperties": PRINTABLE.schema,
        },
        {
            "type": "array",
            "items": {
                "type": "array",
                "prefixItems": [_HEADER_NAME, PRINTABLE.schema],
                "items": False,
                "minItems": 2,
            },
        },
    ]
}
_BASE64 = r"^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?(?!\n)$"
BODY: Schema = {
    "anyOf": [
        {"type": "string"},
        {
            "type": "object",
            "properties": {"base64": {"type": "string", "pattern": _BASE64}},
            "required": ["base64"],
            "additionalProperties": False,
        },
    ]
}


# What holds between fields, for the ``rules`` of a kind.


def given(field: str) -> Schema:
    """The field is there, and not null."""
    return {"required": [field], "properties": {field: {"not": {"type": "null"}}}}


def one_of(field: str, values: Iterable[Any]) -> Schema:
    """The field is there, and has one of the values."""
    return {"required": [field], "properties": {field: {"enum": list(values)}}}
