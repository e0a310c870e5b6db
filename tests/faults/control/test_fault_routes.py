"""Our own routes, over real HTTP, with fault proxies before a real server."""

import json
import re

import httpx
import pytest
import trio

from moored.faults import fault_to_dict, load_schedule, open_server, schedule_json_schema
from moored.faults.proxies import ProxySettings

SCRIPTS = ("page", "address", "api", "model", "tables", "templates", "timeline")
SCHEDULE = [{"fault": "cut", "after_messages": 3, "how": "rst", "connection": 1}]


@pytest.fixture
async def server():
    async with open_server(pace=0.01) as server:
        yield server


@pytest.fixture
async def api(opened, server):
    """A control server with one fault proxy, ``p``."""
    async with opened(fault_proxies=[ProxySettings("p", server.url)]) as api:
        yield api


@pytest.fixture
async def reading(api, dial):
    """Call it: an endless answer of the feed through the proxy, of which messages have come."""

    async def reading():
        listen = (await api.call("GET", "/moored/proxies/p")).json()["listen"]
        client = await dial(int(listen.rpartition(":")[2]))
        await client.get("/feed?follow=1&pace=0.02")
        await client.until(b"data: ")
        return client

    return reading


async def until(api, path, condition):
    """The answer at ``path``, once it is as it should be."""
    with trio.fail_after(5):
        while not condition(  # noqa: ASYNC110 - it is another process's, as far as we know
            data := (await api.call("GET", path)).json()
        ):
            await trio.sleep(0.01)
    return data


async def test_proxies_are_made_told_and_closed(api, server, dial):
    path = "/moored/proxies"
    body = {"name": "q", "upstream": server.url + "/x", "schedule": SCHEDULE, "seed": 7}
    answer = await api.call("POST", path, {**body, "listen": "127.0.0.1:0"})
    assert (answer.status_code, answer.headers["location"]) == (201, f"{path}/q")
    made = answer.json()
    assert made == (await api.call("GET", f"{path}/q")).json()
    assert made["url"] == f"http://{made['listen']}/x"
    assert (made["name"], made["upstream"], made["seed"]) == ("q", body["upstream"], 7)
    assert made["connections"] == {"open": 0, "accepted": 0}
    assert (made["scheduled"], made["armed"], made["injected"]) == (1, [], {})
    assert [each["name"] for each in (await api.call("GET", path)).json()] == ["p", "q"]
    again = await api.call("POST", path, body)
    assert (again.status_code, again.json()) == (409, {"error": "there is a proxy 'q' already"})
    port = int(made["listen"].rpartition(":")[2])
    client = await dial(port)
    assert (await api.call("DELETE", f"{path}/q")).status_code == 204
    assert (await client.rest())[0] == b""
    with pytest.raises(OSError):
        await dial(port)
    for method, tail in [("GET", ""), ("DELETE", ""), ("PUT", "/schedule"), ("POST", "/strike")]:
        answer = await api.call(method, f"{path}/q{tail}", b"[]")
        assert (answer.status_code, answer.json()) == (404, {"error": "there is no proxy 'q'"})


@pytest.mark.parametrize(
    ("listen", "host"),
    [("127.0.0.1:0", "127.0.0.1"), ("0.0.0.0:0", "0.0.0.0"), (":0", "0.0.0.0")],
)
async def test_a_proxy_listens_where_it_was_told(api, dial, listen, host):
    body = {"name": "q", "upstream": "http://127.0.0.1:1", "listen": listen}
    made = (await api.call("POST", "/moored/proxies", body)).json()
    port = int(made["listen"].removeprefix(f"{host}:"))
    assert made["url"] == f"http://127.0.0.1:{port}"  # where it is reached from here
    await dial(port)


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"name": "a/b"}, "name", "name must be 1 to 100 letters"),
        ({"name": None}, "name", "name must be"),
        ({"upstream": "ftp://x"}, "upstream", "a URL of http, https, ws or wss"),
        ({"upstream": "http://u:secret@x"}, "upstream", "no credentials, not 'http://***@x'"),
        ({"upstream": None}, "upstream", "upstream must be"),
        ({"listen": "x"}, "listen", "listen must be \"host:port\", not 'x'"),
        ({"port": -1}, "port", "port must be an integer from 0 to 65535, not -1"),
        ({"port": 1, "listen": "127.0.0.1:1"}, "port", "left out where listen is given"),
        ({"seed": "1"}, "seed", "seed must be an integer, not '1'"),
        ({"schedule": "secrets.json"}, "schedule", "schedule must be a list of faults"),
        ({"schedule": [{"fault": "x"}]}, "schedule[0].fault", "schedule[0].fault must be one of"),
        ({"x": 1}, "field", "field must be one of name, upstream, listen"),
    ],
)
async def test_a_wrong_proxy_is_told_and_not_made(api, change, field, words):
    body = {"name": "q", "upstream": "http://127.0.0.1:1", **change}
    answer = await api.call("POST", "/moored/proxies", body)
    assert (answer.status_code, answer.json()["field"]) == (400, field)
    assert words in answer.json()["error"]
    assert "secret@" not in answer.text
    assert len((await api.call("GET", "/moored/proxies")).json()) == 1


