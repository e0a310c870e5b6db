"""aiohttp's WebSocket in a simple loop, since it does not reconnect; its heartbeat and its receive
timeout are on."""

import asyncio
import json
import sys

import aiohttp

ATTEMPTS = 12
FINAL = range(400, 500)


async def follow(session: aiohttp.ClientSession, last: int) -> int | None:
    """Returns the last id, or ``None`` after the end message."""
    timeout = aiohttp.ClientWSTimeout(ws_receive=1, ws_close=1)
    async with session.ws_connect(sys.argv[1], heartbeat=0.5, timeout=timeout) as websocket:
        await websocket.send_json({"resume": last})
        async for received in websocket:
            if received.type is not aiohttp.WSMsgType.TEXT:
                break
            message = json.loads(received.data)
            if message.get("end"):
                return None
            last = message["id"]
            print(last, flush=True)
    return last


async def main() -> int:
    last, failures = 0, 0
    async with aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(sock_connect=1, sock_read=1)
    ) as session:
        while failures < ATTEMPTS:
            before = last
            try:
                now = await follow(session, last)
                if now is None:
                    return 0
                last = now
            except aiohttp.WSServerHandshakeError as exc:
                if exc.status in FINAL and exc.status not in (408, 425, 429):
                    raise
            except (aiohttp.ClientError, TimeoutError):
                pass
            failures = 0 if last > before else failures
            await asyncio.sleep(min(1, 0.2 * 2**failures))
            failures += 1
    return 1


sys.exit(asyncio.run(main()))
