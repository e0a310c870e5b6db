"""Toxiproxy's API, held against what its own server (2.12.0) was seen to do on the wire."""

import json
import re
import socket
import time

import pytest
import trio

PROXY = {"name": "p", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:1"}
LATENCY = {"type": "latency", "attributes": {"latency": 100}}


def port_of(address):
    return int(address.rpartition(":")[2])


# ---------------------------------------------------------------------------- answers


async def test_each_call_has_its_status_and_body(opened):
    async with opened() as api:
        call = api.call
        assert (await call("GET", "/proxies")).json() == {}
        answer = await call("POST", "/proxies", PROXY)
        assert answer.status_code == 201
        made = answer.json()
        assert made == {**PROXY, "listen": made["listen"], "enabled": True, "toxics": []}
        assert port_of(made["listen"]) > 0
        answer = await call("GET", "/proxies")
        assert (answer.status_code, answer.json()) == (200, {"p": made})
        for method in ("GET", "POST", "PATCH"):
            answer = await call(method, "/proxies/p", None if method == "GET" else {})
            assert (answer.status_code, answer.json()) == (200, made)

        assert (await call("GET", "/proxies/p/toxics")).json() == []
        answer = await call("POST", "/proxies/p/toxics", LATENCY)
        toxic = {
            "attributes": {"latency": 100, "jitter": 0},
            "name": "latency_downstream",
            "type": "latency",
            "stream": "downstream",
            "toxicity": 1,
        }
        assert (answer.status_code, answer.json()) == (200, toxic)
        assert (await call("GET", "/proxies/p/toxics")).json() == [toxic]
        assert (await call("GET", "/proxies/p")).json()["toxics"] == [toxic]
        path = "/proxies/p/toxics/latency_downstream"
        for method in ("GET", "POST", "PATCH"):
            answer = await call(method, path, None if method == "GET" else {})
            assert (answer.status_code, answer.json()) == (200, toxic)
        answer = await call("DELETE", path)
        assert (answer.status_code, answer.content) == (204, b"")
        assert (await call("GET", "/proxies/p/toxics")).json() == []

        answer = await call("POST", "/reset", b"whatever")
        assert (answer.status_code, answer.content) == (204, b"")
        answer = await call("DELETE", "/proxies/p")
        assert (answer.status_code, answer.content) == (204, b"")
        assert (await call("GET", "/proxies")).json() == {}


async def test_the_version_is_toxiproxys(opened):
    async with opened() as api:
        answer = await api.call("GET", "/version")
        assert answer.content == b'{"version": "2.12.0"}\n'
        assert answer.headers["content-type"] == "application/json;charset=utf-8"


async def test_content_types_and_ids(opened):
    async with opened() as api:
        answers = [
            await api.call("GET", "/proxies"),
            await api.call("POST", "/proxies", PROXY),
            await api.call("GET", "/proxies/p/toxics"),
        ]
        assert {answer.headers["content-type"] for answer in answers} == {"application/json"}
        ids = {answer.headers["x-toxiproxy-request-id"] for answer in answers}
        assert len(ids) == 3
        assert all(re.fullmatch("[0-9a-v]{20}", each) for each in ids)


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_metrics_are_off_by_default(opened, method):
    async with opened() as api:
        assert (await api.call(method, "/metrics")).status_code == 404


async def test_metrics_count_bytes(opened, echo_server, dial):
    async with opened(metrics=True) as api:
        made = await api.proxy('a"b', upstream=echo_server)
        client = await dial(port_of(made["listen"]))
        await client.send(b"12345")
        assert await client.exactly(5) == b"12345"
        answer = await api.call("POST", "/metrics")
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        labels = f'listener="{made["listen"]}",proxy="a\\"b",upstream="{echo_server}"'
        for what in ("received", "sent"):
            name = f"toxiproxy_proxy_{what}_bytes_total"
            for direction in ("upstream", "downstream"):
                assert f'{name}{{direction="{direction}",{labels}}} 5\n' in answer.text


# ---------------------------------------------------------------------------- errors


def error(answer):
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.text.endswith("}\n")
    body = answer.json()
    assert set(body) == {"error", "status"}
    assert body["status"] == answer.status_code
    return answer.status_code, body["error"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("GET", "/proxies/x", None, 404, "proxy not found"),
        ("POST", "/proxies/x", b"junk", 404, "proxy not found"),
        ("DELETE", "/proxies/x", None, 404, "proxy not found"),
        ("GET", "/proxies/x/toxics", None, 404, "proxy not found"),
        ("POST", "/proxies/x/toxics", b"junk", 404, "proxy not found"),
        ("GET", "/proxies/x/toxics/t", None, 404, "proxy not found"),
        ("GET", "/proxies/p/toxics/x", None, 404, "toxic not found"),
        ("POST", "/proxies/p/toxics/x", b"junk", 404, "toxic not found"),
        ("PATCH", "/proxies/p/toxics/x", b"junk", 404, "toxic not found"),
        ("DELETE", "/proxies/p/toxics/x", None, 404, "toxic not found"),
        ("POST", "/proxies", PROXY, 409, "proxy already exists"),
        ("POST", "/proxies", {}, 400, "missing required field: name"),
        ("POST", "/proxies", b"null", 400, "missing required field: name"),
        ("POST", "/proxies", {"name": ""}, 400, "missing required field: name"),
        ("POST", "/proxies", {"name": "q"}, 400, "missing required field: upstream"),
        ("POST", "/proxies", {**PROXY, "upstream": None}, 400, "missing required field: upstream"),
        ("POST", "/proxies", b"", 400, "bad request body: EOF"),
        ("POST", "/proxies", b"{", 400, "bad request body: "),
        ("POST", "/proxies", b"[]", 400, "bad request body: "),
        ("POST", "/proxies", b'{"name": NaN}', 400, "bad request body: "),
        ("POST", "/proxies", b"[" * 100_000, 400, "bad request body: "),
        ("POST", "/proxies", {**PROXY, "name": 1}, 400, "bad request body: name"),
        ("POST", "/proxies", {**PROXY, "enabled": 1}, 400, "bad request body: enabled"),
        ("POST", "/proxies/p", b"junk", 400, "bad request body: "),
        ("POST", "/proxies/p", {"listen": 1}, 400, "bad request body: listen"),
        ("POST", "/proxies/p/toxics", b"junk", 400, "bad request body: "),
        ("POST", "/proxies/p/toxics", {"type": "x"}, 400, "invalid toxic type"),
        ("POST", "/proxies/p/toxics", {"type": "down"}, 400, "invalid toxic type"),
        ("POST", "/proxies/p/toxics", {"type": "Latency"}, 400, "invalid toxic type"),
        ("POST", "/proxies/p/toxics", {}, 400, "invalid toxic type"),
        (
            *("POST", "/proxies/p/toxics", {"type": "x", "stream": "sideways"}),
            *(400, "stream was invalid, can be either upstream or downstream"),
        ),
        ("POST", "/proxies/p/toxics", {"type": "x", "name": "taken"}, 400, "invalid toxic type"),
        ("POST", "/proxies/p/toxics", {"type": "noop", "name": "taken"}, 409, "toxic already"),
        (
            *("POST", "/proxies/p/toxics"),
            {"type": "latency", "name": "taken", "attributes": {"latency": "x"}},
            *(409, "toxic already exists"),
        ),
        *(
            (
                *("POST", "/proxies/p/toxics"),
                b'{"type": "latency", "attributes": {"latency": %s}}' % value,
                *(400, "bad request body: attributes.latency must be a whole number"),
            )
            for value in (b"1.5", b'"10"', b"true", b"1000.0", b"1e3", b"9223372036854775808")
        ),
        ("POST", "/proxies/p/toxics", {**LATENCY, "attributes": []}, 400, "bad request body: "),
        ("POST", "/proxies/p/toxics", {**LATENCY, "toxicity": "1"}, 400, "bad request body: "),
        ("POST", "/proxies/p/toxics", {**LATENCY, "toxicity": 1e39}, 400, "bad request body: "),
        ("POST", "/proxies/p/toxics/taken", {"toxicity": []}, 400, "bad request body: "),
        (
            *("POST", "/proxies/p/toxics", {"type": "corrupt", "attributes": {"share": 2}}),
            *(400, "bad request body: attributes.share must be a number from 0 to 1"),
        ),
    ],
)
async def test_what_is_wrong_is_told(opened, method, path, body, status, words):
    async with opened() as api:
        await api.proxy()
        await api.call("POST", "/proxies/p/toxics", {"type": "noop", "name": "taken"})
        found = error(await api.call(method, path, body))
        assert found[0] == status
        assert found[1].startswith(words)