async def test_an_address_in_use_is_told(api):
    listen = (await api.call("GET", "/moored/proxies/p")).json()["listen"]
    body = {"name": "q", "upstream": "http://127.0.0.1:1", "listen": listen}
    answer = await api.call("POST", "/moored/proxies", body)
    assert answer.status_code == 409
    assert answer.json() == {"error": f"cannot listen on {listen}: Address already in use"}


async def test_connections_are_told_with_their_state_and_rates(api, reading):
    path = "/moored/proxies/p/connections"
    assert (await api.call("GET", path)).json() == []
    client = await reading()
    [live] = await until(api, path, lambda found: found and found[0]["messages"] > 10)
    assert live["number"] == 1
    assert (live["state"], live["path"], live["transport"]) == ("open", "/feed", "sse")
    assert live["messages_per_second"] > 5
    assert live["bytes_per_second"] > live["messages_per_second"]
    assert (await api.call("GET", f"{path}/1")).json()["state"] == "open"
    assert (await api.call("GET", f"{path}?state=ended")).json() == []
    assert (await api.call("GET", f"{path}/2")).status_code == 404
    one = (await api.call("GET", "/moored/proxies/p")).json()
    assert one["connections"] == {"open": 1, "accepted": 1}
    await client.aclose()
    [ended] = await until(api, f"{path}?state=ended", bool)
    assert (ended["outcome"], ended["messages_per_second"]) == ("client left", 0)
    assert ended["ended"] > ended["accepted"] >= 0


@pytest.mark.parametrize(
    ("fault", "ending"),
    [
        ({"fault": "cut", "how": "rst", "after_seconds": 0}, "rst"),
        ({"fault": "cut", "connection": 1, "after_seconds": 0}, "fin"),
        ({"fault": "limit_data"}, "fin"),
        ({"fault": "comments_only", "after_messages": 0}, ": comment"),
    ],
)
async def test_a_strike_comes_at_once(api, reading, fault, ending):
    path = "/moored/proxies/p"
    client = await reading()
    answer = (await api.call("POST", f"{path}/strike", fault)).json()
    assert answer == {"struck": 1, "fault": fault}
    if ending.startswith(":"):
        await client.until(ending.encode())
    else:
        assert (await client.rest())[1] == ending
    [told] = (await api.call("GET", f"{path}/injected")).json()
    assert (told["fault"], told["connection"], told["path"]) == (fault, 1, "/feed")
    assert (await api.call("GET", path)).json()["injected"] == {fault["fault"]: 1}


async def test_a_strike_need_not_say_when(api, reading):
    client = await reading()
    strike = {"fault": "stall"}
    answer = (await api.call("POST", "/moored/proxies/p/strike", strike)).json()
    assert answer == {"struck": 1, "fault": {"fault": "stall", "after_seconds": 0}}
    await until(api, "/moored/proxies/p/injected", bool)
    await client.aclose()


