// Which proxy is shown, in the address of the page: so it is the same one after a reload.

const HASH = /^#proxy=(.+)$/;

export function chosen() {
  const found = HASH.exec(location.hash);
  try {
    return found && decodeURIComponent(found[1]);
  } catch {
    return null; // half a percent sign
  }
}

export function keep(name) {
  history.replaceState(null, "", `#proxy=${encodeURIComponent(name)}`);
}
