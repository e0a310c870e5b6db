"""A real redis-server of a test's own."""

import contextlib
import shutil
import signal
import socket
import subprocess
import time

import pytest

on_redis = [
    pytest.mark.skipif(
        shutil.which("redis-server") is None, reason="there is no redis-server here"
    ),
    # coredis does not close the buffers of a connection that could not be made.
    pytest.mark.filterwarnings("ignore:Unclosed <MemoryObject:ResourceWarning"),
]


def a_free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Server:
    """A server on a free port, without persistence; it can be stopped and started again."""

    def __init__(self, directory, *more_arguments):
        self.port = a_free_port()
        self.directory = directory
        self.more_arguments = more_arguments
        self.process = None

    def start(self):
        arguments = [
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            *self.more_arguments,
        ]
        self.process = subprocess.Popen(
            ["redis-server", *arguments, "--dir", str(self.directory)], stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 20
        while not self.answers():
            assert time.monotonic() < deadline
            assert self.process.poll() is None
            time.sleep(0.01)

    def answers(self):
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self.port), 1) as connection,
        ):
            connection.sendall(b"PING\r\n")
            return connection.recv(16) == b"+PONG\r\n"
        return False

    def stop(self):
        self.process.kill()  # also what is frozen
        self.process.wait()

    def flush(self):
        """Forget everything."""
        with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
            connection.sendall(b"FLUSHALL\r\n")
            assert connection.recv(5) == b"+OK\r\n"

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    @contextlib.contextmanager
    def frozen(self):
        """Connected, and never answering."""
        self.freeze()
        try:
            yield
        finally:
            self.thaw()


@contextlib.contextmanager
def running(directory, *more_arguments):
    server = Server(directory, *more_arguments)
    server.start()
    try:
        yield server
    finally:
        server.stop()