async def test_an_address_in_use_is_told_with_the_sockets_error(opened):
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        async with opened() as api:
            answer = await api.call("POST", "/proxies", {**PROXY, "listen": taken})
            assert error(answer) == (500, f"listen tcp {taken}: bind: address already in use")
            assert (await api.call("GET", "/proxies")).json() == {}
            answer = await api.call("POST", "/proxies", {**PROXY, "listen": "nonsense"})
            assert error(answer) == (
                500,
                "listen tcp: address nonsense: missing port in address",
            )


@pytest.mark.parametrize("path", ["/", "/proxie", "/proxies/", "/proxies/p/", "/proxies/p/x"])
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
async def test_an_unknown_path_is_not_found(opened, path, method):
    async with opened() as api:
        answer = await api.call(method, path)
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.text == ("" if method == "HEAD" else "404 page not found\n")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("HEAD", "/version"), ("OPTIONS", "/proxies"), ("PUT", "/proxies"), ("GET", "/reset")),
        *(("PUT", "/proxies/p"), ("DELETE", "/proxies/p/toxics"), ("GET", "/populate")),
    ],
)
async def test_a_wrong_method_is_refused_without_a_word(opened, method, path):
    async with opened() as api:
        answer = await api.call(method, path)
        assert (answer.status_code, answer.content) == (405, b"")
        assert "allow" not in answer.headers
        assert "x-toxiproxy-request-id" not in answer.headers


