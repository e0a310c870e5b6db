"""The dashboard in a real browser, used as a person does: by looking and clicking."""

import json
import os
import shutil
import tempfile
from contextlib import asynccontextmanager
from functools import partial

import httpx
import pytest
import trio

import moored
from moored.faults import load_schedule, open_server
from moored.faults.catalogue.moments import Moment
from moored.faults.catalogue.tcp import TcpFault
from moored.faults.proxies import ProxySettings
from moored.faults.schedule import KINDS

selenium = pytest.importorskip("selenium", reason="selenium is not installed")
from selenium import webdriver  # noqa: E402
from selenium.common.exceptions import StaleElementReferenceException  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.support.select import Select  # noqa: E402
from selenium.webdriver.support.wait import WebDriverWait  # noqa: E402

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
DRIVER = shutil.which("chromedriver")
LIMIT = 10.0
FLAGS = (
    *("headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run"),
    *("disable-background-networking", "disable-component-update", "disable-sync"),
    *("disable-dev-shm-usage", "window-size=1280,1400"),
)

pytestmark = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None, reason="no chromium, or no chromedriver, is installed"
)


@pytest.fixture(scope="module")
def driver():
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for flag in FLAGS:
            options.add_argument(f"--{flag}")
        options.add_argument(f"--user-data-dir={profile}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        driver = webdriver.Chrome(options=options, service=Service(DRIVER))
        try:
            yield driver
        finally:
            driver.quit()


class Page:
    """The page; every method waits until what it is about is there."""

    def __init__(self, driver):
        self.driver = driver

    async def do(self, function):
        """Call it in a thread: the browser needs the server that runs here."""
        return await trio.to_thread.run_sync(function)

    async def until(self, condition):
        """What ``condition(driver)`` gives, once that is true."""
        waiting = WebDriverWait(
            self.driver, LIMIT, 0.05, ignored_exceptions=[StaleElementReferenceException]
        )
        return await self.do(lambda: waiting.until(condition))

    async def open(self, url):
        await self.do(lambda: self.driver.get("about:blank"))
        await self.do(lambda: self.driver.get(url))

    async def one(self, selector):
        """The first visible element."""

        def visible(driver):
            found = driver.find_elements(By.CSS_SELECTOR, selector)
            return next((each for each in found if each.is_displayed()), None)

        return await self.until(visible)

    async def click(self, selector):
        element = await self.one(selector)
        await self.do(element.click)

    async def type(self, selector, text):
        element = await self.one(selector)
        await self.do(element.clear)
        await self.do(lambda: element.send_keys(text))

    async def select(self, selector, words):
        """Choose what has these words from a list."""

        def select(driver):
            Select(driver.find_element(By.CSS_SELECTOR, selector)).select_by_visible_text(words)
            return True

        await self.until(select)

    async def shows(self, selector, words):
        """Wait until an element shows these words."""

        def seen(driver):
            found = driver.find_elements(By.CSS_SELECTOR, selector)
            return any(words in each.text for each in found)

        await self.until(seen)

    async def number(self, selector):
        return int((await self.one(selector)).text)

    async def count(self, selector):
        found = self.driver.find_elements
        return len(await self.do(lambda: found(By.CSS_SELECTOR, selector)))


@pytest.fixture
async def page(driver):
    page = Page(driver)
    yield page
    log = await page.do(lambda: driver.get_log("browser"))
    wrong = [entry for entry in log if entry["source"] != "network"]
    assert wrong == []  # no script failed, and the policy forbade nothing that the page does


@pytest.fixture
async def api(opened):
    async with (
        open_server(pace=0.05) as server,
        opened(fault_proxies=[ProxySettings("p", server.url)]) as api,
    ):
        yield api


def url_of(api):
    return api.control.fault_proxies.get("p").proxy.url


@asynccontextmanager
async def following(api):
    """A client of Moored's through the proxy; gives the ids that have come."""
    policy = moored.Policy(reconnect=moored.Reconnect(initial=0.05, attempts=50))
    ids = []

    async def follow():
        url = url_of(api) + "/feed?follow=1"
        async with moored.open_sse(url, policy=policy) as stream:
            async for event in stream:
                ids.append(int(event.id))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow)
        yield ids
        nursery.cancel_scope.cancel()


