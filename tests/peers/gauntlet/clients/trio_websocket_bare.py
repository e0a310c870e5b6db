"""trio-websocket by itself: it makes one connection, and its documentation has no more."""

import json
import sys

import trio
import trio_websocket


async def main() -> int:
    async with trio_websocket.open_websocket_url(
        sys.argv[1], connect_timeout=1, disconnect_timeout=1
    ) as websocket:
        while True:
            message = json.loads(await websocket.get_message())
            if message.get("end"):
                return 0
            print(message["id"], flush=True)


sys.exit(trio.run(main))