async def test_a_refused_body_leaves_the_connection_usable(opened, dial):
    async with opened() as api:
        client = await dial(api.control.port)
        for method, path, status in [
            ("PUT", "/proxies", "405"),
            ("POST", "/proxies/x", "404"),
            ("POST", "/proxies", "400"),
            ("DELETE", "/metrics", "404"),
            ("POST", "/reset", "204"),
        ]:
            head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 70000\r\n\r\n"
            await client.send(head.encode())
            await client.send(b"x" * 70_000)
            line, fields = await client.head()
            assert line.split()[1] == status
            await client.exactly(int(fields.get("content-length", 0)))


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("//proxies", "/proxies"),
        ("/proxies//p?a=b%20c", "/proxies/p?a=b%20c"),
        ("/x/../proxies", "/proxies"),
        ("/./proxies/", "/proxies/"),
    ],
)
async def test_an_unclean_path_is_redirected(opened, path, location, dial):
    async with opened() as api:
        client = await dial(api.control.port)  # httpx would clean it
        await client.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        line, fields = await client.head()
        assert line.split()[1] == "301"
        assert fields["location"] == location


@pytest.mark.parametrize(
    ("agent", "path", "status"),
    [
        ("Mozilla/5.0", "/proxies", 403),
        ("mozilla/5.0", "/proxies", 200),
        ("x Mozilla/5.0", "/proxies", 200),
        ("Mozilla/5.0", "/nothing", 404),
        ("Mozilla/5.0", "/populate", 405),
    ],
)
async def test_browsers_are_refused(opened, agent, path, status):
    async with opened() as api:
        answer = await api.call("GET", path, headers={"User-Agent": agent})
        assert answer.status_code == status
        if status == 403:
            assert answer.text == "User agent not allowed\n"


