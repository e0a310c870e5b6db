"""``moored toxiproxy``, as a program."""

import signal
import socket

import httpx
import pytest


@pytest.mark.parametrize("dashes", ["-", "--"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_it_serves_the_api_until_it_is_told_to_stop(started, tmp_path, dashes, number):
    file = tmp_path / "proxies.json"
    file.write_text('\ufeff[{"name": "p", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:1"}]')
    options = [f"{dashes}port", "0", f"{dashes}config", str(file), f"{dashes}proxy-metrics"]
    async with started("toxiproxy", *options, f"{dashes}seed", "7") as running:
        url = await running.line()
        assert url.startswith("http://127.0.0.1:"), await running.error_line()
        async with httpx.AsyncClient(base_url=url) as http:
            assert (await http.get("/version")).json() == {"version": "2.12.0"}
            assert list((await http.get("/proxies")).json()) == ["p"]
            assert (await http.get("/metrics")).status_code == 200
        running.interrupt(number)
        assert await running.wait() == 0
        assert await running.rest_of_errors() == []


async def test_a_token_is_asked_for_elsewhere_than_on_loopback(moored, started):
    result = await moored("toxiproxy", "--host", "0.0.0.0", "--port", "0")
    assert (result.status, result.out) == (2, "")
    assert "token must be given" in result.err
    options = ["--host", "0.0.0.0", "--port", "0"]
    async with started("toxiproxy", *options, MOORED_TOKEN="secret") as running:
        port = int((await running.line()).rpartition(":")[2])
        url = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=url) as http:
            assert (await http.get("/proxies")).status_code == 401
            headers = {"Authorization": "Bearer secret"}
            assert (await http.get("/proxies", headers=headers)).status_code == 200


async def test_its_version_is_that_of_the_api(moored):
    for option in ("-version", "--version"):
        result = await moored("toxiproxy", option)
        assert (result.status, result.out) == (0, "moored toxiproxy, with the API of 2.12.0\n")


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (None, 2, "cannot read"),
        ("junk", 2, "is not JSON"),
        ("{}", 2, "must hold a list"),
        ('[{"name": "p"}]', 1, "missing required field: upstream at proxy 1"),
        ('[{"name": "p", "upstream": "x:1", "listen": "x"}]', 1, "missing port in address"),
    ],
)
async def test_a_wrong_file_is_told_in_one_line(moored, tmp_path, content, status, words):
    file = tmp_path / "proxies.json"
    if content is not None:
        file.write_text(content)
    result = await moored("toxiproxy", "--port", "0", "--config", str(file))
    assert (result.status, len(result.errors)) == (status, 1)
    assert words in result.err


async def test_an_address_in_use_is_told_in_one_line(moored):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        result = await moored("toxiproxy", "--port", port)
    assert (result.status, len(result.errors)) == (1, 1)
    assert f"cannot listen on localhost:{port}" in result.err
    assert result.out == ""
