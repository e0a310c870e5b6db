"""What a server's headers tell about its limits.  Pure: headers in, values out.

The spellings that are read:

- ``Retry-After`` (RFC 9110, section 10.2.3; a Go duration too) and ``retry-after-ms``; one that is
  longer than 32 days counts as so long;
- ``x-ratelimit-{limit,remaining,reset}-{requests,tokens}`` of OpenAI, Azure and Groq, also with a
  window behind it, such as ``-minute`` or ``-day`` (Cerebras, Mistral);
- ``anthropic-ratelimit-{requests,tokens,input-tokens,output-tokens}-{limit,remaining,reset}``;
- ``x-ratelimit-{limit,remaining,reset}`` of GitHub and many others;
- ``RateLimit`` and ``RateLimit-Policy`` of draft-ietf-httpapi-ratelimit-headers, with
  ``RateLimit-{Limit,Remaining,Reset}`` of its older versions.

A moment may be given as a Go duration (``6m0s``, ``120ms``), in seconds, in seconds or milliseconds
since the epoch, by RFC 3339, or as an HTTP date.  What makes no sense is left out, and nothing
raises: these are somebody else's headers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import attrs

from moored.core.backoff import retry_after_of

__all__ = ["Quota", "RateLimitHeaders", "parse_headers"]

_LONGEST = 32 * 86400.0
"""Seconds: the longest time that is believed, that of a monthly quota."""

_MOST = 1e15
_LONGEST_VALUE = 4096


@attrs.frozen
class Quota:
    """One limit as the server sees it; ``None`` for what it does not tell.

    :param dimension: what is limited: ``"requests"``, ``"tokens"``, ``"input_tokens"`` or
        ``"output_tokens"``.
    :param limit: units in the full quota.
    :param remaining: units that are left.
    :param reset_after: seconds until the quota is full again.
    :param window: what the server calls the limit's window, such as ``"day"``; mostly empty.
    :param gradual: whether units come back one by one until then, as in the limits of OpenAI and
        Anthropic, or all together at the end of a window.
    """

    dimension: str
    limit: float | None = None
    remaining: float | None = None
    reset_after: float | None = None
    window: str = ""
    gradual: bool = False


@attrs.frozen
class RateLimitHeaders:
    """What one answer's headers tell.

    :param retry_after: seconds that the server asks to wait, or ``None``.
    :param quotas: its limits, in the order in which the headers name them.
    """

    retry_after: float | None = None
    quotas: tuple[Quota, ...] = ()


def parse_headers(
    headers: Mapping[str, str] | Iterable[tuple[str, str]], *, wall_time: float
) -> RateLimitHeaders:
    """Read all that is known about limits from an answer's headers.

    :param headers: a mapping, such as httpx's, or pairs of name and value.
    :param wall_time: the present, in seconds since the epoch.  Where the answer has a ``Date``, its
        moments are compared with that instead: our clock may be wrong.
    """
    found = dict(_sound(headers))
    present = _moment(found.get("date", ""))
    if present is None:
        present = wall_time
    retry_after = retry_after_of(found.items(), wall_time=present)
    if retry_after is None and _DURATION.match(found.get("retry-after", "")):
        retry_after = _duration(found["retry-after"])
    if retry_after is not None:  # however long: to ignore it would be worse
        retry_after = min(retry_after, _LONGEST)
    return RateLimitHeaders(retry_after, tuple(_quotas(found, wall_time=present)))


def _sound(headers: Any) -> Iterator[tuple[str, str]]:
    for name, value in headers.items() if isinstance(headers, Mapping) else headers:
        if isinstance(name, bytes) and isinstance(value, bytes):
            name, value = name.decode("latin-1"), value.decode("latin-1")
        if isinstance(name, str) and isinstance(value, str) and len(value) <= _LONGEST_VALUE:
            yield name.lower(), value.strip()


# ---------------------------------------------------------------------------- quotas

_DIMENSION = "requests|req|tokens|input-tokens|output-tokens"
_FIELD = "limit|remaining|reset"
_SPELLINGS = [
    re.compile(pattern, re.ASCII)
    for pattern in (
        rf"x-rate-?limit-(?P<field>{_FIELD})(?:-(?P<dimension>{_DIMENSION}))?"
        r"(?:-(?P<window>second|minute|hour|day|month))?\Z",
        rf"anthropic-ratelimit-(?P<dimension>{_DIMENSION})-(?P<field>{_FIELD})\Z",
        rf"ratelimit-(?P<field>{_FIELD})\Z",
    )
]
_GRADUAL = re.compile(rf"anthropic-|x-ratelimit-(?:{_FIELD})-(?:{_DIMENSION})\Z")


def _quotas(headers: Mapping[str, str], *, wall_time: float) -> Iterator[Quota]:
    merged: dict[tuple[str, str], Quota] = {}
    for header, value in headers.items():
        for spelling in _SPELLINGS:
            if match := spelling.match(header):
                names = match.groupdict()
                key = (_dimension(names.get("dimension")), names.get("window") or "")
                quota = merged.get(key) or Quota(
                    key[0], window=key[1], gradual=_GRADUAL.match(header) is not None
                )
                merged[key] = _with(quota, names["field"], value, wall_time)
    yield from (quota for quota in merged.values() if _tells(quota))
    yield from (quota for quota in _structured(headers, wall_time) if _tells(quota))


def _dimension(name: str | None) -> str:
    return {"req": "requests"}.get(name or "", name or "requests").replace("-", "_")


def _with(quota: Quota, field: str, value: str, wall_time: float) -> Quota:
    if field == "reset":
        return attrs.evolve(quota, reset_after=_seconds(value, wall_time))
    # The older drafts add windows behind the number: "100, 100;w=60".
    number = _number(re.split("[,;]", value, maxsplit=1)[0])
    if field == "limit":
        return attrs.evolve(quota, limit=number)
    return attrs.evolve(quota, remaining=number)


def _tells(quota: Quota) -> bool:
    return any(each is not None for each in (quota.limit, quota.remaining, quota.reset_after))


_MEMBER = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^,"])+')
_PARAMETER = re.compile(r"(?:\A|;)\s*([a-z]+)=\"?([A-Za-z0-9.-]+)", re.ASCII)


def _structured(headers: Mapping[str, str], wall_time: float) -> Iterator[Quota]:
    """``RateLimit``, in the newest draft's form and in that of draft 07."""
    policies = dict(_members(headers.get("ratelimit-policy", "")))
    members = _members(headers.get("ratelimit", ""))
    old: dict[str, str] = {}
    for name, parameters in members:
        policy = policies.get(name, {})
        if policy.get("qu", "requests") != "requests":
            continue  # bytes, or requests at once
        if "r" in parameters:
            yield Quota(
                "requests",
                limit=_number(policy.get("q", "")),
                remaining=_number(parameters["r"]),
                reset_after=_seconds(parameters.get("t", ""), wall_time),
                window=name.strip('"'),
            )
        old |= parameters
    if "remaining" in old:
        yield Quota(
            "requests",
            limit=_number(old.get("limit", "")),
            remaining=_number(old["remaining"]),
            reset_after=_seconds(old.get("reset", ""), wall_time),
        )


