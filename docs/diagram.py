"""Writes what is generated into the docs: ``python docs/diagram.py``, after a change to the code.

From :data:`moored.core.transitions.TRANSITIONS` come the state diagram, as Mermaid in README.md and
as docs/_static/states.svg, and the tables of the docs (see docs/tables.py).  From the faults comes
schedule.schema.json, in docs/_static and in the package.  With
``--check`` nothing is written, and the exit status is 1 if a file is out of date.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import tables

from moored import faults
from moored.core.transitions import TRANSITIONS, State

ROOT = Path(__file__).parents[1]

Edge = tuple[State, State]


def labels() -> dict[Edge, list[str]]:
    """The inputs that lead from each state to each, in the order of the table."""
    found: dict[Edge, list[str]] = {}
    for (here, event), (then, _) in TRANSITIONS.items():
        found.setdefault((here, then), []).append(event.__name__)
    return found


# ---------------------------------------------------------------------------- Mermaid


def mermaid() -> str:
    """The diagram for README.md."""
    first, last = State.CONNECTING.name, State.CLOSED.name
    lines = ["stateDiagram-v2", f"    [*] --> {first}"]
    lines += [
        f"    {here.name} --> {then.name}: {', '.join(inputs)}"
        for (here, then), inputs in labels().items()
        if here is not then
    ]
    lines.append(f"    {last} --> [*]")
    return "\n".join(["```mermaid", *lines, "```"])


# ---------------------------------------------------------------------------- SVG

WIDTH, HEIGHT = 1120, 640

# Centre, width and height of each state's box.  The graph is planar: no two lines cross.
BOXES: dict[State, tuple[int, int, int, int]] = {
    State.OPEN: (540, 112, 290, 132),
    State.CONNECTING: (175, 335, 250, 92),
    State.BACKOFF: (540, 335, 250, 92),
    State.HEARTBEATING: (875, 335, 250, 92),
    State.CLOSED: (540, 560, 250, 70),
}

MEANINGS: dict[State, str] = {
    State.CONNECTING: "one attempt is under way",
    State.OPEN: "connected, heard from lately",
    State.HEARTBEATING: "quiet: is the peer alive?",
    State.BACKOFF: "waiting before the next attempt",
    State.CLOSED: "over, for one cause, for good",
}

# The path of each arrow, and where its label begins (x, y of the first line, text-anchor).
ARROWS: dict[Edge, tuple[str, int, int, str]] = {
    (State.CONNECTING, State.OPEN): ("M175 289 V126 Q175 112 189 112 H389", 290, 102, "middle"),
    (State.OPEN, State.HEARTBEATING): ("M685 102 H901 Q915 102 915 116 V283", 925, 205, "start"),
    (State.HEARTBEATING, State.OPEN): ("M835 289 V164 Q835 150 821 150 H691", 825, 205, "end"),
    (State.CONNECTING, State.BACKOFF): ("M300 318 H409", 357, 308, "middle"),
    (State.BACKOFF, State.CONNECTING): ("M415 352 H306", 357, 372, "middle"),
    (State.OPEN, State.BACKOFF): ("M540 178 V283", 550, 240, "start"),
    (State.HEARTBEATING, State.BACKOFF): ("M750 335 H671", 710, 325, "middle"),
    (State.CONNECTING, State.CLOSED): ("M175 381 V546 Q175 560 189 560 H409", 187, 480, "start"),
    (State.BACKOFF, State.CLOSED): ("M540 381 V519", 550, 445, "start"),
    (State.HEARTBEATING, State.CLOSED): ("M875 381 V531 Q875 545 861 545 H671", 863, 450, "end"),
    (State.OPEN, State.CLOSED): (
        "M685 66 H1056 Q1070 66 1070 80 V564 Q1070 578 1056 578 H671",
        1060,
        480,
        "end",
    ),
}

LINE = 17  # from one line of text to the next

STYLE = """
  .card { fill: #ffffff; stroke: #d8dee6; }
  .box { stroke-width: 1.5; }
  .connecting { fill: #e8f1fd; stroke: #3b7dd8; }
  .open { fill: #e6f6ec; stroke: #2b9a5b; }
  .heartbeating { fill: #fdf4de; stroke: #c98a12; }
  .backoff { fill: #fdece4; stroke: #d2622a; }
  .closed { fill: #eef0f3; stroke: #6b7684; }
  .arrow { fill: none; stroke: #66717f; stroke-width: 1.5; }
  .tip, .start { fill: #66717f; }
  text { font-family: system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
  .name { font-size: 16px; font-weight: 700; letter-spacing: 0.04em; fill: #1a2330; }
  .meaning { font-size: 13px; fill: #48545f; }
  .input { font-size: 12.5px; font-weight: 500; fill: #1a2330; }
  .stays { font-size: 12px; font-style: italic; fill: #5b6672; }
  @media (prefers-color-scheme: dark) {
    .card { fill: #14181e; stroke: #2c343e; }
    .connecting { fill: #15263d; stroke: #5b9bf0; }
    .open { fill: #12301f; stroke: #45bd7b; }
    .heartbeating { fill: #332709; stroke: #e0a83a; }
    .backoff { fill: #3a1e10; stroke: #ee8450; }
    .closed { fill: #232a33; stroke: #98a3b1; }
    .arrow { stroke: #98a3b1; }
    .tip, .start { fill: #98a3b1; }
    .name, .input { fill: #edf1f6; }
    .meaning { fill: #b9c3cf; }
    .stays { fill: #a3aebb; }
  }
"""


def svg() -> str:
    """The diagram for the docs.  It has a ground of its own, so it reads on any page."""
    edges = labels()
    drawn, due = set(ARROWS), {edge for edge in edges if edge[0] is not edge[1]}
    if drawn != due:
        raise LookupError(f"place in ARROWS: {due - drawn}; take out: {drawn - due}")
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" role="img" aria-labelledby="title">',
        '<title id="title">The states of a stream and the inputs that lead between them</title>',
        f"<style>{STYLE}</style>",
        '<defs><marker id="tip" viewBox="0 0 10 10" refX="4" refY="5" markerWidth="8" '
        'markerHeight="8" orient="auto-start-reverse">'
        '<path class="tip" d="M0 0.8 L9 5 L0 9.2 z"/></marker></defs>',
        f'<rect class="card" x="0.5" y="0.5" width="{WIDTH - 1}" height="{HEIGHT - 1}" rx="12"/>',
        '<circle class="start" cx="18" cy="335" r="6"/>',
        '<path class="arrow" d="M24 335 H44" marker-end="url(#tip)"/>',
    ]
    for edge, (path, x, y, anchor) in ARROWS.items():
        parts.append(f'<path class="arrow" d="{path}" marker-end="url(#tip)"/>')
        parts += text("input", x, y, edges[edge], anchor)
    for state, box in BOXES.items():
        parts += node(state, box, edges.get((state, state), []))
    return "\n".join([*parts, "</svg>", ""])


def node(state: State, box: tuple[int, int, int, int], stays_on: list[str]) -> list[str]:
    """One state: its name, its meaning, and the inputs on which it stays."""
    x, y, width, height = box
    lines = wrapped("stays on " + ", ".join(stays_on), 40) if stays_on else []
    top = y - (2 + len(lines)) * LINE // 2 + 13
    return [
        f'<rect class="box {state.value}" x="{x - width // 2}" y="{y - height // 2}" '
        f'width="{width}" height="{height}" rx="10"/>',
        *text("name", x, top, [state.name], "middle"),
        *text("meaning", x, top + LINE + 2, [MEANINGS[state]], "middle"),
        *text("stays", x, top + 2 * LINE + 5, lines, "middle"),
    ]


def text(kind: str, x: int, y: int, lines: list[str], anchor: str) -> list[str]:
    return [
        f'<text class="{kind}" x="{x}" y="{y + LINE * row}" text-anchor="{anchor}">{line}</text>'
        for row, line in enumerate(lines)
    ]


def wrapped(words: str, width: int) -> list[str]:
    lines = [""]
    for word in words.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


# ---------------------------------------------------------------------------- into the files

BLOCKS = {
    "README.md": {"states": mermaid},
    "docs/reference/moored.md": {"names": tables.names},
    "docs/recovery.md": {
        "states": tables.states,
        "transitions": tables.moves,
        "inputs": tables.inputs,
        "actions": tables.actions,
        "causes": tables.causes_and_verdicts,
        "close codes": tables.close_codes,
        "statuses": tables.statuses,
        "openers": tables.openers,
        "settings": tables.settings,
    },
    "docs/gauntlet.md": {"trials": tables.trials},
}
"""For each page, the blocks between its markers, ``<!-- begin: NAME ... -->`` and
``<!-- end: NAME -->``, and what makes each."""


def up_to_date(page: str, old: str) -> str:
    """The text of ``page`` with each block made anew."""
    for name, make in BLOCKS[page].items():
        pattern = rf"(<!-- begin: {name}\b[^>]*-->\n).*?(\n<!-- end: {name} -->)"
        block = f"\n{make()}\n"
        old, found = re.subn(
            pattern, lambda m, block=block: m[1] + block + m[2], old, flags=re.DOTALL
        )
        if found != 1:
            raise LookupError(f"{page} has {found} blocks between markers for {name!r}")
    return old


def generated() -> dict[Path, str]:
    """Every file with generated parts, and the text that it should have."""
    files = {ROOT / page: up_to_date(page, (ROOT / page).read_text("utf-8")) for page in BLOCKS}
    files[ROOT / "docs/_static/states.svg"] = svg()
    schema = json.dumps(faults.schedule_json_schema(), indent=1) + "\n"
    for directory in (ROOT / "docs/_static", Path(faults.__file__).parent):
        files[directory / "schedule.schema.json"] = schema
    return files


def stale() -> dict[Path, str]:
    """The files that differ from what the code says, with the text that they should have."""
    return {
        path: due
        for path, due in generated().items()
        if not path.exists() or path.read_text("utf-8") != due
    }


def main() -> int:
    check = "--check" in sys.argv[1:]
    files = stale()
    for path, due in files.items():
        print(f"{'out of date' if check else 'written'}: {path}")
        if not check:
            path.write_text(due, "utf-8")
    return 1 if check and files else 0


if __name__ == "__main__":
    raise SystemExit(main())
