// The page: what is shown of the model, and what its buttons do.

import { chosen, keep } from "./address.js";
import { Refused, ask, download, readFeed, setToken, takeToken } from "./api.js";
import { details, model, now, reset, take } from "./model.js";
import { bytes, showConnections, showFaults } from "./tables.js";
import { template } from "./templates.js";
import { drawTimeline } from "./timeline.js";

const RETRY_MS = 1000;
const REDRAW_MS = 500;

const $ = (selector) => document.querySelector(selector);
let selected = null; // the key of a proxy
let askAgain = () => {};

const nameOf = () => selected.slice(selected.indexOf("/") + 1);
const isRaw = () => selected.startsWith("raw/");
const path = (tail = "") =>
  `/moored/${isRaw() ? "raw" : "proxies"}/${encodeURIComponent(nameOf())}${tail}`;

function say(output, words, right) {
  output.textContent = words;
  output.className = right ? "right" : "wrong";
}

/** Do something that the server may refuse, and tell its words. */
async function attempt(action) {
  try {
    await action();
    $("#message").hidden = true;
  } catch (error) {
    $("#message").textContent = error.message;
    $("#message").hidden = false;
  }
}

// ---------------------------------------------------------------- showing

function draw() {
  showTabs();
  const proxy = model.proxies.find((each) => each.key === selected);
  $("main").hidden = !proxy;
  $("#close").disabled = !proxy;
  if (!proxy) return;
  $("main").dataset.kind = proxy.kind;
  const seen = details(selected);
  showSummary(proxy, seen);
  if (isRaw()) {
    showRaw(proxy);
  } else {
    showArmed(proxy.armed);
    $("#scheduled").textContent = `${proxy.scheduled} in force`;
  }
  showConnections($("#connections tbody"), seen, now(), strike);
  showFaults($("#faults"), seen.injected);
  for (const empty of document.querySelectorAll(".empty")) {
    empty.hidden = empty.previousElementSibling.querySelector("td, li") !== null;
  }
  const shown = { now: now(), seconds: Number($("#window").value) };
  $("#timeline-note").textContent = drawTimeline($("#timeline svg"), seen, shown);
}

function showTabs() {
  const keys = model.proxies.map((each) => each.key);
  const wanted = chosen();
  if (keys.includes(wanted) && wanted !== selected) choose(wanted);
  if (!keys.includes(selected)) choose(keys[0] ?? null);
  const tabs = $("#tabs");
  if (tabs.dataset.keys !== keys.join(" ")) {
    tabs.dataset.keys = keys.join(" ");
    tabs.replaceChildren(...model.proxies.map(newTab));
  }
  for (const tab of tabs.children) {
    tab.setAttribute("aria-selected", String(tab.dataset.key === selected));
  }
}

function newTab({ key, kind, name }) {
  const tab = document.createElement("button");
  tab.setAttribute("role", "tab");
  tab.dataset.key = key;
  tab.textContent = kind === "raw" ? `${name} (tcp)` : name;
  tab.addEventListener("click", () => {
    keep(key);
    draw();
  });
  return tab;
}

function choose(key) {
  selected = key;
  $("#connections tbody").replaceChildren();
  $("#faults").replaceChildren();
  delete $("#faults").dataset.mark;
  for (const output of document.querySelectorAll("main output")) say(output, "", true);
  $("#message").hidden = true;
  if (key !== null && !isRaw()) attempt(showSchedule);
}

function showSummary(proxy, seen) {
  const open = [...seen.connections.values()].filter((each) => each.ended === null);
  const sum = (key) => open.reduce((total, each) => total + each[key], 0);
  const facts = {
    url: proxy.url ?? proxy.listen,
    upstream: proxy.upstream,
    open: proxy.connections.open,
    accepted: proxy.connections.accepted,
    messages: sum("messages_per_second").toFixed(1),
    bytes: `${bytes(sum("bytes_per_second"))}/s`,
    up: `${bytes(sum("bytes_to_server_per_second"))}/s`,
    faults: Object.values(proxy.injected ?? {}).reduce((total, count) => total + count, 0),
  };
  for (const [name, value] of Object.entries(facts)) {
    $(`[data-fact="${name}"]`).textContent = value;
  }
}

function showArmed(armed) {
  $("#armed").hidden = armed.length === 0;
  $("#armed ul").replaceChildren(...armed.map((fault) => {
    const item = document.createElement("li");
    const { fault: kind, times, ...rest } = fault;
    const more = Object.entries(rest).map(([key, value]) => `${key}=${JSON.stringify(value)}`);
    item.textContent = `${kind} ${more.join(" ")} (${times === undefined ? "always" : `${times} left`})`;
    return item;
  }));
}

function showRaw(proxy) {
  $("#accepting").textContent = proxy.enabled ? "accepted" : "refused";
  $("#refuse-new").disabled = !proxy.enabled;
  $("#accept-new").disabled = proxy.enabled;
  $("#toxics").replaceChildren(...proxy.toxics.map((toxic) => {
    const item = document.createElement("li");
    const settings = Object.entries(toxic.attributes).map(([key, value]) => `${key}=${JSON.stringify(value)}`);
    item.textContent = `${toxic.name}: ${toxic.type} ${toxic.stream} ${settings.join(" ")}`;
    return item;
  }));
}

