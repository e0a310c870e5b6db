// The timeline: a row for each connection, its messages and its faults.

const SVG = "http://www.w3.org/2000/svg";
const ROW = 24;
const TOP = 6;
const AXIS = 22;
const LABEL = 132;
const RIGHT = 14;
const MAX_ROWS = 16;
const STALL = "stall";

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

/** Draw what was seen in the last `seconds` before `now`. */
export function drawTimeline(svg, { connections, injected }, { now, seconds }) {
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
  shown.forEach((connection, index) => {
    const y = TOP + index * ROW;
    const faults = injected.filter((each) => each.connection === connection.number);
    parts.push(row(connection, faults, { x, y, now, begin }));
  });
  svg.replaceChildren(...parts);
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

function row(connection, faults, { x, y, now, begin }) {
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
  group.append(...ticks(connection, { x, y, begin }));
  for (const each of faults) {
    if (each.time > begin) group.append(marker(each, x(each.time), y + ROW / 2));
  }
  return group;
}

function barWords(connection) {
  const outcome = connection.outcome || connection.state;
  return `${connection.path} ${connection.transport}: ${outcome}, ${connection.messages} messages`;
}

/** A line for each look that found more messages; the higher, the more of them. */
function ticks(connection, { x, y, begin }) {
  const found = [];
  let before = [0, 0, 0, 0, 0];
  for (const sample of connection.samples) {
    if (sample[0] > begin) {
      const down = sample[1] - before[1];
      const up = sample[3] - before[3];
      if (down > 0) found.push(tick("down", down, x(sample[0]), y + ROW / 2, -1));
      if (up > 0) found.push(tick("up", up, x(sample[0]), y + ROW / 2, 1));
    }
    before = sample;
  }
  return found;
}

function tick(kind, count, x, y, side) {
  const height = Math.min(8, 3 + 1.6 * Math.log2(count));
  const top = side < 0 ? y - height : y;
  const element = make("rect", { class: kind, x: x - 1, y: top, width: 2, height });
  return titled(element, `${count} message${count === 1 ? "" : "s"}`);
}

function marker(injected, x, y) {
  const points = `${x},${y - 7} ${x + 7},${y} ${x},${y + 7} ${x - 7},${y}`;
  const element = make("polygon", { class: "fault", points, "data-fault": injected.fault.fault });
  return titled(element, `${injected.fault.fault} ${injected.detail}`);
}