async def test_a_strike_takes_its_aim(api, reading):
    path = "/moored/proxies/p"
    await reading(), await reading()
    fault = {"fault": "stall", "path": "/elsewhere"}
    assert (await api.call("POST", f"{path}/strike", fault)).json()["struck"] == 0
    fault = {"fault": "stall", "connection": 2}
    assert (await api.call("POST", f"{path}/strike", fault)).json()["struck"] == 1
    found = await until(api, f"{path}/connections", lambda found: found[1]["state"] == "stalled")
    assert [each["state"] for each in found] == ["open", "stalled"]


@pytest.mark.parametrize("aim", [9, [3, 9], {"from": 3}])
@pytest.mark.parametrize("kind", ["cut", "half_open"])
async def test_a_strike_at_no_connection_is_told(api, reading, aim, kind):
    path = "/moored/proxies/p"
    first, _ = await reading(), await reading()
    answer = await api.call("POST", f"{path}/strike", {"fault": kind, "connection": aim})
    words = f"there is no connection {json.dumps(aim)}, or it is forgotten"
    assert (answer.status_code, answer.json()) == (404, {"error": words})
    assert (await api.call("GET", f"{path}/injected")).json() == []
    # One that has ended is none to strike, but it was there.
    await first.aclose()
    await until(api, f"{path}/connections?state=ended", bool)
    answer = await api.call("POST", f"{path}/strike", {"fault": kind, "connection": [1, 9]})
    assert (answer.status_code, answer.json()["struck"]) == (200, 0)


@pytest.mark.parametrize("state", ["bogus", "", "Open"])
async def test_an_unknown_state_is_told(api, state):
    answer = await api.call("GET", f"/moored/proxies/p/connections?state={state}")
    assert answer.status_code == 400
    body = answer.json()
    assert (body["field"], body["value"]) == ("state", state)
    words = "state must be one of accepted, requested, open, stalled, closing, ended, not"
    assert body["error"] == f"{words} {state!r}"


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"fault": "refuse"}, "fault must be one that can strike an open connection (arm this"),
        ({"fault": "cut", "how": "x"}, "how must be"),
        ({"fault": "nothing"}, "fault must be one of 'cut'"),
        ({"fault": "cut", "how": None}, "how must be 'fin' or 'rst', not null"),
        ([], "fault must be a fault, or an object with its fields"),
    ],
)
async def test_a_wrong_strike_is_told(api, fault, words):
    answer = await api.call("POST", "/moored/proxies/p/strike", fault)
    assert answer.status_code == 400
    assert words in answer.json()["error"]


async def test_the_next_requests_are_refused(api):
    path = "/moored/proxies/p"
    url = (await api.call("GET", path)).json()["url"] + "/feed?count=1&pace=0"
    refuse = {"fault": "refuse", "status": 503, "times": 2}
    answer = await api.call("POST", f"{path}/armed", refuse)
    assert (answer.status_code, answer.json()) == (201, [refuse])
    async with httpx.AsyncClient() as http:
        assert (await http.get(url)).status_code == 503
        left = [{**refuse, "times": 1}]
        assert (await api.call("GET", f"{path}/armed")).json() == left
        assert (await api.call("GET", path)).json()["armed"] == left
        assert [(await http.get(url)).status_code for _ in range(2)] == [503, 200]
        await api.call("POST", f"{path}/armed", {"fault": "slow_head", "seconds": 0.01})
        assert (await api.call("GET", f"{path}/armed")).json()[0]["times"] == 1
        assert (await api.call("DELETE", f"{path}/armed")).status_code == 204
        assert (await api.call("GET", f"{path}/armed")).json() == []


async def test_a_schedule_is_replaced_and_saved(api, reading, tmp_path):
    path = "/moored/proxies/p/schedule"
    assert (await api.call("GET", path)).json() == []
    assert (await api.call("PUT", path, SCHEDULE)).json() == SCHEDULE
    answer = await api.call("GET", path)
    assert answer.headers["content-disposition"] == 'attachment; filename="p.schedule.json"'
    file = tmp_path / "saved.json"
    file.write_bytes(answer.content)
    assert [fault_to_dict(fault) for fault in load_schedule(file)] == SCHEDULE
    assert (await (await reading()).rest())[1] == "rst"


