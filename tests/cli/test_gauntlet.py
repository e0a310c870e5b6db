"""``moored gauntlet``, as a program."""

import json
import signal
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import trio

CLIENTS = Path(__file__).parents[1] / "peers" / "gauntlet" / "clients"
SSE = [sys.executable, str(CLIENTS / "moored_sse.py"), "{url}"]
EITHER = [sys.executable, str(CLIENTS / "moored_{transport}.py"), "{url}"]
FAILS = ["env", "URL={url}", sys.executable, "-c", "import sys; sys.exit('no such host')"]


async def test_a_client_that_survives(moored, tmp_path):
    page = tmp_path / "report.html"
    result = await moored(
        "gauntlet", "--only", "cut-fin", "--only", "40[13]-final", "--html", str(page), "--", *SSE
    )
    assert result.status == 0, result.out
    assert result.err == ""
    assert (
        "PASSED, 100.0 points of 100: survived 1 of 1, gave up as it should in 2 of 2"
        in (result.lines[-1])
    )
    told = [line.split()[:4] for line in result.lines if line.startswith("ok")]
    assert sorted(told) == [
        ["ok", "100", "sse", name] for name in ("401-final", "403-final", "cut-fin")
    ]
    text = page.read_text("utf-8")
    assert "PASSED" in text
    assert text.count("<svg") == 3
    assert "://" not in text.replace("http://127.0.0.1", "")


async def test_both_transports_as_json(moored):
    result = await moored(
        "gauntlet", "--json", "--transport", "both", "--only", "cut-rst", "--", *EITHER
    )
    assert (result.status, result.err) == (0, "")
    report = json.loads(result.out)
    assert (report["ok"], report["points"]) == (True, 100)
    assert [(t["name"], t["transport"]) for t in report["trials"]] == [
        ("cut-rst", "sse"),
        ("cut-rst", "websocket"),
    ]
    for trial in report["trials"]:
        assert (trial["verdict"], trial["lost"], trial["retries"]) == ("survived", 0, 1)
        assert [id_ for _, id_ in trial["timeline"]["messages"]] == list(range(1, 21))
        assert [c["outcome"] for c in trial["timeline"]["connections"]] == ["cut", "complete"]
        assert [f["fault"] for f in trial["timeline"]["faults"]] == ["cut"]
        assert 0 < trial["timeline"]["faults"][0]["at"] < trial["seconds"]


async def test_a_client_that_fails(moored):
    result = await moored("gauntlet", "--only", "calm", "--only", "cut-fin", "--", *FAILS)
    assert result.status == 1
    assert "FAILED, 0.0 points of 100: survived 0 of 2" in result.lines[-1]
    assert "Even without faults the client failed: never connected." in result.out
    assert "no such host" in result.out


async def test_the_catalogue(moored):
    listed = await moored("gauntlet", "--list", "--transport", "both")
    assert listed.status == 0
    as_json = await moored("gauntlet", "--list", "--transport", "both", "--json")
    trials = json.loads(as_json.out)
    assert len(trials) >= 40
    assert all(
        any(line.split()[:1] == [trial["name"]] for line in listed.lines) for trial in trials
    )
    assert f"{len(trials)} trials" in listed.lines[-1]
    some = json.loads((await moored("gauntlet", "--list", "--json", "--only", "cut-f*")).out)
    assert [trial["name"] for trial in some] == ["cut-fin", "cut-five-times"]
    assert some[0]["faults"] == [{"fault": "cut", "after_messages": 5, "times": 1}]
    assert some[0]["expect"]["outcome"] == "survive"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "COMMAND is missing"),
        (["--", "true"], "COMMAND must have {url}"),
        (["--", "no-such-program", "{url}"], "there is no program 'no-such-program'"),
        (["--only", "nothing-like-it", "--", "true", "{url}"], "no such trial over sse"),
        (["--only", "cut-inside-id", "--transport", "websocket", "--list"], "no such trial over w"),
        (["--transport", "smoke", "--", "true", "{url}"], "'smoke'"),
        (["--jobs", "0", "--", "true", "{url}"], "0"),
        (["--html", "no/such/place.html", "--", "true", "{url}"], "--html: there is no directory"),
    ],
)
async def test_wrong_usage_is_told_in_one_line(moored, arguments, words):
    result = await moored("gauntlet", *arguments)
    assert (result.status, result.out) == (2, "")
    assert len(result.errors) == 1
    assert words in result.err


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_a_signal_ends_it_and_every_client(started, tmp_path, number, status):
    """The clients say where they are, and keep a file locked for as long as they live."""
    code = """
        import fcntl, os, sys, time
        file = open(f"{sys.argv[2]}/{os.getpid()}", "w")
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write("locked")
        file.flush()
        time.sleep(99)
    """
    client = tmp_path / "client.py"
    client.write_text("\n".join(line.strip() for line in code.splitlines()))
    places = tmp_path / "places"
    places.mkdir()
    arguments = ["--jobs", "3", "--", sys.executable, str(client), "{url}", str(places)]
    async with started("gauntlet", *arguments) as running:
        with trio.fail_after(20):
            while len([f for f in places.iterdir() if f.read_text()]) < 3:  # noqa: ASYNC110
                await trio.sleep(0.02)
        running.interrupt(number)
        assert await running.wait() == status
        assert await running.rest() == []
    import fcntl

    assert len(list(places.iterdir())) == 3
    for file in places.iterdir():
        with file.open() as opened:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises if its client lives


class Page(HTMLParser):
    """What a page asks for, and what is in it."""

    def __init__(self):
        super().__init__()
        self.open, self.wanted = [], []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "br", "line", "rect", "path"):
            self.open.append(tag)
        self.wanted += [value for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag):
        if tag in ("line", "rect", "path"):
            return
        assert self.open.pop() == tag


async def test_the_page_is_whole_and_asks_for_nothing(moored, tmp_path):
    file = tmp_path / "report.html"
    evil = ["env", "URL={url}", sys.executable, "-c", "import sys; sys.exit('<b>&')"]
    result = await moored("gauntlet", "--only", "cut-rst", "--html", str(file), "--", *evil)
    assert result.status == 1
    page = Page()
    page.feed(file.read_text("utf-8"))
    assert page.open == []
    assert page.wanted == ["#cut-rst-sse"]
    assert "&lt;b&gt;&amp;" in file.read_text("utf-8")
    assert "<script" not in file.read_text("utf-8")