async def test_a_cut_by_a_click_and_the_recovery(page, api):
    row, new = '#connections tr[data-connection="1"]', '#connections tr[data-connection="2"]'
    async with following(api) as ids:
        await page.open(api.control.dashboard_url)
        await page.shows("#feed", "live")
        await page.shows(f"{row} .state", "open")
        await page.shows('[data-fact="open"]', "1")
        await page.until(lambda driver: len(ids) > 3)
        assert await page.count("#timeline svg .fault") == 0
        assert await page.count(new) == 0

        await page.click(f"{row} [data-action=cut-rst]")

        await page.shows(f"{row} .state", "cut")  # the fault
        await page.shows("#faults li[data-fault=cut]", "cut (RST)")
        assert await page.count('#timeline g[data-connection="1"] .fault[data-fault=cut]') == 1
        await page.shows(f"{new} .state", "open")  # and the recovery
        messages = f"{new} td:nth-child(6)"
        before = await page.number(messages)
        at_cut = len(ids)
        await page.until(
            lambda driver: int(driver.find_element(By.CSS_SELECTOR, messages).text) > before + 5
        )
        assert await page.count('#timeline g[data-connection="2"] rect.down') > 0
        await page.shows('[data-fact="accepted"]', "2")
        assert not await page.do((await page.one(f"{row} [data-action=stall]")).is_enabled)
    assert len(ids) > at_cut
    assert ids == list(range(1, len(ids) + 1))  # nothing lost, nothing twice
    [injected] = api.control.fault_proxies.get("p").proxy.injected
    assert (injected.fault.kind, injected.fault.how, injected.connection) == ("cut", "rst", 1)


def drawn(driver, connection, kind="down"):
    """How many messages each line of a connection stands for; it is drawn anew all the time."""
    marks = f'#timeline g[data-connection="{connection}"] rect.{kind}'
    script = "return [...document.querySelectorAll(arguments[0])].map((e) => +e.dataset.count)"
    return driver.execute_script(script, marks)


async def test_each_message_is_on_the_timeline(page, api):
    proxy = api.control.fault_proxies.get("p").proxy
    async with following(api) as ids:
        await page.open(api.control.dashboard_url)
        await page.until(lambda driver: len(ids) > 30)
    total = sum(each.messages for each in proxy.messages)
    await page.until(lambda driver: sum(drawn(driver, 1)) == total)
    # Twenty a second, each in its place.
    assert len(await page.do(lambda: drawn(page.driver, 1))) > 0.6 * total
    assert await page.count("#timeline svg rect.up") == 0


async def test_messages_that_are_too_many_are_drawn_together_and_it_says_so(page, api):
    note = "#timeline-note"
    await page.open(api.control.dashboard_url)
    await page.shows("#feed", "live")
    async with httpx.AsyncClient() as http:
        assert (await http.get(url_of(api) + "/feed?count=1")).status_code == 200
        await page.one("#timeline svg rect.down")
        said = await page.do(lambda: page.driver.find_element(By.CSS_SELECTOR, note).text)
        assert "200" not in said
        await http.get(url_of(api) + "/feed?count=900&pace=0.0005")
    await page.shows(note, "More than 200 messages a second: those within 50 ms are drawn as one")
    counts = await page.until(
        lambda driver: (found := drawn(driver, 2)) and sum(found) >= 900 and found
    )
    assert max(counts) > 5
    assert len(counts) < 200


