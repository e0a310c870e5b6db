// The connections and the faults, as rows that stay where they are while they change.

const MAX_ROWS = 100;

export function bytes(count) {
  if (count < 1000) return `${Math.round(count)} B`;
  const units = ["kB", "MB", "GB", "TB"];
  let value = count;
  let unit = "";
  while (value >= 1000 && units.length) {
    value /= 1000;
    unit = units.shift();
  }
  return `${value.toFixed(value < 10 ? 1 : 0)} ${unit}`;
}

function seconds(value) {
  return value < 100 ? `${value.toFixed(1)} s` : `${Math.round(value / 60)} min`;
}

function rate(value) {
  return value === 0 ? "0" : value.toFixed(value < 10 ? 1 : 0);
}

const STRIKES = [
  ["cut-fin", "FIN", { fault: "cut", how: "fin" }, "Cut: the end of TCP, in order"],
  ["cut-rst", "RST", { fault: "cut", how: "rst" }, "Cut: a reset"],
  ["stall", "Stall", { fault: "stall" }, "Nothing passes any more"],
];

function newRow(number, onStrike) {
  const row = document.createElement("tr");
  row.dataset.connection = number;
  const kinds = ["number", "path", "", "state", "number", "number", "number", "number", "number", ""];
  for (const kind of kinds) {
    const cell = document.createElement("td");
    cell.className = kind;
    row.append(cell);
  }
  for (const [action, words, fault, title] of STRIKES) {
    const button = document.createElement("button");
    button.textContent = words;
    button.title = title;
    button.dataset.action = action;
    button.addEventListener("click", () => onStrike({ ...fault, connection: number }));
    row.lastChild.append(button);
  }
  return row;
}

function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function fill(row, each, faults, now) {
  const over = each.ended !== null || each.state === "closing";
  row.dataset.state = each.state;
  row.toggleAttribute("data-struck", faults.has(each.number));
  const state = each.ended === null && each.state !== "closing" ? each.state : each.outcome;
  const raw = each.transport === "tcp";
  const perSecond = (key) => (over ? 0 : each[key]);
  const texts = [
    String(each.number), each.path || "–", each.transport || "–", state,
    seconds((each.ended ?? now) - each.accepted),
    raw ? bytes(each.bytes_to_server) : String(each.messages),
    raw ? bytes(perSecond("bytes_to_server_per_second")) : rate(perSecond("messages_per_second")),
    bytes(each.bytes), bytes(perSecond("bytes_per_second")),
  ];
  texts.forEach((text, index) => set(row.cells[index], text));
  row.cells[1].title = each.path;
  for (const button of row.querySelectorAll("button")) button.disabled = over;
}

/** Show connections, the newest first, open ones before ended ones. */
export function showConnections(body, { connections, injected }, now, onStrike) {
  const faults = new Set(injected.map((each) => each.connection));
  const newest = [...connections.values()].reverse();
  const shown = [
    ...newest.filter((each) => each.ended === null),
    ...newest.filter((each) => each.ended !== null),
  ].slice(0, MAX_ROWS);
  const rows = new Map([...body.rows].map((row) => [Number(row.dataset.connection), row]));
  const order = shown.map((each) => {
    const row = rows.get(each.number) ?? newRow(each.number, onStrike);
    fill(row, each, faults, now);
    return row;
  });
  // Only where it differs, so that a button does not vanish under a click.
  if (order.length !== body.rows.length || order.some((row, n) => body.rows[n] !== row)) {
    body.replaceChildren(...order);
  }
}

/** Show faults, the newest first. */
export function showFaults(list, injected) {
  const last = injected.at(-1);
  const mark = last ? `${injected.length}/${last.time}` : "";
  if (list.dataset.mark === mark) return;
  list.dataset.mark = mark;
  list.replaceChildren(...injected.slice(-MAX_ROWS).reverse().map(faultItem));
}

function faultItem(each) {
  const item = document.createElement("li");
  item.dataset.fault = each.fault.fault;
  const name = document.createElement("b");
  name.textContent = each.fault.fault + (each.fault.how ? ` (${each.fault.how.toUpperCase()})` : "");
  const where = document.createElement("small");
  where.textContent = `${each.time.toFixed(1)} s  #${each.connection} ${each.path}  ${each.detail}`;
  item.append(name, " ", where);
  return item;
}
