"""``moored proxy`` with many proxies, under control, and on a terminal."""

import json
import os
import pty
import signal
import socket
import subprocess
import sys

import httpx
import pytest
import trio

CONFIG = """
- {name: plain, upstream: "%s"}
- name: flaky
  upstream: "%s"
  schedule: [{fault: refuse, status: 418, times: 1}]
"""


@pytest.fixture
async def upstream(started):
    async with started("serve", "--pace", "0.01") as serve:
        yield await serve.line()


@pytest.fixture
def config(tmp_path, upstream):
    file = tmp_path / "proxies.yaml"
    file.write_text(CONFIG % (upstream, upstream))
    return file


async def test_many_proxies_from_one_file(started, config):
    async with started("proxy", "--config", str(config)) as proxy, httpx.AsyncClient() as http:
        lines = [(await proxy.line()).split() for _ in range(2)]
        assert [name for name, _ in lines] == ["plain", "flaky"]
        urls = {name: url + "/feed?count=1" for name, url in lines}
        statuses = [(await http.get(urls[name])).status_code for name in ("flaky", "plain")]
        assert statuses == [418, 200]
        told = [await proxy.error_line() for _ in range(3)]
        assert "flaky: connection 1 /feed: injected status 418" in told
        assert any(line.startswith("plain: connection 1 /feed: complete (sse") for line in told)
        proxy.interrupt(signal.SIGTERM)
        assert await proxy.wait() == 0
        assert await proxy.rest() == []
        assert await proxy.rest_of_errors() == []


async def test_control_and_dashboard_beside_them(started, config, upstream):
    options = ["--config", str(config), "--control", "0", "--json"]
    async with started("proxy", *options) as proxy, httpx.AsyncClient() as http:
        lines = [await proxy.line() for _ in range(3)]
        dashboard = lines[2]
        assert dashboard.startswith("http://127.0.0.1:")
        assert dashboard.endswith("/dashboard/")
        assert "<title>Moored" in (await http.get(dashboard)).text
        routes = dashboard.replace("/dashboard/", "/moored/proxies")
        assert [each["name"] for each in (await http.get(routes)).json()] == ["plain", "flaky"]
        made = (await http.post(routes, json={"name": "new", "upstream": upstream})).json()
        assert (await http.get(made["url"] + "/feed?count=1")).status_code == 200
        told = json.loads(await proxy.error_line())  # also of those that were made later
        assert (told["event"], told["proxy"], told["outcome"]) == ("connection", "new", "complete")
        assert (await http.delete(f"{routes}/new")).status_code == 204
        async with http.stream("GET", dashboard.replace("dashboard/", "moored/feed")) as feed:
            assert feed.status_code == 200
            proxy.interrupt()  # while it is being read, and a client is connected
            assert await proxy.wait() == 0
        assert await proxy.rest_of_errors() == []


async def test_control_of_one(started, upstream):
    async with started("proxy", "--upstream", upstream, "--control", "127.0.0.1:0") as proxy:
        url, dashboard = await proxy.line(), await proxy.line()
        async with httpx.AsyncClient() as http:
            [one] = (await http.get(dashboard.replace("dashboard/", "moored/proxies"))).json()
        assert (one["name"], one["url"], one["upstream"]) == ("proxy", url, upstream)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "give --upstream or --config, one of them"),
        (["--upstream", "http://x", "--config", "x"], "give --upstream or --config, one of them"),
        (["--config", "x", "--port", "1"], "--port goes with --upstream, not with --config"),
        (["--config", "x", "--fault", "refuse"], "--fault goes with --upstream"),
        (["--config", "missing.json"], "--config: cannot read missing.json: No such file"),
        (["--upstream", "http://x", "--control", "x:y"], "--control 'x:y': it must be [HOST:]PORT"),
        (["--upstream", "http://x", "--control", ":0"], "token must be given"),
        (["--upstream", "ftp://x", "--control", "0"], "the upstream's scheme must be one of"),
    ],
)
async def test_what_is_wrong_is_told_in_one_line(moored, options, words):
    result = await moored("proxy", *options)
    assert (result.status, result.out, len(result.errors)) == (2, "", 1)
    assert words in result.err


async def test_what_is_wrong_in_the_file_is_told(moored, tmp_path):
    file = tmp_path / "proxies.json"
    file.write_text('[{"name": "a", "upstream": "http://x"}, {"name": "b"}]')
    result = await moored("proxy", "--config", str(file))
    assert result.status == 2
    assert f"--config {file}: [1].upstream must be a URL" in result.err
    file.write_text('[{"name": "a", "upstream": "http://x", "schedule": "missing.json"}]')
    result = await moored("proxy", "--config", str(file))
    assert (result.status, len(result.errors)) == (2, 1)
    assert "missing.json: No such file or directory" in result.err


async def test_nothing_is_announced_unless_all_can_listen(moored, tmp_path):
    file = tmp_path / "proxies.json"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        proxies = [{"name": "a", "upstream": "http://x"}]
        proxies.append({"name": "b", "upstream": "http://x", "port": port})
        file.write_text(json.dumps(proxies))
        result = await moored("proxy", "--config", str(file))
    assert (result.status, result.out) == (1, "")
    assert result.err == f"moored: cannot listen on 127.0.0.1:{port}: Address already in use\n"


class Terminal:
    """What a program shows on a terminal, read as it comes."""

    def __init__(self, descriptor):
        self.shown = ""
        self._descriptor = descriptor

    def _read(self):
        try:
            return os.read(self._descriptor, 65536).decode(errors="replace")
        except OSError:  # how a terminal tells of its end on Linux
            return ""

    async def until(self, words):
        with trio.fail_after(30):
            while words not in self.shown:
                data = await trio.to_thread.run_sync(self._read)
                assert data, f"it ended without {words!r}: {self.shown}"
                self.shown += data

    async def rest(self):
        with trio.fail_after(30):
            while data := await trio.to_thread.run_sync(self._read):
                self.shown += data


async def test_on_a_terminal_there_is_a_live_view(config):
    main, descriptor = pty.openpty()
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "moored", "proxy", "--config", str(config), "--control", "0"],
        stdin=subprocess.DEVNULL,
        stdout=descriptor,
        stderr=descriptor,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "140", "LINES": "30"},
    )
    os.close(descriptor)
    terminal = Terminal(main)
    try:
        await terminal.until("no open connection")
        url = next(
            line.split()[1] for line in terminal.shown.splitlines() if line.startswith("flaky ")
        )
        async with httpx.AsyncClient() as http:
            assert (await http.get(url + "/feed")).status_code == 418
            await terminal.until("flaky 1 /feed")
            await terminal.until("status 418")
            async with http.stream("GET", url + "/feed?follow=1") as answer:
                assert answer.status_code == 200
                await terminal.until("flaky 2")
                await terminal.until("open")
        process.send_signal(signal.SIGTERM)
        await terminal.rest()
        assert await process.wait() == 0
    finally:
        process.kill()
        os.close(main)
    assert "moored proxy" in terminal.shown
    assert "/dashboard/" in terminal.shown
    assert "\x1b[?25h" in terminal.shown  # the cursor comes back