async def test_a_body_that_is_too_large_is_refused(opened):
    async with opened() as api:
        answer = await api.call("POST", "/proxies", b" " * (16 * 1024 * 1024 + 1))
        assert error(answer)[0] == 413
        assert (await api.call("GET", "/proxies")).status_code == 200


# ---------------------------------------------------------------------------- bodies


async def test_a_chunked_body_and_expect_continue_work(opened, dial):
    async with opened() as api:
        client = await dial(api.control.port)
        await client.send(
            b"POST /proxies HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
            b"Transfer-Encoding: chunked\r\nContent-Type: image/png\r\n\r\n"
        )
        assert (await client.head())[0].split()[1] == "100"
        body = json.dumps(PROXY).encode()
        for part in (body[:10], body[10:]):
            await client.send(b"%x\r\n%s\r\n" % (len(part), part))
        await client.send(b"0\r\n\r\n")
        assert (await client.head())[0].split()[1] == "201"


async def test_keys_match_in_any_case_and_the_rest_is_ignored(opened):
    async with opened() as api:
        body = b' {"NAME": "p", "Upstream": "a:1", "listen": "127.0.0.1:0", "x": 1} junk'
        answer = await api.call("POST", "/proxies", body)
        assert (answer.status_code, answer.json()["name"]) == (201, "p")
        # The Go client sends whole proxies back.
        answer = await api.call("POST", "/proxies/p", answer.json() | {"toxics": [LATENCY]})
        assert (answer.status_code, answer.json()["toxics"]) == (200, [])


async def test_null_is_as_if_it_were_left_out(opened):
    async with opened() as api:
        made = await api.proxy(enabled=None)
        assert made["enabled"]
        assert (await api.call("POST", "/proxies/p", b"null")).json() == made
        toxic = dict.fromkeys(["name", "stream", "toxicity", "attributes"])
        answer = await api.call("POST", "/proxies/p/toxics", {"type": "latency", **toxic})
        assert answer.json() == {
            "name": "latency_downstream",
            "type": "latency",
            "stream": "downstream",
            "toxicity": 1,
            "attributes": {"latency": 0, "jitter": 0},
        }


async def test_half_a_surrogate_pair_does_no_harm(opened):
    async with opened() as api:
        answer = await api.call("POST", "/proxies", b'{"name": "\\ud800", "upstream": "x:1"}')
        assert answer.json()["name"] == "\ufffd"
        assert (await api.call("GET", "/proxies")).status_code == 200


@pytest.mark.parametrize(
    ("kind", "defaults"),
    [
        ("latency", {"latency": 0, "jitter": 0}),
        ("bandwidth", {"rate": 0}),
        ("slow_close", {"delay": 0}),
        ("timeout", {"timeout": 0}),
        ("reset_peer", {"timeout": 0}),
        ("slicer", {"average_size": 0, "size_variation": 0, "delay": 0}),
        ("limit_data", {"bytes": 0}),
        ("noop", {}),
        ("corrupt", {"share": 0, "offsets": [], "seed": 0}),
        ("half_open", {}),
        ("never_answer", {}),
    ],
)
async def test_every_type_has_its_attributes(opened, kind, defaults):
    async with opened() as api:
        await api.proxy()
        made = (await api.call("POST", "/proxies/p/toxics", {"type": kind})).json()
        assert (made["attributes"], made["name"]) == (defaults, f"{kind}_downstream")
        # Negative ones and unknown ones are taken, and told as they were given.
        given = {name: -5 for name, value in defaults.items() if value == 0 and name != "share"}
        body = {"attributes": {**given, "unknown": 1, "offsets": None}}
        changed = (await api.call("POST", f"/proxies/p/toxics/{kind}_downstream", body)).json()
        assert changed["attributes"] == {**defaults, **given}


