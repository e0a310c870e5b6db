"""Moored and its peers through the gauntlet, in one run, and the table of docs/gauntlet.md.

    python tests/peers/gauntlet/table.py [--write] [--only NAME] [--jobs 4] [--seed 0] [--html DIR]

Each peer is a small program in this directory, set up as its own documentation has it, with times
that fit the gauntlet where it has such a setting; each says at its top what it does.  Nothing is
installed: what is missing is told, with the command that brings it, and the rest is run.
``--write`` puts the table into docs/gauntlet.md, only if nothing was missing.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import attrs
import trio

from moored.cli.gauntlet.html import render
from moored.faults.gauntlet import Score, Total, catalogue, run_gauntlet, total
from moored.faults.gauntlet.report import Report
from moored.faults.gauntlet.trial import Transport, for_transport

HERE = Path(__file__).parent
DOCS = HERE.parents[2] / "docs" / "gauntlet.md"
BEGIN = "<!-- begin: peers (python tests/peers/gauntlet/table.py --write) -->"
END = "<!-- end: peers -->"


@attrs.frozen
class Peer:
    """One client.

    :ivar name: as the table has it.
    :ivar program: its file here.
    :ivar packages: whose versions belong to the result.
    """

    name: str
    transport: Transport
    program: str
    packages: tuple[str, ...]

    @property
    def from_npm(self) -> bool:
        return self.program.endswith(".mjs")

    @property
    def command(self) -> list[str]:
        interpreter = "node" if self.from_npm else sys.executable
        return [interpreter, str(HERE / self.program), "{url}"]

    def versions(self) -> dict[str, str | None]:
        """The packages, with ``None`` for one that is not installed."""
        version = npm_version if self.from_npm else python_version
        return {package: version(package) for package in self.packages}


PEERS = (
    Peer("Moored", "sse", "clients/moored_sse.py", ("moored",)),
    Peer(
        "launchdarkly-eventsource",
        "sse",
        "clients/launchdarkly_eventsource.py",
        ("launchdarkly-eventsource",),
    ),
    Peer("httpx-sse in a loop", "sse", "clients/httpx_sse_loop.py", ("httpx-sse", "httpx")),
    Peer(
        "httpx-sse with stamina",
        "sse",
        "clients/httpx_sse_stamina.py",
        ("httpx-sse", "httpx", "stamina"),
    ),
    Peer("eventsource (npm)", "sse", "npm/eventsource.mjs", ("eventsource",)),
    Peer("openai-python's stream", "sse", "clients/openai_stream.py", ("openai",)),
    Peer("Moored", "websocket", "clients/moored_websocket.py", ("moored",)),
    Peer("websockets (asyncio)", "websocket", "clients/websockets_asyncio.py", ("websockets",)),
    Peer("websockets (Trio)", "websocket", "clients/websockets_trio.py", ("websockets", "trio")),
    Peer("aiohttp in a loop", "websocket", "clients/aiohttp_loop.py", ("aiohttp",)),
    Peer("httpx-ws in a loop", "websocket", "clients/httpx_ws_loop.py", ("httpx-ws", "httpx")),
    Peer("partysocket (npm)", "websocket", "npm/partysocket.mjs", ("partysocket", "ws")),
    Peer(
        "reconnecting-websocket (npm)",
        "websocket",
        "npm/reconnecting-websocket.mjs",
        ("reconnecting-websocket", "ws"),
    ),
    Peer(
        "trio-websocket by itself",
        "websocket",
        "clients/trio_websocket_bare.py",
        ("trio-websocket", "trio"),
    ),
)


def python_version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def npm_version(package: str) -> str | None:
    file = HERE / "npm" / "node_modules" / package / "package.json"
    if shutil.which("node") is None or not file.exists():
        return None
    return str(json.loads(file.read_text("utf-8"))["version"])


def missing(peers: Sequence[Peer]) -> list[str]:
    """What is not installed, in words; nothing if all is there."""
    found = []
    for peer in peers:
        lacking = [package for package, version in peer.versions().items() if version is None]
        if lacking and peer.from_npm:
            found.append(f"{peer.name}: Node and `npm install` in {HERE / 'npm'}")
        elif lacking:
            found.append(f"{peer.name}: {' '.join(lacking)}; `pip install -e '.[peers]'`")
    return found


async def run(
    peer: Peer, names: Sequence[str], jobs: int, seed: int, html: Path | None
) -> tuple[Score, ...]:
    """Put one peer through the trials for its transport."""
    trials = [
        (trial, peer.transport)
        for trial in for_transport(catalogue(seed), peer.transport)
        if not names or trial.name in names
    ]
    began = trio.current_time()
    scores = await run_gauntlet(trials, peer.command, jobs=jobs, seed=seed)
    seconds = trio.current_time() - began
    if html is not None:
        report = Report(
            command=(peer.name,),
            scores=scores,
            seed=seed,
            seconds=seconds,
            moored_version=importlib.metadata.version("moored"),
        )
        (html / f"{Path(peer.program).stem}.html").write_text(render(report), "utf-8")
    print(f"{peer.transport:<9}  {peer.name:<28}  {words(total(scores))}  ({seconds:.0f} s)")
    for score in scores:
        if not score.ok:
            print(f"    {score.record.trial.name:<30}  {score.verdict}")
    sys.stdout.flush()
    return scores


def words(result: Total) -> str:
    return (
        f"{result.points:5.1f} points, survived {result.survived}/{result.survivable}, "
        f"gave up {result.gave_up}/{result.final}"
    )


def table(results: Sequence[tuple[Peer, tuple[Score, ...]]]) -> str:
    """Both transports, as Markdown."""
    parts = []
    for transport, heading in (("sse", "Server-Sent Events"), ("websocket", "WebSocket")):
        rows = [(peer, scores) for peer, scores in results if peer.transport == transport]
        if rows:
            parts += [f"### {heading}", "", *_rows(rows), "", *_failures(rows), ""]
    return "\n".join(parts).rstrip()


def _rows(rows: Sequence[tuple[Peer, tuple[Score, ...]]]) -> list[str]:
    lines = [
        "| client | points | survived | gave up | lost | duplicated | hung | median over ideal "
        "| too eager | versions |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for peer, scores in rows:
        result = total(scores)
        # A client that says that it gave up has lost nothing in silence.
        silent = [score for score in scores if score.record.run.status == 0]
        over = result.median_excess
        versions = ", ".join(f"{name} {version}" for name, version in peer.versions().items())
        cells = (
            peer.name,
            f"{result.points:.1f}",
            f"{result.survived} of {result.survivable}",
            f"{result.gave_up} of {result.final}",
            str(sum(score.count.lost for score in silent)),
            str(result.duplicated),
            str(sum(score.record.run.end == "time limit" for score in scores)),
            "-" if over is None else f"{over:.2f} s",
            str(result.too_eager),
            versions,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _failures(rows: Sequence[tuple[Peer, tuple[Score, ...]]]) -> list[str]:
    """Trial by trial: who failed, where not all did well."""
    first = rows[0][1]
    lines = ["| trial | not passed by |", "| --- | --- |"]
    for place, score in enumerate(first):
        failed = [peer.name for peer, scores in rows if not scores[place].ok]
        names = "everyone" if len(failed) == len(rows) else ", ".join(failed)
        lines.append(f"| `{score.record.trial.name}` | {names or '-'} |")
    return lines


def conditions(seed: int) -> str:
    node = "none"
    if shutil.which("node"):
        node = subprocess.run(
            ["node", "--version"], capture_output=True, text=True, check=True
        ).stdout.strip()
    return f"Python {platform.python_version()}, Node {node.lstrip('v')}, seed {seed}."


def write(text: str) -> None:
    page = DOCS.read_text("utf-8")
    block = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    if not block.search(page):
        sys.exit(f"{DOCS.name} lacks the lines {BEGIN} and {END}")
    new = f"{BEGIN}\n\n{text}\n\n{END}"
    DOCS.write_text(block.sub(lambda _: new, page), "utf-8")


async def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--write", action="store_true", help="put the table into docs/gauntlet.md")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="this trial")
    parser.add_argument("--jobs", type=int, default=4, help="trials at a time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--html", type=Path, help="a directory for a page of each peer")
    options = parser.parse_args()
    lacking = missing(PEERS)
    for line in lacking:
        print(f"missing: {line}", file=sys.stderr)
    if options.write and (lacking or options.only):
        print("not run: --write needs every peer and every trial", file=sys.stderr)
        return 2
    if options.html is not None:
        options.html.mkdir(parents=True, exist_ok=True)
    results = [
        (peer, await run(peer, options.only, options.jobs, options.seed, options.html))
        for peer in PEERS
        if not missing([peer])
    ]
    text = f"{conditions(options.seed)}\n\n{table(results)}"
    if options.write:
        write(text)
    else:
        print(f"\n{text}")
    ours = [score for peer, scores in results if peer.name == "Moored" for score in scores]
    return 0 if total(ours).ok and not lacking else 1


if __name__ == "__main__":
    sys.exit(trio.run(main))
