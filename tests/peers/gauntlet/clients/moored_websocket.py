"""Moored's WebSocket stream, with the times that the gauntlet's contract advises."""

import json
import sys

import trio

import moored

POLICY = moored.Policy(
    connect_timeout=1,
    close_timeout=1,
    heartbeat=moored.Heartbeat(interval=0.5, timeout=0.5),
    idle_timeout=1,
    reconnect=moored.Reconnect(
        initial=0.2, maximum=1, attempts=12, reset_after=0.5, retry_after_maximum=3
    ),
)


async def main() -> int:
    async with moored.open_websocket(
        sys.argv[1],
        policy=POLICY,
        cursor=lambda message: json.loads(message).get("id"),
        resume=lambda position: json.dumps({"resume": position}),
    ) as stream:
        # The hook is for connections after the first; without this, the feed waits for a while.
        await stream.send(json.dumps({"resume": 0}))
        async for text in stream:
            message = json.loads(text)
            if message.get("end"):
                return 0
            print(message["id"], flush=True)
    return 1  # closed in order, and there was no end


try:
    sys.exit(trio.run(main))
except moored.MooredError as exc:
    sys.exit(str(exc))
