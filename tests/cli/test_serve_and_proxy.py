"""``moored serve`` and ``moored proxy``: with ``moored tail`` and as programs."""

import json
import signal
import socket
from contextlib import suppress

import httpx
import pytest

from moored.faults import Refuse, random_schedule, schedule_to_data

END = '{"end":true}'


async def url_of(running):
    url = await running.line()
    assert url.startswith("http://127.0.0.1:"), await running.error_line()
    return url


async def test_all_three_together(moored, started):
    async with started("serve", "--pace", "0.01") as serve:
        upstream = await url_of(serve)
        faults = ["--fault", "cut:after_messages=3,how=rst,connection=2"]
        faults += ["--fault", "refuse:retry_after=0,connection=1"]
        async with started("proxy", "--upstream", upstream, *faults) as proxy:
            url = await url_of(proxy)
            result = await moored("tail", f"{url}/feed?count=6", "--terminator", END)
            assert result.status == 0
            assert [json.loads(line)["id"] for line in result.lines] == [1, 2, 3, 4, 5, 6]
            words = await proxy.error_until("connection 3")
            assert "/feed: complete (sse, status 200, 4 messages" in words  # with the end
            proxy.interrupt(signal.SIGTERM)
            assert await proxy.wait() == 0
            assert await proxy.rest_of_errors() == []
        assert "GET /feed (sse): status 200" in await serve.error_line()
        assert "GET /feed (sse, after 3): status 200, 3 messages" in await serve.error_line()
        serve.interrupt(signal.SIGINT)
        assert await serve.wait() == 0
        assert await serve.rest_of_errors() == []


async def test_reports_as_json(started):
    async with started("serve", "--json") as serve:
        upstream = await url_of(serve)
        fault = '{"fault": "refuse", "status": 503, "connection": 1}'
        async with (
            started("proxy", "--json", "--upstream", upstream, "--fault", fault) as proxy,
            httpx.AsyncClient() as client,
        ):
            url = await url_of(proxy)
            assert (await client.get(f"{url}/feed?count=1")).status_code == 503
            assert (await client.get(f"{url}/feed?count=1&token=secret")).status_code == 200
            lines = [await proxy.error_line() for _ in range(3)]
        request = json.loads(await serve.error_line())
    events = {(entry["event"], entry["connection" if "fault" in entry else "number"]): entry
              for entry in map(json.loads, lines)}  # fmt: skip
    assert set(events) == {("injected", 1), ("connection", 1), ("connection", 2)}
    assert events["injected", 1]["fault"] == {"fault": "refuse", "status": 503, "connection": 1}
    assert events["connection", 1]["outcome"] == "refused"
    assert events["connection", 2]["outcome"] == "complete"
    assert (request["event"], request["path"], request["status"]) == ("request", "/feed", 200)
    assert request["complete"] is True
    assert "secret" not in "".join(lines)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("schedule.json", '[{"fault": "refuse", "status": 500, "times": 1}]'),
        ("schedule.yaml", "- fault: refuse\n  status: 500\n  times: 1\n"),
    ],
)
async def test_a_schedule_from_a_file_comes_before_the_options(started, tmp_path, name, text):
    file = tmp_path / name
    file.write_text(text)
    async with (
        started("serve") as serve,
        started(
            *("proxy", "--upstream", await url_of(serve), "--schedule", str(file)),
            *("--fault", "refuse:status=418,times=1"),
        ) as proxy,
        httpx.AsyncClient() as client,
    ):
        url = await url_of(proxy) + "/feed?count=1"
        assert [(await client.get(url)).status_code for _ in range(3)] == [500, 418, 200]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"fault": "cut"}', "schedule must be a list of faults"),
        (
            '[{"fault": "cut", "after_messages": -1}]',
            ": [0].after_messages must be an integer of at least 0, not -1",
        ),
        ("[", "not JSON"),
    ],
)
async def test_a_wrong_schedule_is_told(moored, tmp_path, text, words):
    file = tmp_path / "schedule.json"
    file.write_text(text)
    result = await moored("proxy", "--upstream", "http://x", "--schedule", str(file))
    assert result.status == 2
    assert len(result.errors) == 1
    assert words in result.err