async def test_stalls_and_refusals_by_clicks(page, api):
    async with following(api):
        await page.open(api.control.dashboard_url)
        await page.shows("#connections .state", "open")
        await page.click('#controls [data-strike="stall"]')
        await page.shows('tr[data-state="stalled"] .state', "stalled")
        await page.one("#timeline rect.stalled")
    await page.type("#refuse-times", "2")
    await page.type("#refuse-status", "418")
    await page.click("#refuse")
    await page.shows("#armed li", "refuse status=418 (2 left)")
    async with httpx.AsyncClient() as http:
        assert (await http.get(url_of(api) + "/feed?count=1")).status_code == 418
        await page.shows("#armed li", "(1 left)")
        await page.click("#disarm")
        await page.until(lambda driver: not driver.find_element(By.ID, "armed").is_displayed())
        assert (await http.get(url_of(api) + "/feed?count=1")).status_code == 200
    await page.shows("#faults li[data-fault=refuse]", "status 418")


@pytest.mark.parametrize(("how_many", "words"), [("", "(1 left)"), ("2", "(2 left)"), ("0", None)])
async def test_how_many_requests_are_refused(page, api, how_many, words):
    await page.open(api.control.dashboard_url)
    await page.type("#refuse-times", how_many)
    await page.click("#refuse")
    if words is None:
        await page.shows("#message", "times must be an integer of at least 1, not 0")
    else:
        await page.shows("#armed li", f"refuse status=503 {words}")


async def test_a_schedule_is_loaded_and_saved(page, api, tmp_path):
    good = [{"fault": "cut", "after_messages": 2, "connection": 1}]
    files = {"wrong.json": [{**good[0], "after_messages": -1}], "good.json": good}
    for name, data in files.items():
        (tmp_path / name).write_text(json.dumps(data))
    chosen = By.ID, "file"

    async def load(name):
        field = await page.do(lambda: page.driver.find_element(*chosen))
        await page.do(lambda: field.send_keys(os.fspath(tmp_path / name)))
        await page.shows("#schedule-message", f"{name} is loaded, not applied yet")

    await page.open(api.control.dashboard_url)
    await page.shows("#scheduled", "0 in force")
    await load("wrong.json")
    await page.click("#apply")
    await page.shows(
        "#schedule-message.wrong", "[0].after_messages must be an integer of at least 0, not -1"
    )
    await page.shows("#scheduled", "0 in force")
    await load("good.json")
    await page.click("#apply")
    await page.shows("#schedule-message.right", "in force: 1 faults")
    await page.shows("#scheduled", "1 in force")
    async with following(api) as ids:
        await page.shows("#faults li[data-fault=cut]", "after 2 messages")
        await page.until(lambda driver: len(ids) > 3)

    await page.type("#schedule", "- {fault: refuse, status: 500}\n- {fault: cut, at: nowhere}")
    await page.click("#apply")  # YAML, as text
    await page.shows("#schedule-message.wrong", "[1].at must be 'after_request'")
    await page.type("#schedule", "- {fault: refuse, status: 500}")
    await page.click("#apply")
    await page.shows("#schedule-message.right", "in force: 1 faults")

    behaviour = {"behavior": "allow", "downloadPath": os.fspath(tmp_path)}
    await page.do(lambda: page.driver.execute_cdp_cmd("Page.setDownloadBehavior", behaviour))
    await page.click("#save")
    saved = tmp_path / "p.schedule.json"
    await page.until(lambda driver: saved.exists())
    assert load_schedule(saved) == api.control.fault_proxies.get("p").proxy.schedule
    await page.click("#recording")
    recording = tmp_path / "p.recording.json"
    await page.until(lambda driver: recording.exists())
    assert [each.kind for each in load_schedule(recording)] == ["cut"]


async def test_any_fault_is_struck_or_armed(page, api):
    async with following(api):
        await page.open(api.control.dashboard_url)
        await page.shows("#connections .state", "open")
        await page.type("#fault", '{"fault": "refuse"}')
        await page.click("#strike")
        await page.shows("#fault-message.wrong", "arm this one")
        await page.type("#fault", '{"fault": "limit_data", "connection": 1}')
        await page.click("#strike")
        await page.shows("#fault-message.right", "struck 1 connection")
        await page.shows("#faults li", "limit_data")
        await page.shows('tr[data-connection="2"] .state', "open")


