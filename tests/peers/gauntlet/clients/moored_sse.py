"""Moored's SSE stream, with the times that the gauntlet's contract advises."""

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
    # The feed's ids are unique, as the documentation says to say.
    options = {"identity": lambda event: event.id if event.has_id else None}
    async with moored.open_sse(sys.argv[1], policy=POLICY, **options) as stream:
        async for event in stream:
            if event.event == "end":
                return 0
            if event.event == "message":
                print(event.id, flush=True)
    return 1  # the server said that there is no more, and there was no end


try:
    sys.exit(trio.run(main))
except moored.MooredError as exc:
    sys.exit(str(exc))
