// Talking to the control server, with the token where it asks for one.

const KEY = "moored-token";

export class Refused extends Error {
  constructor(status, words) {
    super(words);
    this.status = status;
  }
}

/** Take the token of `#token=...` out of the address, where it would be seen. */
export function takeToken() {
  const found = /^#token=(.+)$/.exec(location.hash);
  if (found) {
    setToken(decodeURIComponent(found[1]));
    history.replaceState(null, "", location.pathname);
  }
}

export function setToken(token) {
  sessionStorage.setItem(KEY, token);
}

function headers() {
  const token = sessionStorage.getItem(KEY);
  return token ? { Authorization: `Bearer ${token}` } : {};
}

/** Ask; throws Refused with the server's words. */
export async function ask(method, path, body, type = "application/json") {
  const options = { method, headers: headers() };
  if (body !== undefined) {
    options.body = typeof body === "string" ? body : JSON.stringify(body);
    options.headers["Content-Type"] = type;
  }
  const answer = await fetch(path, options);
  if (!answer.ok) throw new Refused(answer.status, await words(answer));
  return answer;
}

async function words(answer) {
  const text = await answer.text();
  try {
    return JSON.parse(text).error;
  } catch {
    return text.trim() || answer.statusText;
  }
}

/** Save what is at `path` as a file. */
export async function download(path, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await (await ask("GET", path)).blob());
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

/** Read the live feed to its end: `onEvent(name, data)`.  Not an EventSource: that sends no token. */
export async function readFeed(onEvent) {
  const answer = await ask("GET", "/moored/feed");
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const found = /^event: (.*)\ndata: (.*)$/.exec(block);
      if (found) onEvent(found[1], JSON.parse(found[2]));
    }
  }
}
