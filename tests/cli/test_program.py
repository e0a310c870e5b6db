"""The command line as such: help, version, errors on one line."""

import os
import shlex
import sys
from importlib.metadata import version

import pytest
import trio

from moored.cli import main


async def test_version(moored):
    result = await moored("--version")
    assert (result.status, result.out, result.err) == (0, f"moored {version('moored')}\n", "")


@pytest.mark.parametrize("command", ["demo", "tail", "chat", "load", "serve", "proxy"])
async def test_help(moored, command):
    result = await moored(command, "--help")
    assert result.status == 0
    assert result.out.startswith(f"Usage: moored {command} ")
    assert result.err == ""
    assert f"  {command} " in (await moored("--help")).out


async def test_no_command_shows_the_help(moored):
    result = await moored()
    assert result.status == 2
    assert result.out == ""
    assert result.err.startswith("Usage: moored ")


FEED = "http://127.0.0.1:1/feed"
SOCKET = "ws://127.0.0.1:1/feed"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sail"], "No such command 'sail'."),
        (["demo", "--speed", "99"], "99.0 is not in the range"),
        (["tail"], "Missing argument 'URL'."),
        (["tail", FEED, "--fast"], "No such option"),
        (["tail", "example.com"], "the URL must begin with http://, https://, ws:// or wss://"),
        (["tail", "http://"], "url must name a host"),
        (["tail", FEED, "--header", "secret"], "--header number 1 must have the form"),
        (["tail", FEED, "--header", "a b: secret"], "no HTTP token"),
        (["tail", FEED, "--data", "{secret"], "--data must be JSON, unless"),
        (["tail", FEED, "--data", "@/nowhere"], "--data: cannot read /nowhere: No such file"),
        (["tail", FEED, "--send", "x"], "--send is for ws:// and wss:// only"),
        (["tail", FEED, "--stdin"], "--stdin is for ws:// and wss:// only"),
        (["tail", FEED, "--subprotocol", "x"], "--subprotocol is for ws:// and wss:// only"),
        (["tail", SOCKET, "--data", "1"], "--data is for http:// and https:// only"),
        (["tail", SOCKET, "--last-event-id", "1"], "--last-event-id is for http://"),
        (["tail", SOCKET, "--terminator", "x"], "--terminator is for http://"),
        (["tail", FEED, "--max-attempts", "-1"], "must be an integer of at least 0, or 'unlim"),
        (["tail", FEED, "--max-messages", "0"], "0 is not in the range x>=1"),
        (["tail", FEED, "--idle-timeout", "0"], "0.0 is not in the range x>0"),
        (["serve", "--port", "x"], "'x' is not a valid integer range"),
        (["serve", "--pace", "nan"], "pace must be a finite number of seconds"),
        (["serve", "--api-key-env", "NOT_SET"], "--api-key-env: NOT_SET is not set, or empty"),
        (["proxy"], "give --upstream or --config, one of them"),
        (["proxy", "--upstream", "ftp://x"], "the upstream's scheme must be one of http, ws"),
        (["proxy", "--upstream", FEED, "--fault", "cut:how=rst"], "--fault 'cut:how=rst': after_m"),
        (["proxy", "--upstream", FEED, "--schedule", "/nowhere"], "cannot read /nowhere: No such"),
    ],
)
def test_wrong_usage_takes_one_line(capsys, arguments, words):
    assert main(arguments) == 2  # in this process: there are many of them
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("moored: ")
    assert words in line
    assert "secret" not in line


async def test_wrong_usage_is_the_process_s_exit_status(moored):
    result = await moored("tail", "--fast", FEED)
    assert (result.status, result.out) == (2, "")
    (line,) = result.errors
    assert line.startswith("moored: No such option")
    assert line.endswith("(see moored tail --help)")


@pytest.mark.parametrize("missing", ["click", "rich"])
async def test_what_to_install_is_told(missing):
    code = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from moored.cli import main; sys.exit(main(['demo']))"
    )
    result = await trio.run_process(
        [sys.executable, "-c", code], capture_stdout=True, capture_stderr=True, check=False
    )
    assert result.returncode == 2
    assert result.stderr == b"moored: the commands need more packages: install moored[cli]\n"


@pytest.mark.parametrize(
    ("redirection", "status", "errors"),
    [
        (">/dev/full", 1, ["moored: No space left on device"]),
        (">&-", 1, ["moored: standard output is closed"]),
        ("| head -n 0", 0, []),  # the shell's status is that of head
    ],
)
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
async def test_output_that_cannot_be_written_is_one_line(redirection, status, errors):
    command = f"{shlex.quote(sys.executable)} -m moored demo --speed 5 {redirection}"
    with trio.fail_after(30):
        done = await trio.run_process(command, shell=True, capture_stderr=True, check=False)
    assert (done.returncode, done.stderr.decode().splitlines()) == (status, errors)
