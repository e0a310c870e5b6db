"""``moored load``: what it counts is what happened, and how it ends."""

import json
import re
from functools import partial

import attrs
import pytest
import trio

from moored import faults
from moored.cli.load.measures import BusiestMinute, Durations
from moored.cli.load.plan import Plan

from .conftest import LIMIT

QUICK = ["load", "--pace", "0"]


@pytest.fixture
def load(moored_here):
    """Run it in this process, with a mock server that is as fast as it can be."""
    return partial(moored_here, *QUICK)


# ---------------------------------------------------------------------------- all is well


@pytest.mark.parametrize("transport", ["sse", "websocket"])
def test_what_it_counts_is_what_the_server_saw(load, serving, transport):
    server = serving(faults.open_server())
    url = ["--base-url", f"{server.url}/v1", "--model", "mock", "--no-api-key"]
    more = ["--requests", "30", "--concurrency", "4", "--transport", transport, "--json"]
    result = load(*url, *more)
    assert (result.status, result.err) == (0, "")
    data = json.loads(result.out)
    assert data["ok"] is True
    assert data["requests"] == {
        "planned": 30,
        "arrived": 30,
        "completed": 30,
        "failed": 0,
        "not_sent": 0,
        "interrupted": 0,
        "retried": 0,
        "restarted": 0,
        "attempts": 30,
    }
    seen = server.requests
    assert [request.complete for request in seen] == [True] * 30
    assert data["concurrency"]["most"] == 4
    assert 1 < most_at_once(seen) < 8  # the server learns a little later that a connection is over
    # The role, the tokens, the finish reason and the usage are a message each.
    assert data["tokens"]["output"] == sum(request.sent - 3 for request in seen)
    assert data["tokens"]["input"] == 30 * 7  # words of the prompt
    assert data["tokens"]["estimated"] is False
    assert data["limits"]["requests"]["used"] == 30
    assert data["limits"]["tokens"]["used"] == data["tokens"]["total"]
    for name in ("first_token", "answer", "total", "pool_wait"):
        times = data["seconds_of"][name]
        assert times["count"] == 30
        assert 0 <= times["p50"] <= times["p95"] <= times["p99"] <= times["longest"]
    assert data["seconds_of"]["answer"]["longest"] <= data["seconds_of"]["total"]["longest"]


def most_at_once(requests):
    changes = sorted(
        [(request.started, 1) for request in requests]
        + [(request.ended, -1) for request in requests]
    )
    most = now = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return most


def test_the_tables(load):
    result = load("--requests", "20", "--price", "1000,2000", "--rpm", "6000", "--tpm", "1e6")
    assert result.status == 0
    lines = [" ".join(line.split()) for line in result.out.splitlines()]
    assert "endpoint the mock server in this process, over sse" in lines
    assert "requests 20: 20 completed, 0 failed" in lines
    assert "retried 0, 20 attempts in all" in lines
    assert any(re.fullmatch(r"cost \$\d\.\d{6} \(user\)", line) for line in lines)
    (first_token,) = [line for line in lines if line.startswith("time to first token ")]
    assert re.fullmatch(r"time to first token( [\d.]+ (ms|s)){5}", first_token)
    (used,) = [line for line in lines if re.match(r"requests 6,000 6,000 ", line)]
    assert used.split()[4] == "20"
    assert re.fullmatch(
        r"COMPLETED: 20 of 20 requests completed, in [\d.]+ s", result.out.splitlines()[-1]
    )


def test_the_limiter_is_waited_for_and_never_overrun(load):
    # 3 at once, and 10 more a second: the other 7 take 0.7 s.
    more = ["--requests", "10", "--rpm", "600", "--burst-seconds", "0.3", "--concurrency", "5"]
    result = load(*more, "--json")
    assert result.status == 0
    data = json.loads(result.out)
    limit = data["limits"]["requests"]
    assert (limit["limit_per_minute"], limit["burst"], limit["used"]) == (600, 3, 10)
    assert limit["used"] <= limit["allowed"] + 0.1
    assert data["seconds"] >= 0.69
    waits = data["seconds_of"]["limiter_wait"]
    assert 0.09 * 10 < waits["mean"] * 10 < data["seconds"] * 5
    # The first has its token long before the last is let through.
    assert data["seconds_of"]["first_token"]["longest"] < 0.69


def test_tokens_are_limited_too_and_what_was_not_used_comes_back(load):
    # An answer may take 64 tokens, and takes about 36: the bucket holds two of these at once.
    more = ["--requests", "6", "--tpm", "12000", "--burst-seconds", "0.8", "--json"]
    data = json.loads(load(*more).out)
    limit = data["limits"]["tokens"]
    assert limit["burst"] == pytest.approx(160)
    assert limit["used"] == data["tokens"]["total"] <= limit["allowed"] + 1
    assert data["seconds"] < (6 * 75 - 160) / 200  # what was reserved would have taken longer
    assert data["seconds_of"]["limiter_wait"]["longest"] > 0.1