def _members(value: str) -> list[tuple[str, dict[str, str]]]:
    """``"a";q=1;w=2, "b";q=3`` as pairs of name and parameters."""
    found = []
    for member in _MEMBER.findall(value):
        name = member.partition(";")[0].strip()
        found.append((name, dict(_PARAMETER.findall(member.strip()))))
    return found


# ---------------------------------------------------------------------------- values

_NUMBER = re.compile(r"[0-9]{1,20}(?:\.[0-9]{0,20})?\Z", re.ASCII)
_DURATION = re.compile(r"(?:[0-9]{1,20}(?:\.[0-9]{0,20})?(?:ns|us|µs|ms|[smhd]))+\Z")
_PART = re.compile(r"([0-9.]+)(ns|us|µs|ms|[smhd])")
_UNITS = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86400.0,
}
_EPOCH = 1e8  # more seconds than any quota's; as a moment, 1973
_EPOCH_MILLISECONDS = 1e11


def _number(text: str) -> float | None:
    text = text.strip()
    return _within(float(text), _MOST) if _NUMBER.match(text) else None


def _seconds(text: str, wall_time: float) -> float | None:
    """From now until what ``text`` says; 0 for what is past, ``None`` for nonsense."""
    text = text.strip()
    if _DURATION.match(text):
        return _within(_duration(text), _LONGEST)
    number = _number(text)
    if number is not None and number < _EPOCH:
        return _within(number, _LONGEST)
    if number is not None:
        moment = number / 1000 if number >= _EPOCH_MILLISECONDS else number
    else:
        written = _moment(text)
        if written is None:
            return None
        moment = written
    return _within(max(0.0, moment - wall_time), _LONGEST)


def _duration(text: str) -> float:
    return sum(float(value) * _UNITS[unit] for value, unit in _PART.findall(text))


def _moment(text: str) -> float | None:
    """RFC 3339, or an HTTP date, in seconds since the epoch."""
    try:
        date = datetime.fromisoformat(text) if text[:1].isdecimal() else parsedate_to_datetime(text)
        if date.tzinfo is None:
            date = date.replace(tzinfo=UTC)
        return date.timestamp()
    except (ValueError, IndexError, TypeError, OverflowError):
        return None


def _within(value: float | None, most: float) -> float | None:
    return value if value is not None and math.isfinite(value) and 0 <= value <= most else None
