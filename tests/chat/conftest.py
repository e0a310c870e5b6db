"""Providers in memory, and a real redis-server where there is one.

Whatever the test did, nothing may be left of a reply after it.
"""

from __future__ import annotations

import contextlib
import gc
import shutil
import signal
import socket
import subprocess
import time

import pytest

from ..stream.support import Network, our_tasks, settled
from .support import Provider


@pytest.fixture
def clock(autojump_clock):
    """A virtual clock, which begins at 0."""
    return autojump_clock


@pytest.fixture
async def network(nursery, clock):
    """Dials in memory."""
    network = Network(nursery)
    yield network
    await settled()
    assert our_tasks() == []
    assert [stream.closed for stream in network.streams] == [True] * len(network.streams)
    gc.collect()  # what is found unclosed warns, and warnings are errors


@pytest.fixture
def transport():
    """Over which the provider speaks; tests parametrize it."""
    return "sse"


@pytest.fixture
def provider(network, transport):
    """A provider that plays scripts."""
    return Provider(network, transport)


# ---------------------------------------------------------------------------- Redis


class RedisServer:
    """A redis-server on a port of its own, that can be lost in the ways in which servers are."""

    def __init__(self, directory):
        self.directory = directory
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.process = None

    def start(self):
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--save", "", "--dir", str(self.directory), "--daemonize", "no"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while True:
            with contextlib.suppress(OSError), self.connect() as connection:
                connection.sendall(b"PING\r\n")
                if connection.recv(7) == b"+PONG\r\n":
                    return
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise RuntimeError("redis-server did not start")
            time.sleep(0.01)

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=1)

    def flush(self):
        with self.connect() as connection:
            connection.sendall(b"FLUSHALL\r\n")
            assert connection.recv(5) == b"+OK\r\n"

    def kill(self):
        """Gone, with all it knew."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    @contextlib.contextmanager
    def stopped(self):
        """Connected, and never answering."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)


def _start(directory):
    if shutil.which("redis-server") is None:
        pytest.skip("no redis-server (Debian's package has this name)")
    server = RedisServer(directory)
    server.start()
    return server


@pytest.fixture(scope="session")
def _shared_redis_server(tmp_path_factory):
    server = _start(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


@pytest.fixture
def redis_server(_shared_redis_server):
    """One that is empty, and has to stay alive."""
    _shared_redis_server.flush()
    return _shared_redis_server


@pytest.fixture
def own_redis_server(tmp_path):
    """One that the test may kill."""
    server = _start(tmp_path)
    yield server
    server.kill()
