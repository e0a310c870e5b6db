"""Judge Moored's WebSocket client by the Autobahn suite.

    python tests/peers/autobahn.py --wstest PATH [--cases '1.*' '7.*' ...]

``wstest`` is the command of Autobahn|Testsuite, which this project does not install.  Without one,
it says so and exits 0: skipped.  Otherwise the exit status is 0 only if every case is OK,
non-strict or informational.

Every case goes through :func:`moored.open_websocket`, as a user's program would, with reconnecting
off and the limits lifted for the messages of 16 MiB in group 9.
"""

from __future__ import annotations

import argparse
import collections
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import trio

import moored

AGENT = "moored"
CASES = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*"]
GOOD = {"OK", "NON-STRICT", "INFORMATIONAL"}
POLICY = moored.Policy(
    reconnect=moored.Reconnect(attempts=0),
    max_message_bytes=64 * 1024 * 1024,
    inbox_bytes=64 * 1024 * 1024,
    outbox_bytes=64 * 1024 * 1024,
)


async def echo(url: str) -> None:
    """Send back every message of one case."""
    async with moored.open_websocket(url, policy=POLICY) as stream:
        try:
            async for message in stream:
                await stream.send(message)
        except moored.StreamError:
            pass  # many cases end in a violation of the protocol: the suite judges how
        except moored.StreamClosed:
            pass


async def drive(url: str) -> None:
    """Run every case, then have the report written."""
    for _ in range(50):  # until the server listens
        try:
            async with moored.open_websocket(f"{url}/getCaseCount", policy=POLICY) as stream:
                count = int(await stream.receive())
            break
        except moored.StreamError:
            await trio.sleep(0.2)
    else:
        raise SystemExit("wstest does not listen")
    for case in range(1, count + 1):
        await echo(f"{url}/runCase?case={case}&agent={AGENT}")
    await echo(f"{url}/updateReports?agent={AGENT}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wstest", default=shutil.which("wstest"))
    parser.add_argument("--cases", nargs="+", default=CASES)
    parser.add_argument("--port", type=int, default=9127)
    options = parser.parse_args()
    if options.wstest is None:
        print("skipped: there is no wstest here; give its path with --wstest")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        url = f"ws://127.0.0.1:{options.port}"
        spec = Path(folder) / "spec.json"
        spec.write_text(
            json.dumps(
                {
                    "url": url,
                    "outdir": f"{folder}/report",
                    "cases": options.cases,
                    "exclude-cases": [],
                    "exclude-agent-cases": {},
                }
            )
        )
        server = subprocess.Popen(
            [options.wstest, "-m", "fuzzingserver", "-s", spec],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=folder,
        )
        try:
            trio.run(drive, url)
        finally:
            server.terminate()
            server.wait(10)
        results = json.loads((Path(folder) / "report/index.json").read_text())[AGENT]
    counts = collections.Counter(
        (result["behavior"], result["behaviorClose"]) for result in results.values()
    )
    for (behavior, close), count in sorted(counts.items()):
        print(f"{count:4d}  {behavior}, close {close}")
    bad = {
        case: result
        for case, result in results.items()
        if result["behavior"] not in GOOD or result["behaviorClose"] not in GOOD
    }
    for case, result in bad.items():
        print(f"{case}: {result['behavior']}, close {result['behaviorClose']}")
    print(f"{len(results)} cases, {len(bad)} bad")
    return 1 if bad or not results else 0


if __name__ == "__main__":
    sys.exit(main())
