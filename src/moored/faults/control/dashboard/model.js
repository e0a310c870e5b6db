// What the feed has told, by proxy.  A proxy's key has its kind, "fault" or "raw", and its name.

const MAX_CONNECTIONS = 500;
const MAX_SAMPLES = 1200;
const MAX_INJECTED = 500;
const MAX_MESSAGES = 20000;

export const model = { proxies: [], details: new Map(), clock: null };

const lists = { fault: [], raw: [] };

/** Forget everything: the feed begins again. */
export function reset() {
  lists.fault = [];
  lists.raw = [];
  model.proxies = [];
  model.details.clear();
}

export function details(key) {
  if (!model.details.has(key)) {
    model.details.set(key, { connections: new Map(), injected: [], messages: [] });
  }
  return model.details.get(key);
}

/** Seconds since the server began, as far as is known. */
export function now() {
  return model.clock === null ? 0 : performance.now() / 1000 + model.clock;
}

export function take(event, data) {
  model.clock = data.now - performance.now() / 1000;
  const raw = event.startsWith("raw_");
  const kind = raw ? "raw" : "fault";
  const seen = data.proxy === undefined ? null : details(`${kind}/${data.proxy}`);
  const what = raw ? event.slice(4) : event;
  if (what === "proxies") {
    lists[kind] = data.proxies.map((each) => ({ ...each, kind, key: `${kind}/${each.name}` }));
    model.proxies = [...lists.fault, ...lists.raw];
    const keys = new Set(model.proxies.map((each) => each.key));
    for (const key of [...model.details.keys()]) {
      if (!keys.has(key)) model.details.delete(key);
    }
  } else if (what === "connections") {
    takeConnections(seen.connections, data.connections);
  } else if (what === "injected") {
    const { injected } = seen;
    injected.push(...data.injected);
    injected.splice(0, injected.length - MAX_INJECTED);
  } else if (what === "messages") {
    takeMessages(seen, data);
  }
}

function takeMessages(seen, { now, messages, together, missed }) {
  for (const [time, connection, direction, count] of messages) {
    seen.messages.push({ time, connection, direction, count });
  }
  seen.messages.splice(0, seen.messages.length - MAX_MESSAGES);
  if (together !== null) seen.together = { time: now, seconds: together };
  if (missed > 0) seen.missed = { time: now };
}

function takeConnections(known, changed) {
  for (const each of changed) {
    const samples = [...(known.get(each.number)?.samples ?? []), ...each.samples];
    samples.splice(0, samples.length - MAX_SAMPLES);
    known.set(each.number, { ...each, samples });
  }
  const ended = [...known.values()].filter((each) => each.ended !== null);
  for (const each of [...ended, ...known.values()]) {
    if (known.size <= MAX_CONNECTIONS) return;
    known.delete(each.number);
  }
}
