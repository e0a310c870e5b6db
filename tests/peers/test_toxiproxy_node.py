"""npm's toxiproxy-node-client, unmodified, drives the control server.

    npm install --no-save --no-package-lock --prefix tests/peers toxiproxy-node-client@4

Skipped where it or Node is not installed.
"""

import shutil
import subprocess
from pathlib import Path

import pytest
import trio

from moored.faults.control import open_control

HERE = Path(__file__).parent
NODE = shutil.which("node")


def node_finds(package):
    find = [str(NODE), "-e", f"require.resolve('{package}')"]
    return subprocess.run(find, cwd=HERE, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(NODE is None, reason="Node is not installed")
@pytest.mark.skipif(
    NODE is not None and not node_finds("toxiproxy-node-client"),
    reason="npm's toxiproxy-node-client is not installed (see this file)",
)
async def test_toxiproxy_node_client(nursery):
    async def echo(stream):
        async with stream:
            while data := await stream.receive_some():
                await stream.send_all(data)

    async def tolerant(stream):
        try:
            await echo(stream)
        except trio.BrokenResourceError:
            return

    listeners = await nursery.start(trio.serve_tcp, tolerant, 0)
    upstream = f"127.0.0.1:{listeners[0].socket.getsockname()[1]}"
    async with open_control() as control:
        command = [str(NODE), str(HERE / "toxiproxy_client.js"), control.url, upstream]
        with trio.fail_after(30):
            done = await trio.run_process(
                command, capture_stdout=True, capture_stderr=True, check=False
            )
    assert (done.returncode, done.stderr.decode()) == (0, "")
    assert done.stdout == b"done\n"