async def test_a_schedule_may_be_yaml_or_a_recording(api, reading):
    path = "/moored/proxies/p"
    yaml = b"- {fault: cut, after_messages: 1}\n"
    headers = {"Content-Type": "application/yaml"}
    answer = await api.call("PUT", f"{path}/schedule", yaml, headers=headers)
    assert answer.json() == [{"fault": "cut", "after_messages": 1}]
    assert (await (await reading()).rest())[1] == "fin"
    answer = await api.call("GET", f"{path}/recording")
    assert "p.recording.json" in answer.headers["content-disposition"]
    assert [each["connection"] for each in answer.json()["injected"]] == [1]
    answer = await api.call("PUT", f"{path}/schedule", answer.content)
    assert answer.json() == [{"fault": "cut", "after_messages": 1, "connection": 1, "times": 1}]


@pytest.mark.parametrize(
    ("body", "facts"),
    [
        (b'[{"fault": "cut", "after_messages": -1}]', {"field": "[0].after_messages", "value": -1}),
        (b'[{"fault": "cut", "how": "x"}]', {"field": "[0].how", "value": "x"}),
        (b'{"faults": {}}', {"field": "faults", "value": "{}"}),
        (b"[", {}),
        (b"\xff", {}),
        (b'[{"fault": "cut", "fault": "cut"}]', {}),
        (b" " * (16 * 1024 * 1024 + 1), {}),
    ],
)
async def test_a_wrong_schedule_is_told_and_the_old_one_stays(api, body, facts):
    path = "/moored/proxies/p/schedule"
    await api.call("PUT", path, SCHEDULE)
    answer = await api.call("PUT", path, body)
    told = answer.json()
    assert answer.status_code == (413 if len(body) > 1000 else 400)
    assert told["error"]
    assert {name: told.get(name) for name in facts} == facts
    assert (await api.call("GET", path)).json() == SCHEDULE


async def test_the_schema_is_there(api):
    assert (await api.call("GET", "/moored/schema")).json() == schedule_json_schema()


async def test_other_methods_are_refused(api):
    for method, path in [("PUT", "/moored/proxies"), ("POST", "/moored/proxies/p/schedule")]:
        assert (await api.call(method, path)).status_code == 405


# ---------------------------------------------------------------------------- the live feed


class Events:
    """The live feed, read as it comes."""

    def __init__(self, client):
        self.client = client

    async def next(self):
        block = (await self.client.until(b"\n\n")).decode()
        if block == ":\n\n":
            return await self.next()
        fields = dict(line.split(": ", 1) for line in block.splitlines() if line)
        return fields["event"], json.loads(fields["data"])

    async def until(self, condition):
        while not condition(*(event := await self.next())):
            pass
        return event[1]


@pytest.fixture
async def live(api, dial):
    """Call it: a reader of the feed."""

    async def live():
        client = await dial(api.control.port)
        # Without chunks, for this client.
        await client.send(b"GET /moored/feed HTTP/1.0\r\nHost: localhost\r\n\r\n")
        _, fields = await client.head()
        assert fields["content-type"].startswith("text/event-stream")
        return Events(client)

    return live


async def test_the_feed_tells_of_connections_and_faults(api, live, reading):
    events = await live()
    client = await reading()
    name, first = await events.next()
    assert (name, [each["name"] for each in first["proxies"]]) == ("proxies", ["p"])

    def has_samples(name, data):
        return name == "connections" and data["connections"][0]["samples"]

    data = await events.until(has_samples)
    [connection] = data["connections"]
    assert (data["proxy"], connection["number"], connection["state"]) == ("p", 1, "open")
    seen = connection["samples"][-1]
    assert 0 < seen[0] <= data["now"]
    [connection] = (await events.until(has_samples))["connections"]
    assert all(sample[0] > seen[0] for sample in connection["samples"])  # only new ones
    assert connection["samples"][-1][1] == connection["messages"] > seen[1]

    await api.call("POST", "/moored/proxies/p/strike", {"fault": "cut"})
    data = await events.until(lambda name, _: name == "injected")
    [closing] = (await api.call("GET", "/moored/proxies/p/connections")).json()
    assert closing["state"] == "closing"
    await client.aclose()
    assert [each["fault"]["fault"] for each in data["injected"]] == ["cut"]
    await until(api, "/moored/proxies/p/connections?state=ended", bool)
    late = await live()  # which begins with how things are
    assert (await late.next())[0] == "proxies"
    _, told = await late.next()
    assert told["connections"][0]["outcome"] == "cut"
    assert told["connections"][0]["samples"][0] <= seen
    assert (await late.next())[1]["injected"] == data["injected"]


