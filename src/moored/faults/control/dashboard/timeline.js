// The timeline: a row for each connection, each of its messages, and its faults.  Where there are no
// messages, on raw TCP, the bytes of each look.

import { bytes } from "./tables.js";

const SVG = "http://www.w3.org/2000/svg";
const ROW = 24;
const TOP = 6;
const AXIS = 22;
const LABEL = 132;
const RIGHT = 14;
const MAX_ROWS = 16;
const STALL = "stall";
const COLUMN = 1; // pixels: what is nearer than that is drawn as one

function make(name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

function titled(element, words) {
  element.append(make("title", {}, words));
  return element;
}

/** Draw what was seen in the last `seconds` before `now`; returns what is to be said of it. */
export function drawTimeline(svg, seen, { now, seconds }) {
  const { connections, injected } = seen;
  const width = Math.max(420, svg.clientWidth);
  const begin = now - seconds;
  const x = (time) =>
    LABEL + ((Math.max(begin, Math.min(now, time)) - begin) / seconds) * (width - LABEL - RIGHT);
  const shown = [...connections.values()]
    .filter((each) => each.ended === null || each.ended > begin)
    .slice(-MAX_ROWS);
  const height = TOP + Math.max(2, shown.length) * ROW + AXIS;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("height", height);
  const parts = axis(x, begin, seconds, height);
  const messages = columns(seen.messages, begin, x);
  shown.forEach((connection, index) => {
    const y = TOP + index * ROW;
    const faults = injected.filter((each) => each.connection === connection.number);
    const passed = connection.transport === "tcp"
      ? looks(connection, begin, x)
      : messages.found.get(connection.number)?.values() ?? [];
    parts.push(row(connection, faults, passed, { x, y, now, begin }));
  });
  svg.replaceChildren(...parts);
  return words(seen, begin, messages.merged);
}

function words({ together, missed }, begin, merged) {
  const said = [];
  if (together?.time > begin) {
    said.push(`More than 200 messages a second: those within ${together.seconds * 1000} ms are drawn as one.`);
  } else if (merged) {
    said.push("Messages too near to each other are drawn as one, and the higher for it.");
  }
  if (missed?.time > begin) said.push("Some messages came too fast to be shown at all.");
  return said.join(" ");
}

/** Messages by connection and place: each by itself, unless others are at the same place. */
function columns(messages, begin, x) {
  const found = new Map();
  let merged = false;
  for (const { time, connection, direction, count } of messages) {
    if (time <= begin) continue;
    if (!found.has(connection)) found.set(connection, new Map());
    const at = Math.round(x(time) / COLUMN) * COLUMN;
    const key = `${at} ${direction}`;
    const before = found.get(connection).get(key);
    merged ||= before !== undefined && before.time !== time;
    found.get(connection).set(key, { at, direction, time, count: count + (before?.count ?? 0) });
  }
  return { found, merged };
}

function axis(x, begin, seconds, height) {
  const parts = [];
  const step = seconds / 6;
  for (let back = 0; back <= seconds; back += step) {
    const at = x(begin + seconds - back);
    parts.push(make("line", { class: "grid", x1: at, x2: at, y1: TOP, y2: height - AXIS }));
    const words = back === 0 ? "now" : `−${back} s`;
    parts.push(make("text", { x: at, y: height - 7, "text-anchor": "middle" }, words));
  }
  return parts;
}

/** The bytes of a raw connection, as each look has found them. */
function looks({ samples }, begin, x) {
  const found = [];
  let before = [0, 0, 0, 0, 0];
  for (const sample of samples) {
    const [time] = sample;
    for (const [index, direction] of [[2, "to_client"], [4, "to_server"]]) {
      const size = sample[index] - before[index];
      if (time > begin && size > 0) found.push({ at: x(time), direction, time, size });
    }
    before = sample;
  }
  return found;
}

function row(connection, faults, passed, { x, y, now, begin }) {
  const group = make("g", { "data-connection": connection.number });
  const end = connection.ended ?? now;
  const label = `#${connection.number} ${connection.path || "…"}`;
  const shown = label.length > 19 ? `${label.slice(0, 18)}…` : label;
  group.append(titled(make("text", { class: "label", x: 0, y: y + 16 }, shown), label));
  const bar = (from, to, kind) =>
    make("rect", {
      class: kind, x: x(from), y: y + 4, rx: 2, width: Math.max(1, x(to) - x(from)), height: ROW - 8,
    });
  group.append(titled(bar(connection.accepted, end, connection.state), barWords(connection)));
  const stall = faults.find((each) => each.fault.fault === STALL);
  if (stall) group.append(bar(stall.time, end, "stalled"));
  for (const each of passed) group.append(tick(each, y + ROW / 2));
  for (const each of faults) {
    if (each.time > begin) group.append(marker(each, x(each.time), y + ROW / 2));
  }
  return group;
}

function barWords(connection) {
  const outcome = connection.outcome || connection.state;
  const what = connection.transport === "tcp"
    ? `${bytes(connection.bytes_to_server)} to the server, ${bytes(connection.bytes)} to the client`
    : `${connection.messages} messages`;
  return `${connection.path} ${connection.transport}: ${outcome}, ${what}`;
}

/** A line for a message, up for the client and down for the server; the higher, the more. */
function tick({ at, direction, time, count, size }, y) {
  const height = Math.min(8, count ? 5 + Math.log2(count) : 4 + Math.log10(size));
  const up = direction === "to_client";
  const kind = up ? "down" : "up";
  const element = make("rect", {
    class: kind, "data-count": count ?? size, x: at - 0.5, y: up ? y - height : y, width: 1, height,
  });
  const where = up ? "to the client" : "to the server";
  const what = count ? `${count} message${count === 1 ? "" : "s"}` : bytes(size);
  return titled(element, `${time.toFixed(3)} s: ${what} ${where}`);
}

function marker(injected, x, y) {
  const points = `${x},${y - 7} ${x + 7},${y} ${x},${y + 7} ${x - 7},${y}`;
  const element = make("polygon", { class: "fault", points, "data-fault": injected.fault.fault });
  return titled(element, `${injected.fault.fault} ${injected.detail}`);
}
