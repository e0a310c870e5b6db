"""The rules of the house: layers, the front door, sizes, and what no file may name."""

import ast
import fnmatch
import importlib
import inspect
import itertools
import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

import moored

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src"
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"][
    "contracts"
]


def module_name(path: Path) -> str:
    parts = path.relative_to(SRC).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PATHS = {module_name(path): path for path in sorted(SRC.rglob("*.py"))}
SOURCES = {name: path.read_text("utf-8") for name, path in PATHS.items()}
PACKAGES = {name for name, path in PATHS.items() if path.name == "__init__.py"}

# ---------------------------------------------------------------------------- layers
#
# import-linter reads the same contracts in .ci/run.  This is a second reading, so that pytest alone
# shows a breach.


def imports(name: str, source: str, known: set[str], packages: set[str]) -> Iterator[str]:
    """The modules that module ``name`` imports: ours exactly, others by their first name."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                wanted = [(alias.name, "") for alias in names]
            case ast.ImportFrom(module=module, names=names, level=level):
                base = name.split(".")
                base = base[: len(base) - level + (name in packages)] if level else []
                start = ".".join([*base, *([module] if module else [])])
                wanted = [(start, alias.name) for alias in names]
            case _:
                continue
        for start, last in wanted:
            full = f"{start}.{last}" if f"{start}.{last}" in known else start
            yield full if full in known else full.split(".")[0]


def graph(sources: dict[str, str], packages: set[str]) -> dict[str, set[str]]:
    known = set(sources)
    return {name: set(imports(name, text, known, packages)) for name, text in sources.items()}


def inside(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def floor(layer: str) -> list[str]:
    """The modules of one line of ``layers``: ``a``, ``(optional)``, ``a | b`` or ``a : b``."""
    return [name.strip(" ()") for name in re.split(r"[|:]", layer)]


def forbidden_pairs(contract: dict) -> Iterator[tuple[str, str]]:
    """Which part may not import which, however indirectly."""
    if contract["type"] == "layers":
        layers = contract["layers"]
        for place, layer in enumerate(layers):
            for higher in layers[:place]:
                yield from itertools.product(floor(layer), floor(higher))
            if "|" in layer:  # these do not know each other either
                yield from itertools.permutations(floor(layer), 2)
    else:
        assert contract["type"] == "forbidden"
        yield from itertools.product(contract["source_modules"], contract["forbidden_modules"])


def breaches(edges: dict[str, set[str]], contracts: Iterable[dict]) -> list[str]:
    """The chains of imports that ``contracts`` forbid."""
    found = []
    for contract in contracts:
        for source, target in forbidden_pairs(contract):
            chains = [(name,) for name in edges if inside(name, source)]
            seen = {chain[-1] for chain in chains}
            while chains:
                chain = chains.pop()
                for each in sorted(edges.get(chain[-1], ())):
                    if inside(each, target):
                        found.append(f"{contract['name']}: {' -> '.join((*chain, each))}")
                    elif each not in seen:
                        seen.add(each)
                        chains.append((*chain, each))
    return found


def test_each_floor_imports_only_from_those_under_it():
    assert breaches(graph(SOURCES, PACKAGES), CONTRACTS) == []


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("moored.core.causes", "import trio"),
        ("moored.core.machine", "from trio.lowlevel import checkpoint"),
        ("moored.core.machine", "def f():\n    import time"),
        ("moored.core.sse", "from ..transports import base"),
        ("moored.core.sse", "import moored"),
        ("moored.faults", "from moored import stream"),
        ("moored.faults", "from ..errors import MooredError"),
        ("moored.transports.base", "from .. import stream"),
        ("moored.transports", "from .. import cli"),
    ],
)
def test_a_breach_is_noticed(module, line):
    here = {
        "moored": "from .stream import Stream",
        "moored.errors": "",
        "moored.stream": "from .transports import base\nimport trio",
        "moored.transports": "",
        "moored.transports.base": "",
        "moored.faults": "",
        "moored.cli": "",
        "moored.core": "",
        "moored.core.causes": "import ssl",
        "moored.core.machine": "from .causes import Cause",
        "moored.core.sse": "import attrs",
    }
    packages = {"moored", "moored.core", "moored.transports", "moored.faults", "moored.cli"}
    assert breaches(graph(here, packages), CONTRACTS) == []
    assert breaches(graph(here | {module: line}, packages), CONTRACTS) != []


def test_the_forms_of_a_layer_are_read():
    contract = {"type": "layers", "layers": ["a", "(b)", "c | d", "e : f"]}
    pairs = set(forbidden_pairs(contract))
    assert {("b", "a"), ("c", "a"), ("d", "b"), ("f", "c"), ("c", "d"), ("d", "c")} < pairs
    assert not {("e", "f"), ("f", "e"), ("a", "b"), ("c", "e")} & pairs


def test_every_module_has_a_floor():
    layers = [
        name
        for contract in CONTRACTS
        if contract["type"] == "layers"
        for layer in contract["layers"]
        for name in floor(layer)
    ]
    homeless = [
        name
        for name in SOURCES
        if name != "moored" and not any(inside(name, layer) for layer in layers)
    ]
    assert homeless == []


# ---------------------------------------------------------------------------- the front door

# The modules that users import from.  What each offers is its __all__.
DOORS = [
    name
    for name in (
        "moored",
        "moored.faults",
        "moored.faults.tcp",
        "moored.faults.control",
        "moored.faults.proxies",
        "moored.chat",
        "moored.dropin",
        "moored.limits",
        "moored.pool",
    )
    if name in SOURCES
]


def door(name: str) -> tuple[ModuleType, list[str]]:
    module = importlib.import_module(name)
    return module, list(getattr(module, "__all__", ()))


def documented_assignments(source: str) -> set[str]:
    """The names that a module assigns with a docstring under it."""
    body = ast.parse(source).body
    found = set()
    for node, after in itertools.pairwise(body):
        match node, after:
            case (
                ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(ast.Constant(str())),
            ):
                found.add(name)
    return found


def homes(name: str, thing: object) -> list[str]:
    """The modules that define ``thing`` as ``name``: one, if all is well."""
    if inspect.isclass(thing) or inspect.isfunction(thing):
        return [thing.__module__]
    return [
        module
        for module, source in SOURCES.items()
        if any(
            isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id == name
            for statement in ast.parse(source).body
            for node in ast.walk(statement)
            if isinstance(statement, ast.Assign | ast.AnnAssign)
        )
    ]


def public() -> Iterator[tuple[str, str, object]]:
    for where in DOORS:
        module, names = door(where)
        for name in names:
            yield where, name, getattr(module, name, None)


def is_documented(name: str, thing: object) -> bool:
    if inspect.isclass(thing):  # not what it inherits
        return bool(vars(thing).get("__doc__"))
    if inspect.isfunction(thing):
        return bool(thing.__doc__)
    return any(name in documented_assignments(SOURCES[home]) for home in homes(name, thing))


def test_every_public_name_exists():
    assert moored.__all__
    for where in DOORS:
        module, names = door(where)
        assert [name for name in names if not hasattr(module, name)] == [], where
        assert len(names) == len(set(names)), where


def test_every_public_name_is_documented():
    bare = [
        f"{where}.{name}"
        for where, name, thing in public()
        if not name.startswith("__") and not is_documented(name, thing)
    ]
    assert bare == []


def test_every_public_name_has_one_home_and_one_door():
    doors: dict[int, list[str]] = {}
    for where, name, thing in public():
        if name.startswith("__"):
            continue
        doors.setdefault(id(thing), []).append(f"{where}.{name}")
        home = homes(name, thing)
        assert len(home) == 1, f"{where}.{name} is defined in {home}"
        exported = getattr(importlib.import_module(home[0]), "__all__", ())
        assert name in exported, f"{home[0]}.__all__ lacks {name}"
    twice = [names for names in doors.values() if len(names) > 1]
    assert twice == []


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_every_module_exports_what_is_there(name):
    """What ``__all__`` promises exists, so that ``from module import *`` works."""
    if name.endswith("__main__"):
        return
    module, names = door(name)
    assert [each for each in names if not hasattr(module, each)] == []


# ---------------------------------------------------------------------------- sizes

MODULE_LINES = 400
FUNCTION_LINES = 70  # without the docstring: a limit must not make anyone explain less


def function_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    assert node.end_lineno is not None
    lines = node.end_lineno - node.lineno + 1
    if ast.get_docstring(node, clean=False) is not None:
        docstring = node.body[0]
        assert docstring.end_lineno is not None
        lines -= docstring.end_lineno - docstring.lineno + 1
    return lines


def too_long(sources: dict[str, str]) -> list[str]:
    found = []
    for name, source in sources.items():
        if (lines := len(source.splitlines())) > MODULE_LINES:
            found.append(f"{name}: {lines} lines")
        for node in ast.walk(ast.parse(source)):
            if (
                isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
                and (lines := function_lines(node)) > FUNCTION_LINES
            ):
                found.append(f"{name}.{node.name}: {lines} lines")
    return found


def test_nothing_is_too_long():
    assert too_long(SOURCES) == []


def test_what_is_too_long_is_noticed():
    body = "\n".join(["    pass"] * FUNCTION_LINES)
    assert too_long({"a": f"def f():\n{body}"}) == [f"a.f: {FUNCTION_LINES + 1} lines"]
    assert too_long({"a": f'def f():\n    """One\n\n    two."""\n{body}'[:-9]}) == []
    assert too_long({"a": "\n" * (MODULE_LINES + 1)}) == [f"a: {MODULE_LINES + 1} lines"]


# ---------------------------------------------------------------------------- what no file names

# Both are put together here, so that this file does not name them either.
HOSTS = [
    ".".join(pair)
    for pair in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("npmjs", "org"),
        ("crates", "io"),
        ("rubygems", "org"),
    )
]
TOP_DIRECTORIES = ("home", "root", "work", "Users", "mnt", "opt")
FORBIDDEN = re.compile(
    "|".join(
        [
            *(re.escape(host) for host in HOSTS),
            rf"(?<![\w./:-])/(?:{'|'.join(TOP_DIRECTORIES)})(?:/|\b(?=[\s\"'`)]|$))",
        ]
    ),
    re.MULTILINE,
)


def repository_files() -> Iterator[Path]:
    """The files that belong to the repository, in a checkout or in a copy without its history."""
    ignored = [".git", *(ROOT / ".gitignore").read_text("utf-8").split()]
    ignored = [pattern.rstrip("/") for pattern in ignored]

    def walk(directory: Path) -> Iterator[Path]:
        for path in sorted(directory.iterdir()):
            place = path.relative_to(ROOT).as_posix()
            if any(fnmatch.fnmatch(path.name, p) or place == p for p in ignored):
                continue
            if path.is_dir():
                yield from walk(path)
            else:
                yield path

    return walk(ROOT)


def test_no_file_names_a_registry_or_a_place_on_one_machine():
    found = []
    for path in repository_files():
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue  # not text
        found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in FORBIDDEN.finditer(text)]
    assert found == []


@pytest.mark.parametrize(
    "text",
    [f"see https://{HOSTS[0]}/simple", *(f'open("/{name}/x")' for name in TOP_DIRECTORIES)],
)
def test_a_forbidden_name_is_noticed(text):
    assert FORBIDDEN.search(text)


@pytest.mark.parametrize("text", ["https://example.com/home/", "docs/work/x", "/usr/bin/env bash"])
def test_an_ordinary_path_is_not(text):
    assert not FORBIDDEN.search(text)