def test_requests_arrive_at_a_rate(load):
    more = ["--requests", "20", "--rate", "40", "--seed", "3", "--json"]
    data = json.loads(load(*more).out)
    arrivals = list(plan(requests=20, rate=40.0, seed=3).arrivals())
    assert arrivals[-1] <= data["seconds"] < arrivals[-1] + 2
    assert data["ok"] is True


# ---------------------------------------------------------------------------- what goes wrong


def test_faults_that_are_recovered_from(load):
    refuse = "refuse:status=429,retry_after=0,connection=1-2"
    cut = "cut:after_messages=5,connection=5"
    more = ["--fault", refuse, "--fault", cut, "--on-interrupt", "restart", "--json"]
    result = load("--requests", "10", "--concurrency", "1", *more)
    assert result.status == 0
    data = json.loads(result.out)
    assert data["rate_limited"] == 2
    assert data["faults"] == {"refuse": 2, "cut": 1}
    assert data["requests"]["completed"] == 10
    assert data["requests"]["attempts"] == 13
    assert data["requests"]["restarted"] == 1
    assert data["requests"]["retried"] == 2
    assert data["tokens"]["estimated"] is True


def test_a_429_holds_up_everybody_where_there_is_a_limit(load):
    fault = ["--fault", "refuse:status=429,retry_after=1,times=1", "--concurrency", "2"]
    limited = load("--requests", "6", *fault, "--rpm", "60000", "--json")
    free = load("--requests", "6", *fault, "--json")
    assert limited.status == free.status == 0
    assert json.loads(limited.out)["rate_limited"] == json.loads(free.out)["rate_limited"] == 1
    # One was on its way, one was refused; all others waited for about a second, or else for none.
    assert json.loads(limited.out)["seconds_of"]["limiter_wait"]["longest"] > 0.8
    assert json.loads(free.out)["seconds_of"]["limiter_wait"]["longest"] < 0.2


def test_failures_are_told_by_kind(load):
    more = ["--fault", "refuse:status=503,connection=1-3", "--fault", "cut:after_messages=4"]
    more += ["--requests", "5", "--concurrency", "1", "--attempts", "1"]
    result, as_json = load(*more), load(*more, "--json")
    assert result.status == as_json.status == 1
    lines = result.out.splitlines()
    assert any(line.startswith("3 x RequestRejected 503: ") for line in lines)
    assert any(line.startswith("2 x StreamTruncated: the stream ended before") for line in lines)
    assert lines[-1].startswith("FAILED: 0 of 5 requests completed, 5 failed, in ")
    data = json.loads(as_json.out)
    assert {kind: told["count"] for kind, told in data["failures"].items()} == {
        "RequestRejected 503": 3,
        "StreamTruncated": 2,
    }
    assert data["seconds_of"]["answer"] is None


def test_what_finds_no_place_in_the_queue_is_refused(load):
    result = load("--requests", "20", "--concurrency", "2", "--max-queued", "3", "--json")
    assert result.status == 1
    data = json.loads(result.out)
    assert data["requests"]["completed"] == 5
    assert data["failures"]["PoolFull"]["count"] == 15
    assert data["requests"]["attempts"] == 5


def test_a_budget_ends_the_spending(load):
    more = ["--price", "1,1000", "--budget", "0.2", "--concurrency", "1", "--requests", "10"]
    result = load(*more, "--json")
    assert result.status == 1
    data = json.loads(result.out)
    assert set(data["failures"]) == {"BudgetExceeded"}
    assert data["requests"]["completed"] + data["failures"]["BudgetExceeded"]["count"] == 10
    assert 0.1 < float(data["cost"]["usd"]) <= 0.2


def test_a_timeout_bounds_each_request(load):
    more = ["--fault", "stall:after_messages=4,connection=1", "--timeout", "0.5", "--json"]
    result = load("--requests", "2", "--concurrency", "2", *more)
    assert result.status == 1
    assert {kind: told["count"] for kind, told in json.loads(result.out)["failures"].items()} == {
        "TotalTimeout": 1
    }
    assert json.loads(result.out)["requests"]["completed"] == 1


# ---------------------------------------------------------------------------- signals


async def last_line(running):
    """Of standard output, which has empty lines."""
    with trio.fail_after(LIMIT):
        out = b"".join([chunk async for chunk in running.process.stdout])
    return out.decode().splitlines()[-1]


