"""Toxics as Toxiproxy's API writes them: names, attributes and units."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import attrs

from moored.faults.control.bodies import (
    Read,
    bad_body,
    float32,
    integer,
    integers,
    number,
    read_object,
    text,
)
from moored.faults.control.errors import ApiError
from moored.faults.schedule import ScheduleError
from moored.faults.tcp.toxics import KINDS, Direction, Toxic

__all__ = ["ToxicData"]

_MILLISECOND = 1e-3
_MICROSECOND = 1e-6
_KILOBYTE = 1000


class _Attribute(NamedTuple):
    """How one attribute is read, and what it is worth in seconds or bytes.

    :ivar to_value: the API takes negative numbers; they mean nothing, as 0 does.
    """

    read: Read
    default: Any
    to_value: Callable[[Any], Any]


def _whole(unit: float) -> _Attribute:
    return _Attribute(integer, 0, lambda count: max(0, count) * unit)


_ATTRIBUTES: dict[str, dict[str, _Attribute]] = {
    "latency": {"latency": _whole(_MILLISECOND), "jitter": _whole(_MILLISECOND)},
    "bandwidth": {"rate": _whole(_KILOBYTE)},
    "slicer": {
        "average_size": _whole(1),
        "size_variation": _whole(1),
        "delay": _whole(_MICROSECOND),
    },
    "limit_data": {"bytes": _whole(1)},
    "slow_close": {"delay": _whole(_MILLISECOND)},
    "reset_peer": {"timeout": _whole(_MILLISECOND)},
    "timeout": {"timeout": _whole(_MILLISECOND)},
    "noop": {},
    # Moored's own.
    "corrupt": {
        "share": _Attribute(number, 0, lambda share: share),
        "offsets": _Attribute(integers, [], tuple),
        "seed": _Attribute(integer, 0, lambda seed: seed),
    },
    "half_open": {},
    "never_answer": {},
}

_DIRECTIONS: dict[str, Direction] = {"upstream": "upstream", "downstream": "downstream"}


@attrs.frozen
class ToxicData:
    """One toxic as it was given.

    :ivar stream: as written, in any case.
    :ivar attributes: all of its type, in the API's units.
    """

    name: str
    type: str
    stream: str
    toxicity: float
    attributes: Mapping[str, Any]

    @property
    def direction(self) -> Direction:
        """The direction that ``stream`` names."""
        return _DIRECTIONS[self.stream.lower()]

    @property
    def toxic(self) -> Toxic:
        """The toxic, in seconds and bytes."""
        known = _ATTRIBUTES[self.type]
        values = {name: known[name].to_value(given) for name, given in self.attributes.items()}
        return KINDS[self.type](**values)

    def as_data(self) -> dict[str, Any]:
        """As the API answers."""
        return {
            "attributes": dict(self.attributes),
            "name": self.name,
            "type": self.type,
            "stream": self.stream,
            "toxicity": self.toxicity,
        }

    @classmethod
    def create(cls, body: object, is_taken: Callable[[str], bool]) -> ToxicData:
        """Read a new one.

        :param is_taken: whether there is a toxic with that name.
        :raises ApiError: as the API refuses it, in its order of tests.
        """
        fields = {"name": text, "type": text, "stream": text, "toxicity": float32}
        given = read_object(body, {**fields, "attributes": _object})
        stream = given.get("stream", "downstream")
        kind = given.get("type", "")
        if stream.lower() not in _DIRECTIONS:
            raise ApiError(400, "stream was invalid, can be either upstream or downstream")
        if kind not in _ATTRIBUTES:
            raise ApiError(400, "invalid toxic type")
        name = given.get("name") or f"{kind}_{stream}"
        if is_taken(name):
            raise ApiError(409, "toxic already exists")
        attributes = {key: each.default for key, each in _ATTRIBUTES[kind].items()}
        new = cls(name, kind, stream, given.get("toxicity", 1), attributes)
        return new._with(given)

    def updated(self, body: object) -> ToxicData:
        """This one with what ``body`` changes.

        :raises ApiError: as the API refuses it.
        """
        return self._with(read_object(body, {"toxicity": float32, "attributes": _object}))

    def _with(self, given: Mapping[str, Any]) -> ToxicData:
        reads = {name: each.read for name, each in _ATTRIBUTES[self.type].items()}
        changed = read_object(given.get("attributes"), reads, "attributes")
        new = attrs.evolve(
            self,
            toxicity=given.get("toxicity", self.toxicity),
            attributes={**self.attributes, **changed},
        )
        try:
            assert new.toxic
        except ScheduleError as exc:
            raise bad_body(f"attributes.{exc}") from None
        return new


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("an object")
    return value