async def test_each_kind_has_a_template_that_works_as_it_is(page, api):
    proxy = api.control.fault_proxies.get("p").proxy
    await page.open(api.control.dashboard_url)
    await page.shows("#feed", "live")
    for name, kind in KINDS.items():
        await page.select("#kind", name)
        await page.click("#arm")
        await page.shows("#fault-message.right", "armed")
        assert proxy.armed[-1].kind == name
        if issubclass(kind, Moment | TcpFault):
            await page.click("#strike")
            await page.shows("#fault-message.right", "struck 0 connections")
    assert len(proxy.armed) == len(KINDS)


@pytest.mark.parametrize("kind", ["latency", "slicer", "corrupt"])
async def test_a_template_shows_when_it_strikes(page, api, kind):
    async with following(api):
        await page.open(api.control.dashboard_url)
        await page.shows("#connections .state", "open")
        await page.select("#kind", kind)
        await page.click("#strike")
        await page.shows("#fault-message.right", "struck 1 connection")
        await page.shows("#faults li", kind)


async def test_each_proxy_has_its_own_messages_and_stays_after_a_reload(page, opened):
    upstream = "http://127.0.0.1:1"
    settings = [ProxySettings(name, upstream) for name in ("first", "second", "third")]
    async with opened(fault_proxies=settings) as api:
        await page.open(api.control.dashboard_url)
        await page.shows("#tabs [aria-selected=true]", "first")
        await page.click("#strike")
        await page.shows("#fault-message", "struck 0 connections")
        await page.type("#schedule", "[")
        await page.click("#apply")
        await page.shows("#schedule-message", "not JSON")
        await page.type("#refuse-times", "0")
        await page.click("#refuse")
        await page.shows("#message", "times must be")

        await page.click("#tabs button:nth-child(2)")
        await page.shows("#tabs [aria-selected=true]", "second")
        for selector in ("#fault-message", "#schedule-message", "#message"):
            words = "return document.querySelector(arguments[0]).checkVisibility() && "
            words += "document.querySelector(arguments[0]).textContent"
            said = await page.do(partial(page.driver.execute_script, words, selector))
            assert not said

        await page.do(page.driver.refresh)
        await page.shows("#tabs [aria-selected=true]", "second")
        await page.click("#tabs button:nth-child(3)")
        await page.shows("#tabs [aria-selected=true]", "third")
        await api.proxy("raw")  # The page hears of raw proxies after the others.
        await page.click("#tabs button:nth-child(4)")
        await page.do(page.driver.refresh)
        await page.shows("#tabs [aria-selected=true]", "raw (tcp)")
        await page.open(api.control.dashboard_url + "#proxy=gone")
        await page.shows("#tabs [aria-selected=true]", "first")


async def test_proxies_are_added_chosen_and_closed(page, api):
    await page.open(api.control.dashboard_url)
    await page.shows("#tabs [aria-selected=true]", "p")
    await page.click("#more summary")
    await page.type("#create [name=name]", "q")
    await page.type("#create [name=upstream]", "ftp://example.test")
    await page.click("#create button")
    await page.shows("#message", "upstream must be a URL of http, https, ws or wss")
    await page.type("#create [name=upstream]", "ws://127.0.0.1:1/x")
    await page.click("#create button")
    await page.until(lambda driver: len(driver.find_elements(By.CSS_SELECTOR, "#tabs button")) == 2)
    await page.click("#tabs button:nth-child(2)")
    await page.shows('[data-fact="upstream"]', "ws://127.0.0.1:1/x")
    await page.click("#close")
    await page.do(lambda: page.driver.switch_to.alert.accept())
    await page.until(lambda driver: len(driver.find_elements(By.CSS_SELECTOR, "#tabs button")) == 1)
    assert [named.name for named in api.control.fault_proxies] == ["p"]


