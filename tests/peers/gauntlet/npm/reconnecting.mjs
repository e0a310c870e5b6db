// What reconnecting-websocket and partysocket have in common: partysocket grew out of it, and the
// options are the same.  Neither has a heartbeat, and neither gives up except by maxRetries.
import WS from "ws";

export function follow(ReconnectingWebSocket) {
  let last = 0;
  const socket = new ReconnectingWebSocket(process.argv[2], [], {
    WebSocket: WS,
    connectionTimeout: 1000,
    minReconnectionDelay: 200,
    maxReconnectionDelay: 1000,
    reconnectionDelayGrowFactor: 2,
    minUptime: 500,
    maxRetries: 12,
  });
  socket.addEventListener("open", () => socket.send(JSON.stringify({ resume: last })));
  socket.addEventListener("message", (event) => {
    const message = JSON.parse(event.data);
    if (message.end) process.exit(0);
    last = message.id;
    console.log(last);
  });
  socket.addEventListener("error", (event) => {
    console.error(event.message);
    if (socket.retryCount >= 12) process.exit(1);
  });
}
