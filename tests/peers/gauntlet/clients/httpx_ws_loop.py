"""httpx-ws in a simple loop, since it does not reconnect; keepalive and receive timeout are its."""

import asyncio
import json
import sys

import httpx
from httpx_ws import HTTPXWSException, WebSocketUpgradeError, aconnect_ws

ATTEMPTS = 12
FINAL = range(400, 500)


async def follow(client: httpx.AsyncClient, last: list[int]) -> bool:
    """Whether the end message came; the ids that came are added to ``last``."""
    async with aconnect_ws(
        sys.argv[1],
        client,
        keepalive_ping_interval_seconds=0.5,
        keepalive_ping_timeout_seconds=0.5,
    ) as websocket:
        await websocket.send_json({"resume": last[-1]})
        while True:
            message = json.loads(await websocket.receive_text(timeout=1))
            if message.get("end"):
                return True
            last.append(message["id"])
            print(last[-1], flush=True)


def is_final(exc: BaseException) -> bool:
    if not isinstance(exc, WebSocketUpgradeError):
        return False
    return exc.response.status_code in FINAL and exc.response.status_code not in (408, 425, 429)


async def main() -> int:
    last, failures = [0], 0
    async with httpx.AsyncClient(timeout=1) as client:
        while failures < ATTEMPTS:
            before = len(last)
            # What is raised inside of the connection comes out in groups.
            try:
                if await follow(client, last):
                    return 0
            except* HTTPXWSException as group:
                if group.subgroup(is_final):
                    raise
            except* (httpx.HTTPError, TimeoutError):
                pass
            failures = 0 if len(last) > before else failures
            await asyncio.sleep(min(1, 0.2 * 2**failures))
            failures += 1
    return 1


sys.exit(asyncio.run(main()))
