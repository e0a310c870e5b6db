"""The Trio client of websockets with its reconnecting iterator; else as websockets_asyncio.py."""

import json
import os
import sys
from contextlib import aclosing

os.environ |= {
    "WEBSOCKETS_BACKOFF_INITIAL_DELAY": "0.2",
    "WEBSOCKETS_BACKOFF_MIN_DELAY": "0.2",
    "WEBSOCKETS_BACKOFF_MAX_DELAY": "1",
}

import trio
from websockets.exceptions import ConnectionClosed
from websockets.trio.client import connect


async def main() -> int:
    last = 0
    connecting = connect(
        sys.argv[1], open_timeout=1, ping_interval=0.5, ping_timeout=0.5, close_timeout=1
    )
    # Left to the garbage collector, the iterator would make Trio crash: it holds a nursery.
    async with aclosing(aiter(connecting)) as websockets:
        async for websocket in websockets:
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


sys.exit(trio.run(main))
