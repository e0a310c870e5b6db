// Drives a Toxiproxy server with the unmodified client: node toxiproxy_client.js URL UPSTREAM
"use strict";
const assert = require("node:assert");
const net = require("node:net");
const { Toxiproxy } = require("toxiproxy-node-client");

/** Milliseconds that one echo takes, or the error that came instead. */
const echo = (proxy) =>
  new Promise((resolve, reject) => {
    const [host, port] = proxy.listen.split(":");
    const began = performance.now();
    const socket = net.connect(Number(port), host, () => socket.write("hello"));
    socket.once("data", () => {
      socket.destroy();
      resolve(performance.now() - began);
    });
    socket.once("error", (error) => reject(error));
    socket.once("close", () => reject(new Error("closed")));
  });

(async () => {
  const [url, upstream] = process.argv.slice(2);
  const server = new Toxiproxy(url);
  assert.match(await server.getVersion(), /2\.12\.0/);
  const proxy = await server.createProxy({ name: "echo", listen: "127.0.0.1:0", upstream });
  await assert.rejects(server.createProxy({ name: "echo", listen: "127.0.0.1:0", upstream }), /409/);
  assert.ok((await echo(proxy)) < 140);
  const body = { type: "latency", stream: "downstream", toxicity: 1, attributes: { latency: 150, jitter: 0 } };
  const toxic = await proxy.addToxic({ name: "slow", ...body });
  assert.ok((await echo(proxy)) >= 149);
  const changed = await toxic.update({ toxicity: 1, attributes: { latency: 1, jitter: 0 } });
  assert.strictEqual(changed.attributes.latency, 1);
  assert.ok((await echo(proxy)) < 140);
  assert.strictEqual((await proxy.getToxic("slow")).name, "slow");
  await toxic.remove();
  await assert.rejects(proxy.getToxic("slow"), /404/);
  await proxy.addToxic({ name: "reset", type: "reset_peer", stream: "downstream", toxicity: 1, attributes: { timeout: 0 } });
  await assert.rejects(echo(proxy), /ECONNRESET/);
  await proxy.update({ enabled: false, listen: proxy.listen, upstream });
  await assert.rejects(echo(proxy), /ECONNREFUSED/);
  await server.reset();
  assert.ok((await echo(proxy)) < 140);
  const all = await server.populate([{ name: "other", listen: "127.0.0.1:0", upstream }]);
  assert.ok(all);
  assert.deepStrictEqual(Object.keys(await server.getAll()).sort(), ["echo", "other"]);
  await proxy.remove();
  await assert.rejects(server.get("echo"), /404/);
  console.log("done");
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