async def test_what_was_recorded_is_repeated(started, tmp_path):
    """The cut of a live connection after a time becomes one after as many bytes."""
    record = tmp_path / "record.json"
    faults = ["--fault", "refuse:status=503,times=1", "--fault", "cut:after_seconds=0.2"]

    async def attempt(url):
        received = ""
        async with httpx.AsyncClient() as client:
            assert (await client.get(url)).status_code == 503
            with suppress(httpx.RemoteProtocolError):
                async with client.stream("GET", url) as answer:
                    async for text in answer.aiter_text():
                        received += text
        return received

    async with started("serve") as serve:
        upstream = await url_of(serve)
        async with started(
            *("proxy", "--upstream", upstream, "--record", str(record)), *faults
        ) as proxy:
            first = await attempt(await url_of(proxy) + "/feed?pace=0.03&count=10")
            proxy.interrupt(signal.SIGTERM)
            assert await proxy.wait() == 0
        schedule = ["--schedule", str(record)]
        async with started("proxy", "--upstream", upstream, *schedule) as proxy:
            again = await attempt(await url_of(proxy) + "/feed?count=10")
    assert again == first != ""
    recording = json.loads(record.read_text())
    assert [entry["connection"] for entry in recording["injected"]] == [1, 2]


async def test_a_recording_that_cannot_be_written(moored, tmp_path):
    file = tmp_path / "missing" / "record.json"
    result = await moored("proxy", "--upstream", "http://x", "--record", str(file))
    assert (result.status, result.out) == (1, "")
    assert result.err == f"moored: --record: cannot write {file}: No such file or directory\n"


async def test_rates_of_random_faults(started, moored):
    rates = ["--rate", "refuse:status=418=0.5", "--rate", "cut=0.5"]
    async with (
        started("proxy", "--upstream", "http://127.0.0.1:1", *rates, "--seed=5") as proxy,
        httpx.AsyncClient() as client,
    ):
        url = await url_of(proxy)
        statuses = [(await client.get(url)).status_code for _ in range(21)]
    refused = {fault.connection for fault in random_schedule(5, rates={Refuse(status=418): 0.5})}
    assert [n for n, status in enumerate(statuses, 1) if status == 418] == sorted(refused)
    assert set(statuses) == {418, 502}


@pytest.mark.parametrize(
    ("rate", "words"),
    [
        ("cut", "fault must be one of"),
        ("cat=0.1", "fault must be one of"),
        ("cut=x", "SHARE must be a number"),
        ("cut=2", "cut must be a number from 0 to 1, not 2.0"),
        ("refuse:status=1=0.1", "status must be an integer from 200 to 599, not 1"),
    ],
)
async def test_a_wrong_rate_is_told(moored, rate, words):
    result = await moored("proxy", "--upstream", "http://x", "--rate", rate)
    assert (result.status, len(result.errors)) == (2, 1)
    assert words in result.err


async def test_random_faults_come_from_the_seed(started):
    """The first that refuses, of those that the seed gives."""
    seed = next(
        seed
        for seed in range(1000)
        if any(fault.kind == "refuse" and fault.connection == 1 for fault in random_schedule(seed))
    )
    async with (
        started("serve") as serve,
        started(
            *("proxy", "--json", "--upstream", await url_of(serve)),
            *("--random", "--seed", str(seed)),
        ) as proxy,
        httpx.AsyncClient() as client,
    ):
        await client.get(await url_of(proxy) + "/feed?count=1")
        injected = json.loads(await proxy.error_until('"injected"'))
    assert injected["fault"] == schedule_to_data(random_schedule(seed))[0]


async def test_a_websocket_upstream_gives_a_websocket_url(started):
    async with started("proxy", "--upstream", "ws://127.0.0.1:1/feed?x=1") as proxy:
        url = await proxy.line()
    assert url.startswith("ws://127.0.0.1:")
    assert url.endswith("/feed?x=1")


async def test_the_key_of_the_chat_comes_from_the_environment(started):
    request = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    async with (
        started("serve", "--api-key-env", "CHAT_KEY", CHAT_KEY="k") as serve,
        httpx.AsyncClient() as client,
    ):
        url = await url_of(serve) + "/v1/chat/completions"
        assert (await client.post(url, json=request)).status_code == 401
        headers = {"Authorization": "Bearer k"}
        assert (await client.post(url, json=request, headers=headers)).status_code == 200


@pytest.mark.parametrize("command", [["serve"], ["proxy", "--upstream", "http://127.0.0.1:1"]])
async def test_a_port_in_use_is_told_in_one_line(moored, command):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = await moored(*command, "--port", str(port))
    assert (result.status, result.out) == (1, "")
    assert result.err == f"moored: cannot listen on 127.0.0.1:{port}: Address already in use\n"


async def test_an_address_that_is_not_ours(moored):
    result = await moored("serve", "--host", "203.0.113.1")
    assert result.status == 1
    assert result.errors == ["moored: cannot listen on 203.0.113.1:0: Cannot assign requested address"]  # fmt: skip # noqa: E501
