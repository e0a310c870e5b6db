"""A Sphinx extension: a name may be written as users write it, or as its own module does.

``moored.Policy`` leads to where the class is documented, ``moored.core.policy.Policy``; so does a
plain ``Policy`` in the docstrings of a module that imports it.  A field of an attrs class, which is
documented as a parameter, leads to its class.  Anything else stays a broken reference.
"""

from __future__ import annotations

import sys
from typing import Any

import attrs
from docutils.nodes import Element
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from tables import home


def full_names(target: str, module_name: str) -> list[str]:
    """What ``target``, written in ``module_name``, may stand for."""
    words = target.split(".")
    places = [(module_name, words)]
    places += [(".".join(words[:n]), words[n:]) for n in range(1, len(words))]
    found = []
    for place, rest in places:
        if place in sys.modules and hasattr(sys.modules[place], rest[0]):
            thing = getattr(sys.modules[place], rest[0])
            found.append(".".join([home(rest[0], thing), *rest[1:]]))
            # A package may document what its modules define.
            for door in (place.rpartition(".")[0], place):
                if getattr(sys.modules.get(door), rest[0], None) is thing:
                    found.append(".".join([door, *rest]))
    return found


def resolve(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: Element
) -> Element | None:
    if node.get("refdomain") != "py":
        return None
    domain: Any = env.get_domain("py")
    module_name = node.get("py:module") or "moored"
    owner = f"{module_name}.{node.get('py:class')}"
    names = [*full_names(node["reftarget"], module_name), f"{owner}.{node['reftarget']}"]
    # A type alias, as a function of the package's page has it in its signature.
    alias = [
        name
        for name in domain.objects
        if name.startswith(f"{module_name}.") and name.endswith(f".{node['reftarget']}")
    ]
    for name in names + alias * (len(alias) == 1):
        if name in domain.objects:
            entry = name
        elif is_field(name) and name.rpartition(".")[0] in domain.objects:
            entry = name.rpartition(".")[0]
        else:
            continue
        return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", entry, node, content)
    return None


def is_field(name: str) -> bool:
    """Whether ``name`` is that of a field of an attrs class."""
    owner, _, field = name.rpartition(".")
    module_name, _, class_name = owner.rpartition(".")
    kind = getattr(sys.modules.get(module_name), class_name, None)
    return isinstance(kind, type) and attrs.has(kind) and field in attrs.fields_dict(kind)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