async def test_the_feed_tells_of_each_message(api, live, reading):
    events = await live()
    client = await reading()
    told = []
    while sum(each[3] for each in told) < 5:
        data = await events.until(lambda name, data: name == "messages")
        assert (data["proxy"], data["together"], data["missed"]) == ("p", None, 0)
        told += data["messages"]
    times = [each[0] for each in told]
    assert times == sorted(times)
    assert len(set(times)) == len(told) >= 3
    assert all(0 < time <= data["now"] for time in times)
    assert {tuple(each[1:3]) for each in told} == {(1, "to_client")}
    await client.aclose()
    late = await live()  # which hears of those that were before
    data = await late.until(lambda name, data: name == "messages")
    assert data["messages"][: len(told)] == told


async def test_the_feed_tells_of_proxies(api, live, server):
    events = await live()
    assert len((await events.next())[1]["proxies"]) == 1
    await api.call("POST", "/moored/proxies", {"name": "q", "upstream": server.url})
    await events.until(lambda name, data: len(data["proxies"]) == 2)
    await api.call("POST", "/moored/proxies/q/armed", {"fault": "refuse"})
    await events.until(lambda name, data: data["proxies"][1]["armed"])
    await api.call("DELETE", "/moored/proxies/q")
    await events.until(lambda name, data: len(data["proxies"]) == 1)


async def test_the_feed_ends_when_the_server_stops(opened, dial):
    async with opened() as api:
        client = await dial(api.control.port)
        await client.send(b"GET /moored/feed HTTP/1.0\r\nHost: localhost\r\n\r\n")
        await client.until(b"event: proxies")
        began = trio.current_time()
    assert trio.current_time() - began < 0.9  # the grace that others would get
    assert (await client.rest())[1] == "fin"


async def test_a_reader_that_leaves_takes_nothing_along(api, live):
    events = await live()
    await events.next()
    await events.client.aclose()
    await api.call("POST", "/moored/proxies/p/armed", {"fault": "refuse"})
    assert (await api.call("GET", "/moored/proxies")).status_code == 200


# ---------------------------------------------------------------------------- the guard


async def test_all_of_it_is_guarded(opened, dial):
    paths = ("/moored/proxies", "/moored/feed", "/dashboard/", "/dashboard/page.js")
    async with opened(host="0.0.0.0", token="secret") as api:
        for path in paths:
            for headers, status in [
                ({"Host": "evil.test"}, 403),
                ({"Origin": "http://evil.test"}, 403),
                ({}, 200 if path.startswith("/dashboard") else 401),
            ]:
                assert (await api.call("GET", path, headers=headers)).status_code == status
        for path in ("/dashboard/../moored/proxies", "/dashboard/%2e%2e/moored/proxies"):
            client = await dial(api.control.port)
            status, _ = await client.get(path, "Host: localhost")
            assert status in (301, 400, 401)
        right = {"Authorization": "Bearer secret"}
        assert (await api.call("GET", "/moored/proxies", headers=right)).json() == []


async def test_the_page_may_load_nothing_from_elsewhere(opened):
    async with opened() as api:
        answer = await api.call("GET", "/dashboard")
        assert (answer.status_code, answer.headers["location"]) == (307, "/dashboard/")
        for path in ("/dashboard/", *(f"/dashboard/{name}.js" for name in SCRIPTS)):
            answer = await api.call("GET", path, headers={"User-Agent": "Mozilla/5.0"})
            assert answer.status_code == 200
            assert "default-src 'none'" in answer.headers["content-security-policy"]
            elsewhere = set(re.findall(r"\w+://[\w.]+", answer.text))
            assert elsewhere <= {"http://127.0.0.1", "http://www.w3.org"}  # an example, a name
        assert (await api.call("GET", "/dashboard/nothing")).status_code == 404
