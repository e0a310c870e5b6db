"""httpx-sse with stamina, as the README of httpx-sse has it under "Handling reconnections".

Only the times are the gauntlet's, and the number of attempts.
"""

import sys
import time

import httpx
from httpx_sse import connect_sse
from stamina import retry


def iter_sse_retrying(client, method, url):
    last_event_id = ""
    reconnection_delay = 0.0

    @retry(on=httpx.ReadError, attempts=12, wait_initial=0.2, wait_max=1)
    def _iter_sse():
        nonlocal last_event_id, reconnection_delay
        time.sleep(reconnection_delay)
        headers = {"Accept": "text/event-stream"}
        if last_event_id:
            headers["Last-Event-ID"] = last_event_id
        with connect_sse(client, method, url, headers=headers) as event_source:
            for sse in event_source.iter_sse():
                last_event_id = sse.id
                if sse.retry is not None:
                    reconnection_delay = sse.retry / 1000
                yield sse

    return _iter_sse()


with httpx.Client(timeout=1) as client:
    for sse in iter_sse_retrying(client, "GET", sys.argv[1]):
        if sse.event == "end":
            sys.exit(0)
        if sse.event == "message":
            print(sse.id, flush=True)
sys.exit(1)
