"""YAML 1.2 with its core schema (section 10.3 of its specification), and nothing that was before.

ruamel.yaml reads the syntax of 1.2, but also takes over what is of YAML 1.1 or Python's only:
timestamps, merge keys (``<<``), binary data, sets, underscores in numbers.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import ConstructorError, SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.resolver import BaseResolver

__all__ = ["YAMLSyntaxError", "load_yaml"]

_PREFIX = "tag:yaml.org,2002:"
_SCALARS: dict[str, tuple[re.Pattern[str], str, Callable[[str], object]]] = {
    # Kind: what it looks like, with what it may begin, and its value.
    "null": (re.compile(r"(~|null|Null|NULL|)\Z"), "~nN", lambda text: None),
    "bool": (
        re.compile(r"(true|True|TRUE|false|False|FALSE)\Z"),
        "tTfF",
        lambda text: text.lower() == "true",
    ),
    "int": (
        re.compile(r"([-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z"),
        "-+0123456789",
        lambda text: int(text, 0) if text[1:2] in ("o", "x") else int(text),
    ),
    "float": (
        re.compile(
            r"([-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
            r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))\Z"
        ),
        "-+.0123456789",
        lambda text: float(re.sub(r"\.(?=[inIN])", "", text)),
    ),
}


class YAMLSyntaxError(ValueError):
    """A text is no YAML."""


class _Resolver(BaseResolver):
    """Tells the kind of a plain scalar."""

    def __init__(self, version: object = None, loader: Any = None) -> None:
        super().__init__(loader)

    @property
    def processing_version(self) -> tuple[int, int]:
        return (1, 2)


class _Constructor(SafeConstructor):
    """Makes values of nodes."""

    yaml_constructors: dict[Any, Any] = {}  # noqa: RUF012 - so it is in the base class

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        for key, _ in node.value:
            if not isinstance(key, ScalarNode):
                raise _wrong("a key must be one value", key)
            if key.value == "<<" and key.style is None:
                raise _wrong("merge keys (<<) are not in YAML 1.2", key)
        return super().construct_mapping(node, deep=deep)

    def _scalar(self, node: Any) -> object:
        kind = str(node.tag).removeprefix(_PREFIX)
        pattern, _, value = _SCALARS[kind]
        text = self.construct_scalar(node)
        if not pattern.match(text):
            raise _wrong(f"{text!r} is no {kind}", node)
        try:
            return value(text)
        except ValueError:
            raise _wrong(f"a number of {len(text)} digits is too long", node) from None

    def _unknown(self, node: Any) -> None:
        raise _wrong(
            f"the tag {str(node.tag).replace(_PREFIX, '!!')} is not in the core schema", node
        )


def _wrong(problem: str, node: Any) -> ConstructorError:
    return ConstructorError(None, None, problem, node.start_mark)


for _kind, (_pattern, _first, _value) in _SCALARS.items():
    _begins = [*_first, ""] if _kind == "null" else [*_first]
    _Resolver.add_implicit_resolver_base(_PREFIX + _kind, _pattern, _begins)
    _Constructor.add_constructor(_PREFIX + _kind, _Constructor._scalar)
for _kind in ("str", "seq", "map"):
    _Constructor.add_constructor(
        _PREFIX + _kind, SafeConstructor.yaml_constructors[_PREFIX + _kind]
    )
_Constructor.add_constructor(None, _Constructor._unknown)


def load_yaml(text: str) -> Any:
    """The data in a text of YAML, which holds one document.

    :raises YAMLSyntaxError: when it is none, in one line that tells where.
    """
    yaml = YAML(typ="safe", pure=True)
    yaml.Resolver, yaml.Constructor = _Resolver, _Constructor
    try:
        return yaml.load(text)
    except MarkedYAMLError as exc:
        problem = " ".join(str(exc.problem).split("\n")[:1])
        mark = exc.problem_mark
        where = "" if mark is None else f" in line {mark.line + 1}, column {mark.column + 1}"
        raise YAMLSyntaxError(problem + where) from exc
    except RecursionError as exc:
        raise YAMLSyntaxError("nested too deep") from exc
    except (YAMLError, ValueError) as exc:
        raise YAMLSyntaxError(str(exc).splitlines()[0]) from exc
