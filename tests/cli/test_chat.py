"""``moored chat``: the answer, what is told of it, and how it ends."""

import fcntl
import json
import os
import signal
import subprocess
import termios
from contextlib import asynccontextmanager
from functools import partial

import attrs
import pytest
import trio

from moored import faults
from moored.cli import main
from moored.faults.replies import ChatRequest, Reply

from .conftest import COMMAND, LIMIT, environment

KEY = "sk-of-the-test"
PRICE = ["--price", "1,2"]
BOTH = pytest.mark.parametrize("transport", ["sse", "websocket"])


def arguments(url, *more, transport="sse", prompt="hello"):
    """Of the command: ``--no-api-key`` too, unless a key variable is named."""
    key = [] if "--api-key-env" in more else ["--no-api-key"]
    start = ["chat", "--base-url", f"{url}/v1", "--model", "mock", "--transport", transport]
    return [*start, *key, *more, *([] if prompt is None else [prompt])]


def reply_to(*messages, **fields):
    """What the mock server answers."""
    asked = [{"role": role, "content": text} for role, text in messages]
    return Reply(ChatRequest.parse(json.dumps({"model": "mock", "messages": asked, **fields})))


HELLO = reply_to(("user", "hello"))


# ---------------------------------------------------------------------------- a scripted provider


@attrs.define
class Provider:
    """Plays a script on each connection; the bodies of the requests are in ``requests``."""

    port: int
    requests: list = attrs.field(factory=list)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"


def delta(finish=None, **fields):
    return json.dumps({"choices": [{"index": 0, "delta": fields, "finish_reason": finish}]})


def usage(given, made, **more):
    counts = {"prompt_tokens": given, "completion_tokens": made, **more}
    return json.dumps({"choices": [], "usage": counts})


STOP, DONE = delta("stop"), "[DONE]"


@asynccontextmanager
async def provider(*scripts):
    """Each script is the data of events; after the last, the connection ends."""
    waiting = list(scripts)

    async def serve(stream):
        async with stream:
            data = b""
            while b"\r\n\r\n" not in data:
                data += await stream.receive_some()
            head, _, body = data.partition(b"\r\n\r\n")
            [length] = [
                int(line.split(b":")[1])
                for line in head.lower().split(b"\r\n")
                if line.startswith(b"content-length")
            ]
            while len(body) < length:
                body += await stream.receive_some()
            made.requests.append(json.loads(body))
            events = "".join(f"data: {each}\n\n" for each in waiting.pop(0))
            head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n"
            await stream.send_all(head + b"\r\n" + events.encode())

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        made = Provider(listener.socket.getsockname()[1])
        yield made
        nursery.cancel_scope.cancel()


# ---------------------------------------------------------------------------- a terminal


