"""httpx-sse in a simple loop that takes every failure of the transport and of the server for one
that passes."""

import sys
import time

import httpx
from httpx_sse import SSEError, connect_sse

ATTEMPTS = 12


def follow(client: httpx.Client, last: str) -> str | None:
    """Returns the last id, or ``None`` after the end message."""
    headers = {"Last-Event-ID": last} if last else {}
    try:
        with connect_sse(client, "GET", sys.argv[1], headers=headers) as source:
            source.response.raise_for_status()
            for sse in source.iter_sse():
                if sse.event == "end":
                    return None
                last = sse.id
                if sse.event == "message":
                    print(last, flush=True)
    except httpx.HTTPStatusError as exc:
        status = exc.response.status_code
        if status < 500 and status not in (408, 425, 429):
            raise
    except SSEError:
        raise
    except httpx.TransportError:
        pass
    return last


last, failures = "", 0
with httpx.Client(timeout=1, follow_redirects=True) as client:
    while failures < ATTEMPTS:
        now = follow(client, last)
        if now is None:
            sys.exit(0)
        failures = 0 if now != last else failures
        last = now
        time.sleep(min(1, 0.2 * 2**failures))
        failures += 1
sys.exit(1)
