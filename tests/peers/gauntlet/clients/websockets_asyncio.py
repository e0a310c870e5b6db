"""websockets with its reconnecting iterator, as its documentation of ``connect`` shows it.

Its keepalive is on, with shorter times.  Its backoff is set by the environment variables that its
documentation lists for that.
"""

import asyncio
import json
import os
import sys

os.environ |= {
    "WEBSOCKETS_BACKOFF_INITIAL_DELAY": "0.2",
    "WEBSOCKETS_BACKOFF_MIN_DELAY": "0.2",
    "WEBSOCKETS_BACKOFF_MAX_DELAY": "1",
}

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed


async def main() -> int:
    last = 0
    async for websocket in connect(
        sys.argv[1], open_timeout=1, ping_interval=0.5, ping_timeout=0.5, close_timeout=1
    ):
        try:
            await websocket.send(json.dumps({"resume": last}))
            async for text in websocket:
                message = json.loads(text)
                if message.get("end"):
                    return 0
                last = message["id"]
                print(last, flush=True)
        except ConnectionClosed:
            continue
    return 1


sys.exit(asyncio.run(main()))
