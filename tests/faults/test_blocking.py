"""The proxy and the server in threads, for callers without Trio."""

import inspect
import socket
import threading

import httpx
import pytest

from moored.faults import (
    BlockingProxy,
    BlockingServer,
    CommentsOnly,
    Proxy,
    Refuse,
    ScheduleError,
    Server,
    open_blocking_proxy,
    open_blocking_server,
    open_proxy,
    open_server,
)


@pytest.fixture(autouse=True)
def _no_thread_stays():
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def test_what_it_did_can_be_read_after_its_end():
    with open_blocking_server() as server, open_blocking_proxy(server.ws_url) as proxy:
        assert proxy.url == proxy.ws_url == f"ws://127.0.0.1:{proxy.port}"
        assert httpx.get(proxy.http_url + "/feed?count=1").status_code == 200
        server.wait_until(lambda: server.requests[0].complete)
    assert [connection.outcome for connection in proxy.connections] == ["complete"]
    assert proxy.connections[0].accepted >= proxy.started
    assert (proxy.injected, proxy.injected_counts, proxy.connection_count) == ((), {}, 1)
    assert [request.path for request in server.requests] == ["/feed"]
    with pytest.raises(RuntimeError, match="its block has ended"):
        proxy.wait_until(lambda: True)


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_what_the_block_raises_comes_out_as_it_is(error):
    with pytest.raises(error) as caught, open_blocking_proxy("http://127.0.0.1:1") as proxy:
        raise error
    assert caught.value.__context__ is None
    assert proxy.connections == ()


def test_an_address_that_cannot_be_had_and_a_schedule_that_is_wrong():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        opening = open_blocking_server(port=taken.getsockname()[1])
        with pytest.raises(OSError, match="in use"), opening:
            pass
    with (
        pytest.raises(ScheduleError, match="times must be"),
        open_blocking_proxy("http://x", schedule=[{"fault": "refuse", "times": 0}]),
    ):
        pass


def test_any_fault_of_a_moment_by_hand():
    with (
        open_blocking_server() as server,
        open_blocking_proxy(server.url) as proxy,
        httpx.stream("GET", proxy.url + "/feed?follow=1&pace=0.01") as answer,
    ):
        lines = answer.iter_lines()
        next(lines)
        assert proxy.strike(CommentsOnly(after_seconds=0, path="/other")) == 0
        assert proxy.strike(CommentsOnly(after_seconds=0, comment="still here")) == 1
        assert ": still here" in lines


def test_many_threads_may_ask_at_once():
    answers = []

    def ask():
        with httpx.Client(verify=False) as client:
            answers.append(client.get(proxy.url).status_code)
        answers.append(proxy.injected_counts["refuse"])

    with open_blocking_proxy("http://127.0.0.1:1", schedule=[Refuse(status=418)], seed=7) as proxy:
        assert proxy.seed == 7
        assert proxy.schedule == (Refuse(status=418),)
        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(5)
    assert answers.count(418) == 8
    assert max(count for count in answers if count != 418) == 8


@pytest.mark.parametrize(
    ("blocking", "original", "not_there"),
    [(BlockingProxy, Proxy, {"serve_connection"}), (BlockingServer, Server, {"serve_connection"})],
)
def test_they_have_the_verbs_of_the_originals(blocking, original, not_there):
    """So that one that is added there is not forgotten here."""

    def verbs(kind):
        return {name for name in dir(kind) if not name.startswith("_")}

    assert verbs(blocking) == verbs(original) - not_there


@pytest.mark.parametrize(
    ("blocking", "original"),
    [(open_blocking_proxy, open_proxy), (open_blocking_server, open_server)],
)
def test_they_are_opened_as_the_originals(blocking, original):
    ours, theirs = (inspect.signature(each).parameters for each in (blocking, original))
    assert ours == theirs