async def test_raw_proxies_are_watched_and_struck(page, api, echo_server, dial):
    made = await api.proxy("db", upstream=echo_server)
    port = int(made["listen"].rpartition(":")[2])
    await api.call("POST", "/proxies/db/toxics", {"type": "latency", "attributes": {"latency": 7}})

    async def connect():
        client = await dial(port)
        await client.send(b"x" * 2345)
        await client.exactly(2345)
        return client

    row = '#connections tr[data-connection="{}"]'.format
    first, second, third = [await connect() for _ in range(3)]
    await page.open(api.control.dashboard_url)
    await page.shows("#tabs [aria-selected=true]", "p")
    await page.click('#tabs [data-key="raw/db"]')
    await page.shows('[data-fact="url"]', made["listen"])
    await page.shows('[data-fact="open"]', "3")
    await page.shows("#toxics", "latency_downstream: latency downstream latency=7")
    await page.shows(f"{row(1)} .state", "open")
    for column in (6, 8):
        await page.shows(f"{row(1)} td:nth-child({column})", "2.3 kB")
    assert await page.until(lambda driver: drawn(driver, 1)) == [2345]
    assert await page.do(lambda: drawn(page.driver, 1, "up")) == [2345]
    for hidden in ("#schedule", "#faults", "#refuse", "#fault", '[data-fact="messages"]'):
        element = await page.do(lambda: page.driver.find_element(By.CSS_SELECTOR, hidden))  # noqa: B023
        assert not await page.do(element.is_displayed)

    await page.click(f"{row(1)} [data-action=cut-rst]")
    assert await first.rest() == (b"", "rst")
    await page.shows(f"{row(1)} .state", "reset")
    await page.click(f"{row(2)} [data-action=stall]")
    await page.shows(f'{row(2)}[data-state="stalled"] .state', "stalled")
    await page.one('#timeline g[data-connection="2"] rect.stalled')
    await second.send(b"anybody?")
    await second.silence(0.1)

    await page.click("#refuse-new")
    await page.shows("#accepting", "refused")
    with pytest.raises(OSError, match=r"refused|failed"):
        await dial(port)
    await third.send(b"goes on")
    assert await third.exactly(7) == b"goes on"
    await page.click("#accept-new")
    await page.shows("#accepting", "accepted")
    await connect()
    await page.shows(f"{row(4)} .state", "open")
    await page.click('#controls [data-strike="cut"][data-how="rst"]')
    assert await third.rest() == (b"", "rst")
    await page.shows('[data-fact="open"]', "0")
    await page.click("#tabs button:first-child")  # The fault proxy is as it was.
    await page.one("#schedule")


async def test_the_page_asks_for_the_token(page, opened):
    settings = ProxySettings("p", "http://127.0.0.1:1")
    async with opened(host="0.0.0.0", token="s+/ret", fault_proxies=[settings]) as api:
        await page.open(api.control.dashboard_url)
        await page.type("#token input", "wrong")
        await page.click("#token button")
        await page.type("#token input", "s+/ret")
        await page.click("#token button")
        await page.shows("#tabs", "p")
        await page.do(lambda: page.driver.execute_script("sessionStorage.clear()"))
        await page.open(api.control.dashboard_url + "#token=s%2B%2Fret")
        await page.shows("#tabs", "p")
        assert "s%2B" not in await page.do(lambda: page.driver.current_url)


async def test_the_page_finds_the_server_again(page, opened):
    settings = [ProxySettings(name, "http://127.0.0.1:1") for name in ("before", "after")]
    async with opened(fault_proxies=settings[:1]) as api:
        port = api.control.port
        await page.open(api.control.dashboard_url)
        await page.shows("#tabs", "before")
    await page.shows("#feed", "lost")
    async with opened(port=port, fault_proxies=settings[1:]):
        await page.shows("#feed", "live")
        await page.shows("#tabs", "after")
        assert await page.count("#tabs button") == 1