// ---------------------------------------------------------------- faults by hand

function strike(fault) {
  attempt(() => ask("POST", path("/strike"), fault));
}

for (const button of document.querySelectorAll("#controls [data-strike]")) {
  const { strike: fault, how } = button.dataset;
  button.addEventListener("click", () => strike(how ? { fault, how } : { fault }));
}

$("#refuse").addEventListener("click", () => {
  const fault = { fault: "refuse", status: $("#refuse-status").valueAsNumber };
  // What is left empty is left out: null would be for ever.
  if ($("#refuse-times").value !== "") fault.times = $("#refuse-times").valueAsNumber;
  if ($("#refuse-retry").value !== "") fault.retry_after = $("#refuse-retry").valueAsNumber;
  attempt(() => ask("POST", path("/armed"), fault));
});

$("#refuse-new").addEventListener("click", () =>
  attempt(() => ask("PUT", path("/accepting"), "false")));
$("#accept-new").addEventListener("click", () =>
  attempt(() => ask("PUT", path("/accepting"), "true")));

$("#disarm").addEventListener("click", () => attempt(() => ask("DELETE", path("/armed"))));
$("#recording").addEventListener("click", () =>
  attempt(() => download(path("/recording"), `${nameOf()}.recording.json`)));

async function fillKinds() {
  const { $defs } = await (await ask("GET", "/moored/schema")).json();
  const kinds = $defs.fault.oneOf.map((each) => each.$ref.split("/").at(-1));
  $("#kind").replaceChildren(...kinds.map((kind) => new Option(kind)));
  const show = () => {
    const schema = $defs[$("#kind").value];
    $("#kind-text").textContent = schema.description;
    $("#fault").value = JSON.stringify(template($("#kind").value), null, 2);
    $("#fault").title = Object.keys(schema.properties).join(", ");
  };
  $("#kind").addEventListener("change", show);
  show();
}

async function sendFault(tail) {
  const output = $("#fault-message");
  say(output, "", true);
  try {
    const answer = await (await ask("POST", path(tail), $("#fault").value)).json();
    const some = answer.struck === 1 ? "1 connection" : `${answer.struck} connections`;
    const words = tail === "/strike" ? `struck ${some}` : "armed";
    say(output, words, true);
  } catch (error) {
    say(output, error.message, false);
  }
}

$("#strike").addEventListener("click", () => sendFault("/strike"));
$("#arm").addEventListener("click", () => sendFault("/armed"));

// ---------------------------------------------------------------- the schedule

async function showSchedule() {
  const schedule = await (await ask("GET", path("/schedule"))).json();
  const lines = schedule.map((fault) => `  ${JSON.stringify(fault)}`);
  $("#schedule").value = lines.length ? `[\n${lines.join(",\n")}\n]` : "[]";
}

$("#apply").addEventListener("click", async () => {
  const text = $("#schedule").value;
  const type = /^\s*[[{]/.test(text) ? "application/json" : "application/yaml";
  try {
    const applied = await (await ask("PUT", path("/schedule"), text, type)).json();
    say($("#schedule-message"), `in force: ${applied.length} faults, from the next connection on`, true);
  } catch (error) {
    say($("#schedule-message"), error.message, false);
  }
});

$("#revert").addEventListener("click", () => attempt(async () => {
  await showSchedule();
  say($("#schedule-message"), "", true);
}));

$("#save").addEventListener("click", () =>
  attempt(() => download(path("/schedule"), `${nameOf()}.schedule.json`)));

$("#file").addEventListener("change", async (event) => {
  const [file] = event.target.files;
  if (!file) return;
  $("#schedule").value = await file.text();
  event.target.value = "";
  say($("#schedule-message"), `${file.name} is loaded, not applied yet`, true);
});

// ---------------------------------------------------------------- proxies

$("#create").addEventListener("submit", (event) => {
  event.preventDefault();
  const { name, upstream, port } = event.target.elements;
  attempt(async () => {
    const body = { name: name.value, upstream: upstream.value, port: port.valueAsNumber };
    await ask("POST", "/moored/proxies", body);
    event.target.reset();
  });
});

$("#close").addEventListener("click", () => {
  if (confirm(`Close ${nameOf()}, with its connections?`)) {
    attempt(() => ask("DELETE", path()));
  }
});

// ---------------------------------------------------------------- the feed

function feedState(state) {
  $("#feed").dataset.state = state;
  $("#feed").textContent = state;
}

async function follow() {
  for (;;) {
    try {
      let first = true;
      await readFeed((event, data) => {
        if (first) {
          reset();
          feedState("live");
          $("#token").hidden = true;
        }
        first = false;
        take(event, data);
        draw();
      });
    } catch (error) {
      if (error instanceof Refused && error.status === 401) {
        $("#token").hidden = false;
        feedState("lost");
        await new Promise((resolve) => { askAgain = resolve; });
        await attempt(fillKinds);
        continue;
      }
    }
    feedState("lost");
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

$("#token").addEventListener("submit", (event) => {
  event.preventDefault();
  setToken($("#token input").value);
  askAgain();
});

takeToken();
follow();
fillKinds().catch(() => {}); // Without the token; it is asked again with it.
setInterval(draw, REDRAW_MS);
$("#window").addEventListener("change", draw);