@pytest.mark.parametrize(
    ("given", "told"),
    [(b"0", "0"), (b"-1", "-1"), (b"5", "5"), (b"1.0", "1"), (b"0.1", "0.1"), (b"1e-1", "0.1"),
     (b"0.123456789", "0.12345679")],
)  # fmt: skip
async def test_toxicity_is_a_float_of_32_bits_without_bounds(opened, given, told):
    async with opened() as api:
        await api.proxy()
        body = b'{"type": "noop", "toxicity": %s}' % given
        answer = await api.call("POST", "/proxies/p/toxics", body)
        assert f'"toxicity":{told}}}' in answer.text
        answer = await api.call("POST", "/proxies/p/toxics/noop_downstream", {"attributes": {}})
        assert f'"toxicity":{told}}}' in answer.text  # and stays


async def test_upstream_toxics_come_first_and_streams_are_taken_as_written(opened):
    async with opened() as api:
        await api.proxy()
        for name, stream in [("a", "downstream"), ("b", "UPSTREAM"), ("c", "Downstream")]:
            body = {"type": "noop", "name": name, "stream": stream}
            await api.call("POST", "/proxies/p/toxics", body)
        answer = await api.call("POST", "/proxies/p/toxics", {**LATENCY, "stream": "UPSTREAM"})
        assert answer.json()["name"] == "latency_UPSTREAM"
        toxics = (await api.call("GET", "/proxies/p/toxics")).json()
        assert [each["name"] for each in toxics] == ["b", "latency_UPSTREAM", "a", "c"]


async def test_a_name_with_a_slash_can_be_made_but_not_reached(opened):
    async with opened() as api:
        await api.proxy("a/b")
        assert "a/b" in (await api.call("GET", "/proxies")).json()
        assert (await api.call("GET", "/proxies/a%2Fb")).status_code == 404
        await api.proxy("a b")
        assert (await api.call("GET", "/proxies/a%20b")).json()["name"] == "a b"


@pytest.mark.parametrize("listen", [None, ":0", "0.0.0.0:0"])
async def test_without_a_host_it_listens_on_every_interface(opened, listen):
    async with opened() as api:
        assert re.fullmatch(r"\[::\]:\d+", (await api.proxy(listen=listen))["listen"])


async def test_a_name_is_told_as_its_address_once_it_listens(opened):
    async with opened() as api:
        assert (await api.proxy(listen="localhost:0"))["listen"].startswith("127.0.0.1:")
        for listen in ("localhost:0", "nonsense"):
            made = await api.proxy(listen, listen=listen, enabled=False)
            assert (made["listen"], made["enabled"]) == (listen, False)


# ---------------------------------------------------------------------------- updating


async def test_updating_moves_a_proxy_and_keeps_its_toxics(opened, echo_server, dial):
    async with opened() as api:
        made = await api.proxy(upstream=echo_server)
        await api.call("POST", "/proxies/p/toxics", {"type": "noop"})
        port = port_of(made["listen"])
        client = await dial(port)
        await client.send(b"x")
        assert await client.exactly(1) == b"x"
        for same in ({}, {"name": "other"}, {"listen": f"localhost:{port}"}, {"enabled": True}):
            answer = await api.call("POST", "/proxies/p", same)
            assert (answer.json()["name"], answer.json()["listen"]) == ("p", made["listen"])
        await client.send(b"y")
        assert await client.exactly(1) == b"y"
        answer = await api.call("PATCH", "/proxies/p", {"listen": "127.0.0.1:0"})
        assert port_of(answer.json()["listen"]) != port
        assert await client.rest() == (b"", "fin")
        assert [each["name"] for each in answer.json()["toxics"]] == ["noop_downstream"]


