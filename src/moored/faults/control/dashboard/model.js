// What the feed has told, by proxy.

const MAX_CONNECTIONS = 500;
const MAX_SAMPLES = 1200;
const MAX_INJECTED = 500;
const MAX_MESSAGES = 20000;

export const model = { proxies: [], details: new Map(), clock: null };

/** Forget everything: the feed begins again. */
export function reset() {
  model.proxies = [];
  model.details.clear();
}

export function details(name) {
  if (!model.details.has(name)) {
    model.details.set(name, { connections: new Map(), injected: [], messages: [] });
  }
  return model.details.get(name);
}

/** Seconds since the server began, as far as is known. */
export function now() {
  return model.clock === null ? 0 : performance.now() / 1000 + model.clock;
}

export function take(event, data) {
  model.clock = data.now - performance.now() / 1000;
  if (event === "proxies") {
    model.proxies = data.proxies;
    const names = new Set(data.proxies.map((each) => each.name));
    for (const name of [...model.details.keys()]) {
      if (!names.has(name)) model.details.delete(name);
    }
  } else if (event === "connections") {
    takeConnections(details(data.proxy).connections, data.connections);
  } else if (event === "injected") {
    const { injected } = details(data.proxy);
    injected.push(...data.injected);
    injected.splice(0, injected.length - MAX_INJECTED);
  } else if (event === "messages") {
    takeMessages(details(data.proxy), data);
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