async def test_an_interrupt_drains_and_prints_the_result(started):
    async with faults.open_server(pace=0.03) as server:
        url = ["--base-url", f"{server.url}/v1", "--model", "mock", "--no-api-key"]
        more = ["--requests", "5000", "--concurrency", "4", "--json", "--max-tokens", "30"]
        async with started("load", *url, *more) as running:
            with trio.fail_after(LIMIT):
                await server.wait_until(lambda: sum(r.complete for r in server.requests) >= 2)
            running.interrupt()
            data = json.loads("\n".join(await running.rest()))
            assert await running.wait() == 130
            assert await running.rest_of_errors() == []
        # What was under way came to its end.
        assert [request.complete for request in server.requests] == [True] * len(server.requests)
    counts = data["requests"]
    assert counts["completed"] == len(server.requests) < 100
    assert counts["not_sent"] == 5000 - counts["completed"]
    assert (data["interrupted"], data["ok"]) == (True, False)
    assert data["verdict"].startswith("INTERRUPTED: ")


async def test_what_does_not_end_in_time_is_cut_short(started):
    async with faults.open_server(pace=60) as server:
        url = ["--base-url", f"{server.url}/v1", "--model", "mock", "--no-api-key"]
        more = ["--requests", "3", "--concurrency", "2", "--drain-timeout", "0.2"]
        async with started("load", *url, *more) as running:
            with trio.fail_after(LIMIT):
                await server.wait_until(lambda: len(server.requests) == 2)
                line = await running.error_line()
            running.interrupt()
            assert await running.wait() == 130
            last = await last_line(running)
    assert "s: 2 active (0 wait for the limiter), 1 queued, 0 of 3 done, 0 failed, " in line
    assert last.startswith("INTERRUPTED: 0 of 3 requests completed, 1 not sent, 2 cut short, in ")


async def test_what_waits_for_the_limiter_is_given_up(started):
    # Two may be sent at once, and then one a minute.
    more = ["--requests", "5", "--rpm", "1", "--burst-seconds", "120"]
    more += ["--pace", "0", "--drain-timeout", "600"]
    async with started("load", *more) as running:
        await running.error_until("(3 wait for the limiter)")
        running.interrupt()
        assert await running.wait() == 130
        last = await last_line(running)
    assert last.startswith("INTERRUPTED: 2 of 5 requests completed, 3 not sent, in ")


# ---------------------------------------------------------------------------- wrong usage


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--requests", "0"], "0 is not in the range 1<=x<=1000000"),
        (["--rpm", "0"], "0.0 is not in the range x>0"),
        (["--base-url", "http://127.0.0.1:1/v1"], "--base-url needs --model"),
        (
            ["--base-url", "http://", "--model", "m", "--no-api-key"],
            "must be an http, https, ws or wss URL with a host",
        ),
        (["--fault", "melt"], "fault must be "),
        (["--field", "messages=[]"], "messages cannot be given: the prompt gives them"),
        (["--field", "n=0"], "n must be a whole number of at least 1, not 0"),
        (["--budget", "-1"], "must be US dollars, more than 0"),
        (["--budget", "1"], "--budget needs a price, and none is known for 'mock': give it with"),
        (
            [
                "--base-url",
                "http://127.0.0.1:1/v1",
                "--model",
                "m",
                "--no-api-key",
                "--budget",
                "1",
            ],
            "none is known for 'm'",
        ),
        (["--pace", "inf"], "'--pace': inf is not a finite number"),
        (["--rpm", "nan"], "'--rpm': nan is not a finite number"),
        (["--rate", "inf"], "'--rate': inf is not a finite number"),
    ],
)
def test_wrong_usage_takes_one_line(load, more, words):
    result = load(*more)
    assert (result.status, result.out) == (2, "")
    (line,) = result.err.splitlines()
    assert words in line


# ---------------------------------------------------------------------------- its parts


def plan(**given):
    values = {field.name: None for field in attrs.fields(Plan)}
    return Plan(**{**values, "prompt": "", **given})


def test_arrivals_come_from_the_seed():
    def arrivals(seed):
        return list(plan(requests=2000, rate=50.0, seed=seed).arrivals())

    assert arrivals(1) == arrivals(1) != arrivals(2)
    assert arrivals(1)[0] == 0
    assert arrivals(1) == sorted(arrivals(1))
    assert arrivals(1)[-1] == pytest.approx(2000 / 50, rel=0.1)
    assert list(plan(requests=3).arrivals()) == [None] * 3


def test_percentiles_are_values_that_were_measured():
    durations = Durations()
    assert durations.percentiles() is None
    for value in range(100, 0, -1):
        durations.add(value)
    found = durations.percentiles()
    assert (found.p50, found.p95, found.p99, found.longest) == (50, 95, 99, 100)
    assert (found.count, found.mean) == (100, 50.5)
    durations.add(1000)
    assert durations.percentiles().p50 == 51


def test_the_busiest_minute():
    use = BusiestMinute()
    for second in range(120):
        use.add(1, second + 0.5)
    assert (use.total, use.most) == (120, 60)
    use.add(100, 300.0)
    assert (use.total, use.most) == (220, 100)
    use.add(5, 359.9)
    assert use.most == 105
    use.add(5, 360.0)
    assert use.most == 105