@asynccontextmanager
async def on_terminal(*arguments, stdin=None, stdout=None, **env):
    """Run the command on a terminal of its own; gives a function that reads from it."""
    ours, theirs = os.openpty()
    written = bytearray()

    async def read_until(words):
        """What the terminal shows, once it shows ``words``; all of it for ``None``."""
        with trio.fail_after(LIMIT):
            while words is None or words not in written.decode("utf-8", "replace"):
                await trio.lowlevel.wait_readable(ours)
                try:
                    data = os.read(ours, 4096)
                except OSError:  # the last who had it open has gone
                    data = b""
                if not data:
                    break
                written.extend(data)
        shown = written.decode().replace("\r\n", "\n")
        assert words is None or words in shown, shown
        return shown

    process = await trio.lowlevel.open_process(
        [*COMMAND, *arguments],
        stdin=theirs if stdin is None else stdin,
        stdout=theirs if stdout is None else stdout,
        stderr=theirs,
        env=environment(env),
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0 if stdin is None else 2, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    try:
        yield process, read_until, partial(os.write, ours)
    finally:
        with trio.CancelScope(shield=True):
            if process.returncode is None:
                process.kill()
            await process.wait()
        os.close(ours)


# ---------------------------------------------------------------------------- the answer


@BOTH
async def test_the_answer_its_usage_and_its_cost(moored, transport):
    async with faults.open_server(api_key=KEY) as server:
        command = arguments(server.url, *PRICE, "--api-key-env", "THE_KEY", transport=transport)
        result = await moored(*command, THE_KEY=KEY)
    assert result.status == 0, result.err
    assert result.out == HELLO.text + "\n"
    made = HELLO.usage["completion_tokens"]
    assert result.errors == [
        f"moored: 1 input tokens, {made} output tokens, finish reason stop",
        f"moored: cost ${(1 + 2 * made) / 1e6:.6f} (user)",
    ]


async def test_the_prompt_from_standard_input_with_a_system_message_and_fields(moored):
    async with faults.open_server() as server:
        more = ["--system", "Be brief.", "--field", "max_tokens=4", "--field", "user=a=b", "-q"]
        result = await moored(*arguments(server.url, *more, prompt="-"), stdin=b"caf\xc3\xa9 \xff")
    expected = reply_to(("system", "Be brief."), ("user", "café \ufffd"), max_tokens=4)
    assert (result.status, result.out, result.err) == (0, expected.text + "\n", "")


def test_one_json_object_with_the_cost(moored_here, serving):
    server = serving(faults.open_server())
    result = moored_here(*arguments(server.url, "--json", *PRICE))
    assert (result.status, result.err) == (0, "")
    data = json.loads(result.out)
    made = HELLO.usage["completion_tokens"]
    assert data["text"] == HELLO.text
    assert data["complete"] is True
    assert data["error"] is None
    assert data["finish_reason"] == "stop"
    assert data["usage"]["output_tokens"] == made
    assert data["cost"] == {
        "usd": f"{(1 + 2 * made) / 1e6:.6f}",
        "input_usd": "0.000001",
        "output_usd": f"{2 * made / 1e6:.6f}",
        "estimated": False,
        "source": "user",
        "as_of": None,
        "model": "mock",
    }
    assert (data["attempts"], data["failures"]) == (1, [])


def test_without_a_price_the_cost_is_unknown_and_not_nothing(moored_here, serving):
    server = serving(faults.open_server())
    plain, as_json = (
        moored_here(*arguments(server.url)),
        moored_here(*arguments(server.url, "--json")),
    )
    assert plain.errors[-1] == (
        "moored: cost unknown: there is no price for 'mock' (--price gives it)"
    )
    assert json.loads(as_json.out)["cost"] is None


def test_tool_calls_refusals_cached_and_reasoning_tokens_are_told(moored_here, serving):
    call = {"index": 0, "id": "c1", "function": {"name": "tide", "arguments": '{"at":'}}
    details = {
        "prompt_tokens_details": {"cached_tokens": 3},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }
    script = [
        delta(reasoning_content="hm"),
        delta(refusal="I would rather not."),
        delta(tool_calls=[call]),
        delta(tool_calls=[{"index": 0, "function": {"arguments": '"noon"}'}}]),
        delta("tool_calls"),
        usage(5, 4, **details),
        DONE,
    ]
    result = moored_here(*arguments(serving(provider(script)).url))
    assert result.status == 0
    assert result.out == "I would rather not.\n"
    assert result.errors[:2] == [
        'moored: tool call: tide({"at":"noon"})',
        "moored: 5 input tokens (3 cached), 4 output tokens (2 of reasoning), "
        "finish reason tool_calls",
    ]


# ---------------------------------------------------------------------------- money


def test_a_budget_without_a_price_says_how_to_go_on(moored_here, serving):
    server = serving(faults.open_server())
    result = moored_here(*arguments(server.url, "--budget", "1"))
    assert server.requests == ()
    assert (result.status, result.out) == (1, "")
    (line,) = result.errors
    assert "no price is known for 'mock'" in line
    assert "give it with --price INPUT,OUTPUT, in US dollars for a million tokens" in line


def test_what_may_cost_more_than_the_budget_is_not_sent(moored_here, serving):
    server = serving(faults.open_server())
    more = [*PRICE, "--field", "max_tokens=10", "--budget"]
    refused = moored_here(*arguments(server.url, *more, "0.00002", "--json"))
    assert server.requests == ()
    sent = moored_here(*arguments(server.url, *more, "$0.001"))
    assert refused.status == 1
    data = json.loads(refused.out)
    assert (data["complete"], data["error"]["type"]) == (False, "BudgetExceeded")
    (line,) = refused.errors
    assert line.startswith("moored: the budget of $0.00002 has no room for $0.0000")
    assert sent.status == 0, sent.err
    assert sent.out == reply_to(("user", "hello"), max_tokens=10).text + "\n"


# ---------------------------------------------------------------------------- interruptions


def faulty(serving, *schedule):
    """The mock server behind a proxy."""
    server = serving(faults.open_server())
    return serving(faults.open_proxy(server.url, schedule=schedule))


CUT = faults.Cut(after_messages=6, times=1)  # the role, and five tokens
PARTIAL = "".join(HELLO.tokens[:5])


@BOTH
def test_a_cut_answer_is_shown_as_far_as_it_came(moored_here, serving, transport):
    proxy = faulty(serving, CUT)
    result = moored_here(*arguments(proxy.http_url, *PRICE, transport=transport))
    assert len(proxy.injected) == 1
    assert result.status == 1
    assert result.out == PARTIAL + "\n"
    told, cost, line = result.errors
    assert "output tokens (estimated by " in told
    assert told.endswith(": the provider reported none), finish reason none")
    assert cost.startswith("moored: cost $0.0000")
    assert cost.endswith(" (estimated, user)")
    assert line.startswith("moored: the answer is not complete: the stream ended before")


def test_a_cut_answer_as_json(moored_here, serving):
    result = moored_here(*arguments(faulty(serving, CUT).url, *PRICE, "--json"))
    assert result.status == 1
    data = json.loads(result.out)
    assert data["text"] == PARTIAL
    assert data["complete"] is False
    assert data["finish_reason"] is None
    assert data["error"]["type"] == "StreamTruncated"
    assert data["usage"] is None
    assert data["cost"]["estimated"] is True


def test_a_pipe_gets_nothing_that_is_to_be_discarded(moored_here, serving):
    result = moored_here(*arguments(faulty(serving, CUT).url, *PRICE, "--on-interrupt", "restart"))
    assert result.status == 0, result.err
    assert result.out == HELLO.text + "\n"
    recovered, told, cost = result.errors
    assert recovered.startswith("moored: the answer was given anew after: the stream ended")
    assert told.endswith("finish reason stop, 2 attempts")
    assert cost.endswith(" (estimated, user) for all attempts")


@pytest.mark.parametrize("more", [[], ["-q"]])
async def test_a_terminal_is_told_to_discard(more):
    async with (
        faults.open_server() as server,
        faults.open_proxy(server.url, schedule=[CUT]) as proxy,
    ):
        command = arguments(proxy.url, "--on-interrupt", "restart", *more)
        async with on_terminal(*command) as (process, read_until, _):
            shown = await read_until(None)
            assert await process.wait() == 0
    first, notice, second, *rest = shown.splitlines()
    assert first == PARTIAL
    assert notice.startswith("moored: DISCARD THE ABOVE, the answer begins anew: the stream ended")
    assert second == HELLO.text
    assert len(rest) == (0 if more else 3)


def test_a_continued_answer_goes_on_where_it_was_cut(moored_here, serving):
    scripts = [[delta(content="The sea")], [delta(content=" is salt."), STOP, usage(9, 3), DONE]]
    asked = serving(provider(*scripts))
    more = ["--on-interrupt", "continue", "--prefill", "assistant"]
    result = moored_here(*arguments(asked.url, *more))
    assert (result.status, result.out) == (0, "The sea is salt.\n")
    assert result.errors[0].startswith("moored: the model continued the answer after: the stream")
    assert asked.requests[1]["messages"][-1] == {"role": "assistant", "content": "The sea"}


def test_where_it_cannot_be_recovered_as_wanted_it_says_why(moored_here, serving):
    asked = serving(provider([delta(content="The sea")]))
    result = moored_here(*arguments(asked.url, "--on-interrupt", "resume"))
    assert (result.status, result.out) == (1, "The sea\n")
    assert result.errors[-1].endswith("(not recovered: the server gave no cursor)")


def test_a_refusal_before_the_answer_is_recovered_from(moored_here, serving):
    refuse = faults.Refuse(status=429, retry_after=0, times=1)
    result = moored_here(*arguments(faulty(serving, refuse).url))
    assert (result.status, result.out) == (0, HELLO.text + "\n")
    assert result.errors[0].startswith("moored: asked again after: ")
    assert "429" in result.errors[0]
    assert result.errors[1].endswith("finish reason stop, 2 attempts")


def test_a_wrong_key_is_an_error_that_does_not_show_it(moored_here, serving, monkeypatch):
    monkeypatch.setenv("THE_KEY", "sk-of-somebody-else")
    server = serving(faults.open_server(api_key=KEY))
    result = moored_here(*arguments(server.url, "--api-key-env", "THE_KEY"))
    assert (result.status, result.out) == (1, "")
    assert "401" in result.errors[-1]
    assert "somebody" not in result.err


# ---------------------------------------------------------------------------- signals and pipes


@BOTH
async def test_an_interrupt_hangs_up(started, transport):
    async with faults.open_server(pace=0.05) as server:
        async with started(*arguments(server.url, *PRICE, transport=transport)) as running:
            with trio.fail_after(LIMIT):
                shown = await running.process.stdout.receive_some()
            running.interrupt()
            assert await running.wait() == 130
            shown = shown.decode() + "\n".join(await running.rest())
            told = await running.rest_of_errors()
        with trio.fail_after(5):
            await server.wait_until(lambda: server.requests[0].ended is not None)
        assert server.requests[0].complete is False
    assert HELLO.text.startswith(shown)
    assert len(told) == 2
    assert " output tokens (estimated by " in told[0]
    assert told[1].endswith(" (estimated, user)")


async def test_an_interrupted_answer_is_not_complete_as_json(started):
    async with (
        faults.open_server(pace=0.05) as server,
        started(*arguments(server.url, "--json")) as running,
    ):
        with trio.fail_after(LIMIT):
            while not (server.requests and server.requests[0].sent > 3):  # noqa: ASYNC110
                await trio.sleep(0.01)  # nothing tells of single tokens
        running.interrupt(signal.SIGTERM)
        assert await running.wait() == 143
        data = json.loads("\n".join(await running.rest()))
    assert data["complete"] is False
    assert data["error"] is None
    assert HELLO.text.startswith(data["text"])


async def test_a_reader_that_has_gone_ends_it(started):
    async with (
        faults.open_server(pace=0.05) as server,
        started(*arguments(server.url)) as running,
    ):
        with trio.fail_after(LIMIT):
            assert await running.process.stdout.receive_some()
            await running.process.stdout.aclose()
            assert await running.wait() == 0
            await server.wait_until(lambda: server.requests[0].ended is not None)
        assert server.requests[0].complete is False


# ---------------------------------------------------------------------------- the terminal


async def test_the_key_is_asked_for_hidden_at_the_terminal():
    async with faults.open_server(api_key=KEY) as server:
        command = arguments(server.url, "-q", "--api-key-env", "NOT_SET", prompt="-")
        # The prompt comes through a pipe: the terminal is asked all the same.
        async with on_terminal(*command, stdin=subprocess.PIPE) as (process, read_until, write):
            await process.stdin.send_all(b"hello")
            await process.stdin.aclose()
            await read_until("API key (empty for none): ")
            write(KEY.encode() + b"\n")
            shown = await read_until(None)
            assert await process.wait() == 0
    assert KEY not in shown
    assert shown.splitlines()[-1] == HELLO.text


async def test_without_a_terminal_a_missing_key_is_wrong_usage():
    async with faults.open_server() as server:
        done = await trio.run_process(
            [*COMMAND, *arguments(server.url, "--api-key-env", "NOT_SET")],
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            start_new_session=True,
            env=environment({}),
        )
        assert server.requests == ()
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"there is no API key: set NOT_SET, name another" in done.stderr


WITH_CONTROLS = [delta(content="a\x1b]0;b\x07c\td\r\ne\x9bf"), STOP, usage(1, 1), DONE]


def test_control_characters_reach_a_pipe(moored_here, serving):
    result = moored_here(*arguments(serving(provider(WITH_CONTROLS)).url, "-q"))
    assert result.out == "a\x1b]0;b\x07c\td\r\ne\x9bf\n"


async def test_control_characters_reach_no_terminal():
    async with (
        provider(WITH_CONTROLS) as asked,
        on_terminal(*arguments(asked.url, "-q")) as (process, read_until, _),
    ):
        shown = await read_until(None)
        assert await process.wait() == 0
    assert shown == "a␛]0;b␇c\td\ne\ufffdf\n"


# ---------------------------------------------------------------------------- wrong usage


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--budget", "much"], "must be US dollars, more than 0, not 'much'"),
        (["--budget", "0"], "must be US dollars, more than 0, not '0'"),
        (["--budget", "1e9"], "Budget.limit_usd must be from 0 to 1000000"),
        (["--price", "1"], "must be two amounts of US dollars for a million tokens"),
        (["--price", "1,-2"], "such as 1.25,10, not '1,-2'"),
        (["--field", "temperature"], "must have the form NAME=JSON, not 'temperature'"),
        (["--field", "model=x"], "model cannot be given: --model gives it"),
        (["--field", "budget=x"], "budget cannot be given: it is no field"),
        (["--field", "stream=false"], "stream cannot be given: an answer is always streamed"),
        (["--field", "a=1", "--field", "a=2"], "a is given twice"),
        (["--field", "n=0"], "n must be a whole number of at least 1, not 0"),
        (["--base-url", "ftp://x"], "must be an http, https, ws or wss URL with a host"),
        ([" "], "Got unexpected extra argument"),
    ],
)
def test_wrong_usage_takes_one_line(capsys, more, words):
    assert main(arguments("http://127.0.0.1:1", *more)) == 2
    out, err = capsys.readouterr()
    (line,) = err.splitlines()
    assert out == ""
    assert words in line


def test_a_key_that_cannot_be_sent_is_not_shown(capsys, monkeypatch):
    monkeypatch.setenv("THE_KEY", "two words")
    assert main(arguments("http://127.0.0.1:1", "--api-key-env", "THE_KEY")) == 2
    err = capsys.readouterr().err
    assert "Endpoint.api_key must be visible ASCII characters" in err
    assert "two words" not in err


def test_an_empty_prompt_is_wrong_usage(capsys):
    assert main(arguments("http://127.0.0.1:1", prompt=" ")) == 2
    assert "there is no prompt" in capsys.readouterr().err
