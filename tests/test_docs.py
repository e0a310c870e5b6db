"""The docs say what the code does: generated parts are up to date, and examples are valid.

Every ``python`` block in README.md and docs/ has to compile (``await`` at top level is fine), and
the names of Moored that it uses have to be public.  A block directly after the line
``<!-- run -->`` is run too, under ``trio.run`` if it awaits at top level.  Where a ``text`` block
follows it, that is what it has to print.
"""

import ast
import contextlib
import inspect
import io
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import CodeType
from typing import NamedTuple

import pytest
import trio

import moored

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    *sorted(p for p in ROOT.glob("docs/**/*.md") if "_build" not in p.parts),
]

FENCE = re.compile(
    r"^(?P<run><!-- run -->\n\n?)?"
    r"```python\n(?P<code>.*?)^```$"
    r"(?:\n\n```text\n(?P<prints>.*?)^```$)?",
    re.MULTILINE | re.DOTALL,
)


class Example(NamedTuple):
    """One ``python`` block."""

    where: str
    code: str
    run: bool
    prints: str | None

    def compile(self) -> CodeType:
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        return compile(self.code, self.where, "exec", flags=flags, dont_inherit=True)


def examples_in(page: str, text: str) -> list[Example]:
    return [
        Example(
            f"{page}:{text[: found.start('code')].count(chr(10)) + 1}",
            found["code"],
            found["run"] is not None,
            found["prints"],
        )
        for found in FENCE.finditer(text)
    ]


EXAMPLES = [
    example
    for page in PAGES
    for example in examples_in(str(page.relative_to(ROOT)), page.read_text("utf-8"))
]

each_example = pytest.mark.parametrize("example", EXAMPLES, ids=[e.where for e in EXAMPLES])
each_to_run = pytest.mark.parametrize(
    "example", [e for e in EXAMPLES if e.run], ids=[e.where for e in EXAMPLES if e.run]
)


def run(example: Example) -> str:
    """Run ``example`` and return what it printed."""
    code, names = example.compile(), {"__name__": "__main__"}
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        if code.co_flags & inspect.CO_COROUTINE:

            async def main() -> None:
                await eval(code, names)

            trio.run(main)
        else:
            exec(code, names)
    return printed.getvalue()


def unknown_names(code: str) -> set[str]:
    """The names that ``code`` takes from ``moored`` which it does not export."""
    wanted = set()
    for node in ast.walk(ast.parse(code)):
        match node:
            case ast.Attribute(value=ast.Name(id="moored"), attr=name):
                wanted.add(name)
            case ast.ImportFrom(module="moored", names=names):
                wanted |= {alias.name for alias in names}
    packages = {path.name for path in (ROOT / "src/moored").iterdir()}
    return wanted - set(moored.__all__) - packages


# ---------------------------------------------------------------------------- the docs


def test_generated_parts_are_up_to_date():
    result = subprocess.run(
        [sys.executable, ROOT / "docs/diagram.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, f"run `python docs/diagram.py`\n{result.stdout}{result.stderr}"


def test_a_part_changed_by_hand_is_noticed(tmp_path):
    """And put right by the command that the first test names."""
    shutil.copytree(ROOT / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("_build"))
    shutil.copy(ROOT / "README.md", tmp_path)
    (tmp_path / "docs/_static/states.svg").unlink()
    page = tmp_path / "docs/recovery.md"
    true = page.read_text("utf-8")
    page.write_text(true.replace("| `BACKOFF` | `RetryDue` |", "| `BACKOFF` | `Heard` |"), "utf-8")
    assert page.read_text("utf-8") != true

    script = [sys.executable, tmp_path / "docs/diagram.py"]
    assert subprocess.run([*script, "--check"], capture_output=True, check=False).returncode == 1
    assert subprocess.run(script, capture_output=True, check=False).returncode == 0
    assert page.read_text("utf-8") == true
    svg = "docs/_static/states.svg"
    assert (tmp_path / svg).read_text("utf-8") == (ROOT / svg).read_text("utf-8")


@each_example
def test_example_is_valid(example):
    example.compile()
    if hasattr(moored, "__all__"):  # until the front door is there
        assert unknown_names(example.code) == set()


@each_to_run
def test_example_runs(example):
    printed = run(example)
    if example.prints is not None:
        assert printed == example.prints


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_between_files_lead_somewhere(page):
    """Sphinx checks those inside docs/, but README.md is outside of it."""
    targets = re.findall(r"\]\(([^)#\s]+)", page.read_text("utf-8"))
    missing = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert missing == []


# ---------------------------------------------------------------------------- this test


def test_examples_are_found():
    ran = "<!-- run -->\n```python\nprint(6 * 7)\n```\n\n```text\n42\n```\n"
    text = f"Hi\n\n{ran}\n```python\nx\n```\n"
    first, second = examples_in("page.md", text)
    assert first == Example("page.md:5", "print(6 * 7)\n", True, "42\n")
    assert second == Example("page.md:13", "x\n", False, None)
    assert run(first) == first.prints


def test_an_example_may_await():
    (example,) = examples_in(
        "page.md", "```python\nimport trio\nawait trio.sleep(0)\nprint(1)\n```"
    )
    assert run(example) == "1\n"


def test_a_broken_example_is_noticed():
    (example,) = examples_in("page.md", "```python\nasync with as stream: ...\n```\n")
    with pytest.raises(SyntaxError):
        example.compile()


@pytest.mark.skipif(not hasattr(moored, "__all__"), reason="the front door is not there yet")
def test_a_name_that_is_not_public_is_noticed():
    assert unknown_names("moored.Nonsense(); moored.core.sse; from moored import Gone") == {
        "Nonsense",
        "Gone",
    }
