"""Unmodified clients of Toxiproxy, from the package registries, drive this server.

They are synchronous, so each runs in a thread, as a test of theirs would.
"""

import socket
import time
import warnings
from functools import partial

import pytest
import trio

from moored.faults.control import open_control

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its dependency ``future`` is older than Python's warnings
    toxiproxy = pytest.importorskip("toxiproxy")
    from toxiproxy.exceptions import InvalidToxic, NotFound, ProxyExists


def connected(proxy):
    host, port = proxy.listen.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=5)


def seconds(connection):
    """How long one echo takes."""
    began = time.monotonic()
    connection.sendall(b"hello")
    assert connection.recv(100) == b"hello"
    return time.monotonic() - began


def drive(host, port, upstream):
    server = toxiproxy.Toxiproxy()
    server.update_api_consumer(host, port)
    assert server.running()
    assert server.version() == b'{"version": "2.12.0"}\n'
    proxy = server.create(upstream=upstream, name="echo")
    with pytest.raises(ProxyExists):
        server.create(upstream=upstream, name="echo")
    assert list(server.proxies()) == ["echo"]

    with connected(proxy) as connection:
        assert seconds(connection) < 0.1
        proxy.add_toxic(type="latency", attributes={"latency": 150})
        assert 0.15 <= seconds(connection) < 0.4
        toxic = proxy.get_toxic("latency_downstream")
        assert toxic.attributes == {"latency": 150, "jitter": 0}
        assert proxy.destroy_toxic("latency_downstream")
        assert seconds(connection) < 0.1
        proxy.add_toxic(name="cut", type="limit_data", attributes={"bytes": 3})
        connection.sendall(b"hello")
        assert connection.recv(100) == b"hel"
        assert connection.recv(100) == b""
    with pytest.raises(InvalidToxic):
        proxy.add_toxic(type="nonsense")
    with pytest.raises(NotFound):
        proxy.destroy_toxic("nonsense")

    with proxy.down(), pytest.raises(ConnectionRefusedError):
        connected(proxy)
    assert server.reset()
    assert proxy.toxics() == {}
    with connected(proxy) as connection:
        assert seconds(connection) < 0.1
    server.populate([{"name": "other", "upstream": upstream, "listen": "127.0.0.1:0"}])
    assert sorted(server.proxies()) == ["echo", "other"]
    server.destroy_all()
    assert server.proxies() == {}


async def test_toxiproxy_python(echo_server):
    async with open_control() as control:
        with trio.fail_after(20), warnings.catch_warnings():
            await trio.to_thread.run_sync(
                partial(drive, control.host, control.port, echo_server), abandon_on_cancel=True
            )


def experiment(control_url, upstream):
    from chaostoxi.proxy import actions, probes
    from chaostoxi.toxic import actions as toxics

    configuration = {"toxiproxy_url": control_url}
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    host, upstream_port = upstream.split(":")
    assert actions.create_proxy("p", upstream_host=host, upstream_port=int(upstream_port),
                                listen_host="127.0.0.1", listen_port=port, enabled=True,
                                configuration=configuration)  # fmt: skip
    assert probes.proxy_exist("p", configuration)
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        assert seconds(connection) < 0.1
        assert toxics.create_latency_toxic(
            for_proxy="p", toxic_name="slow", latency=150, jitter=0, configuration=configuration
        )
        assert 0.15 <= seconds(connection) < 0.4
        assert toxics.delete_toxic("p", "slow", configuration)
        # Its attributes are null.
        assert toxics.create_toxic("p", "nothing", "noop", configuration=configuration)
        assert seconds(connection) < 0.1
        assert actions.disable_proxy("p", configuration) is not False
        assert connection.recv(100) == b""
    actions.enable_proxy("p", configuration)
    assert actions.reset(configuration)
    actions.delete_proxy("p", configuration)
    assert not probes.proxy_exist("p", configuration)


async def test_chaostoolkit_toxiproxy(echo_server):
    pytest.importorskip("chaostoxi", reason="chaostoolkit-toxiproxy is not installed")
    async with open_control() as control:
        with trio.fail_after(20), warnings.catch_warnings():
            await trio.to_thread.run_sync(
                partial(experiment, control.url, echo_server), abandon_on_cancel=True
            )
