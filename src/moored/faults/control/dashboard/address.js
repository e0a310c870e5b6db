// Which proxy is shown, by its key, in the address of the page: so it is the same one after a reload.

const HASH = /^#proxy=(.+)$/;

export function chosen() {
  const found = HASH.exec(location.hash);
  try {
    return found && decodeURIComponent(found[1]);
  } catch {
    return null; // half a percent sign
  }
}

export function keep(key) {
  history.replaceState(null, "", `#proxy=${encodeURIComponent(key)}`);
}
