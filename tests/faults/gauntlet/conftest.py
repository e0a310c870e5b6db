"""Small client programs, good and bad, for the gauntlet to run."""

from __future__ import annotations

import sys
import textwrap

import pytest

from moored.faults import Cut
from moored.faults.gauntlet import Survive, Trial

# A whole client, over a plain socket: it resumes, and gives up where there is no use.
GOOD = """
    import re, socket, sys, time
    host, port, path = re.fullmatch(r"http://(.*):(\\d+)(/.*)", sys.argv[1]).groups()
    last = ""

    def follow():
        global last
        with socket.create_connection((host, int(port)), timeout=1) as sock:
            head = [f"GET {path} HTTP/1.0", f"Host: {host}", f"Last-Event-ID: {last}", "", ""]
            sock.sendall("\\r\\n".join(head).encode())
            lines = sock.makefile("rb")
            status = int(lines.readline().split()[1])
            if status != 200:
                sys.exit(status in (401, 404) and 3) if status < 429 else None
                return
            event = {}
            for line in lines:
                name, _, value = line.decode().strip().partition(": ")
                event[name] = value
                if not name and "data" in event:
                    if event.get("event") == "end":
                        sys.exit(0)
                    last = event["id"]
                    print(last, flush=True)
                    event = {}

    for attempt in range(20):
        try:
            follow()
        except OSError:
            pass
        time.sleep(0.05)
    sys.exit(4)
"""


@pytest.fixture
def program(tmp_path):
    """Makes a command of Python code, which starts fast."""

    def make(code=GOOD, *arguments):
        file = tmp_path / "client.py"
        file.write_text(textwrap.dedent(code))
        return [sys.executable, "-u", "-I", "-S", str(file), *(arguments or ("{url}",))]

    return make


@pytest.fixture
def trial():
    """Makes a short trial: by default, one cut."""

    def make(**changes):
        settings = {
            "name": "short",
            "title": "closed after 2 messages",
            "layer": "tcp",
            "schedule": (Cut(after_messages=2, times=1),),
            "expect": Survive(ideal=0.05),
            "count": 5,
            "pace": 0.01,
            "limit": 10.0,
        }
        return Trial(**(settings | changes))

    return make