async def test_a_disabled_proxy_cuts_refuses_and_keeps_its_port(opened, echo_server, dial):
    async with opened() as api:
        made = await api.proxy(upstream=echo_server)
        client = await dial(port_of(made["listen"]))
        answer = await api.call("POST", "/proxies/p", {"enabled": False})
        assert answer.json() == {**made, "enabled": False}
        assert await client.rest() == (b"", "fin")
        with pytest.raises(OSError):
            await dial(port_of(made["listen"]))
        assert (await api.call("POST", "/proxies/p", {"enabled": True})).json() == made
        await dial(port_of(made["listen"]))


async def test_moving_to_where_it_cannot_listen(opened):
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        async with opened() as api:
            made = await api.proxy()
            answer = await api.call("POST", "/proxies/p", {"listen": "nonsense"})
            assert answer.status_code == 500
            assert (await api.call("GET", "/proxies/p")).json() == made
            answer = await api.call("POST", "/proxies/p", {"listen": taken})
            assert error(answer) == (500, f"listen tcp {taken}: bind: address already in use")
            now = (await api.call("GET", "/proxies/p")).json()
            assert (now["listen"], now["enabled"]) == (taken, False)


async def test_updating_a_toxic_changes_only_what_is_given(opened):
    async with opened() as api:
        await api.proxy()
        body = {"type": "latency", "toxicity": 0.5, "attributes": {"latency": 1, "jitter": 2}}
        made = (await api.call("POST", "/proxies/p/toxics", body)).json()
        path = "/proxies/p/toxics/latency_downstream"
        body = {"attributes": {"jitter": 3}, "name": "x", "type": "noop", "stream": "upstream"}
        changed = {**made, "attributes": {"latency": 1, "jitter": 3}}
        assert (await api.call("POST", path, body)).json() == changed
        changed["toxicity"] = 0
        assert (await api.call("PATCH", path, {"toxicity": 0})).json() == changed


async def test_units_are_milliseconds_and_kilobytes(opened, echo_server, dial):
    async with opened() as api:
        made = await api.proxy(upstream=echo_server)
        for kind, attributes in [("latency", {"latency": 150}), ("bandwidth", {"rate": 10})]:
            body = {"type": kind, "attributes": attributes}
            assert (await api.call("POST", "/proxies/p/toxics", body)).status_code == 200
            client = await dial(port_of(made["listen"]))
            began = time.monotonic()
            await client.send(bytes(2000))
            await client.exactly(2000)
            assert 0.14 < time.monotonic() - began < 0.5  # 2,000 bytes at 10 KB/s take 0.2 s
            await api.call("DELETE", f"/proxies/p/toxics/{kind}_downstream")


# ---------------------------------------------------------------------------- populate, reset


async def test_populating_makes_keeps_and_replaces(opened, echo_server, dial):
    async with opened() as api:
        kept = await api.proxy("kept", upstream=echo_server)
        off = await api.proxy("off", enabled=False, listen="127.0.0.1:19")
        await api.proxy("replaced")
        await api.proxy("absent")
        for name in ("kept", "replaced"):
            await api.call("POST", f"/proxies/{name}/toxics", {"type": "noop"})
        client = await dial(port_of(kept["listen"]))
        entries = [
            {"name": "kept", "listen": kept["listen"], "upstream": echo_server, "enabled": False},
            {"name": "off", "listen": off["listen"], "upstream": off["upstream"]},
            {"name": "replaced", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:2"},
            {"name": "made", "listen": "127.0.0.1:0", "upstream": "x:1", "enabled": False},
        ]
        answer = await api.call("POST", "/populate", entries)
        assert answer.status_code == 201
        assert answer.headers["content-type"] == "application/json"
        told = {each["name"]: each for each in answer.json()["proxies"]}
        assert list(told) == ["kept", "off", "replaced", "made"]
        assert told["kept"]["enabled"]
        assert len(told["kept"]["toxics"]) == 1
        assert not told["off"]["enabled"]
        assert told["replaced"]["toxics"] == []
        assert not told["made"]["enabled"]
        assert "absent" in (await api.call("GET", "/proxies")).json()
        await client.send(b"still there")
        assert await client.exactly(11) == b"still there"


@pytest.mark.parametrize("body", [b"[]", b"null"])
async def test_populating_with_nothing(opened, body):
    async with opened() as api:
        answer = await api.call("POST", "/populate", body)
        assert (answer.status_code, answer.json()) == (201, {"proxies": None})


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"junk", "bad request body: "),
        (b"{}", "bad request body: "),
        ([1], "bad request body: "),
        ([None], "missing required field: name at proxy 1"),
        ([PROXY, {"name": "q"}], "missing required field: upstream at proxy 2"),
    ],
)
async def test_a_wrong_list_makes_nothing(opened, body, words):
    async with opened() as api:
        answer = await api.call("POST", "/populate", body)
        assert answer.status_code == 400
        assert answer.headers["content-type"] == "application/json"
        told = answer.json()
        assert told["error"].startswith(words)
        assert (told["status"], told["proxies"]) == (400, None)
        assert (await api.call("GET", "/proxies")).json() == {}


