"""Request bodies, read as Toxiproxy's clients may rely on: as Go's JSON decoder reads them.

Keys match in any case, unknown keys are ignored, ``null`` is as if the field were left out, and so
is what follows the first value.  Whole numbers are written as such: not ``1.0``, not ``1e3``.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from starlette.requests import Request

from moored.faults.control.errors import ApiError

__all__ = [
    "MAX_BODY_BYTES",
    "Read",
    "bad_body",
    "boolean",
    "float32",
    "integer",
    "integers",
    "number",
    "read_json",
    "read_object",
    "receive_body",
    "text",
]

Read: TypeAlias = Callable[[object], Any]
"""Checks one value of a body; raises :class:`TypeError` with what it has to be."""

MAX_BODY_BYTES = 16 * 1024 * 1024
"""How long a body may be."""

_WHITESPACE = " \t\r\n"
_INT64 = 1 << 63


async def receive_body(request: Request) -> bytes | None:
    """The body of a request, read to its end; ``None`` when it is too large."""
    body = bytearray()
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= MAX_BODY_BYTES:
            body += chunk
    return bytes(body) if size <= MAX_BODY_BYTES else None


def bad_body(words: str) -> ApiError:
    """The error for a body that cannot be read."""
    return ApiError(400, f"bad request body: {words}")


def read_json(body: bytes) -> object:
    """The first JSON value of ``body``.

    :raises ApiError: when there is none.
    """
    text = body.decode("utf-8", "replace").lstrip(_WHITESPACE)
    if not text:
        raise bad_body("EOF")
    try:
        value, _ = json.JSONDecoder(parse_constant=_refuse_constant).raw_decode(text)
    except ValueError as exc:
        raise bad_body(str(exc)) from None
    except RecursionError:
        raise bad_body("nested too deep") from None
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def read_object(value: object, fields: Mapping[str, Read], where: str = "") -> dict[str, Any]:
    """The known fields of a JSON object; those that are not given, or are null, are left out.

    :param value: ``None`` reads as an object without fields.
    :param fields: for each name what checks its value.
    :param where: what the fields belong to, for the words of the error.
    :raises ApiError: when it is no object, or a field is wrong.
    """
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise bad_body(f"{where or 'the body'} must be an object")
    found = {}
    for key, given in value.items():
        name = key.lower()
        if name not in fields or given is None:
            continue
        try:
            found[name] = fields[name](given)
        except TypeError as exc:
            field = f"{where}.{name}" if where else name
            raise bad_body(f"{field} must be {exc}") from None
    return found


def text(value: object) -> str:
    """Text; half a surrogate pair, which no UTF-8 can hold, is replaced."""
    if not isinstance(value, str):
        raise TypeError("text")
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def boolean(value: object) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise TypeError("true or false")
    return value


def integer(value: object) -> int:
    """A whole number of 64 bits."""
    if not isinstance(value, int) or isinstance(value, bool) or not -_INT64 <= value < _INT64:
        raise TypeError("a whole number")
    return value


def integers(value: object) -> list[int]:
    """A list of whole numbers."""
    if not isinstance(value, list):
        raise TypeError("a list of whole numbers")
    return [integer(each) for each in value]


def number(value: object) -> float:
    """A number."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not _is_finite(value):
        raise TypeError("a number")
    return value


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer too large for a float
        return False


def float32(value: object) -> float:
    """A number as 32 bits hold it: 0.123456789 becomes 0.12345679, and 1.0 becomes 1."""
    given = number(value)
    try:
        packed = struct.pack("<f", given)
    except OverflowError:
        raise TypeError("a number of 32 bits") from None
    short = next(
        short
        for digits in range(1, 10)
        if struct.pack("<f", short := float(f"{given:.{digits}g}")) == packed
    )
    return int(short) if short.is_integer() else short