async def test_populating_stops_at_one_that_fails(opened):
    async with opened() as api:
        entries = [PROXY, {**PROXY, "name": "bad", "listen": "nonsense"}, {**PROXY, "name": "q"}]
        answer = await api.call("POST", "/populate", entries)
        assert answer.status_code == 500
        assert [each["name"] for each in answer.json()["proxies"]] == ["p"]
        assert list((await api.call("GET", "/proxies")).json()) == ["p"]


async def test_reset_enables_and_removes_all_toxics(opened, echo_server, dial):
    async with opened() as api:
        made = await api.proxy(upstream=echo_server)
        await api.proxy("off", enabled=False)
        client = await dial(port_of(made["listen"]))
        await client.send(b"x")
        assert await client.exactly(1) == b"x"
        await api.call("POST", "/proxies/p/toxics", {**LATENCY, "stream": "upstream"})
        assert (await api.call("POST", "/reset")).status_code == 204
        proxies = (await api.call("GET", "/proxies")).json()
        assert proxies["p"] == made
        assert proxies["off"]["enabled"]
        await client.send(b"y")
        assert await client.exactly(1) == b"y"
        await api.call("POST", "/proxies/p/toxics", {"type": "timeout"})
        await api.call("POST", "/reset")
        assert await client.rest() == (b"", "fin")


async def test_a_reset_of_one_that_cannot_listen_resets_the_others(opened):
    async with opened() as api:
        await api.proxy("a", listen="nonsense", enabled=False)
        await api.proxy("b", enabled=False)
        assert error(await api.call("POST", "/reset"))[0] == 500
        assert (await api.call("GET", "/proxies/b")).json()["enabled"]


# ---------------------------------------------------------------------------- where it breaks


async def test_what_ends_the_real_server_does_not_end_this_one(opened, echo_server, dial):
    async with opened() as api:
        made = await api.proxy(upstream=echo_server)
        for kind, attributes in [("slicer", {}), ("bandwidth", {"rate": -1})]:
            body = {"type": kind, "attributes": attributes}
            assert (await api.call("POST", "/proxies/p/toxics", body)).status_code == 200
            client = await dial(port_of(made["listen"]))
            await client.send(b"abc")
            if kind == "slicer":
                assert await client.exactly(3) == b"abc"
            else:
                await client.silence()
            assert (await api.call("GET", "/proxies")).status_code == 200


async def test_a_receiver_that_does_not_read_holds_nothing_up(opened, echo_server, dial):
    async with opened() as api:
        made = await api.proxy(upstream=echo_server)
        client = await dial(port_of(made["listen"]))
        with trio.move_on_after(0.1):
            await client.stream.send_all(bytes(64 * 1024 * 1024))
        with trio.fail_after(1):
            answer = await api.call("POST", "/proxies/p/toxics", LATENCY)
            assert answer.status_code == 200
            assert (await api.call("DELETE", "/proxies/p")).status_code == 204
