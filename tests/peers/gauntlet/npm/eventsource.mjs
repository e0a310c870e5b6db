// The eventsource package, as its README has it.  By the standard it reconnects by itself, after
// 3 s unless the server says otherwise, and it has no timeouts to set.
import { EventSource } from "eventsource";

const source = new EventSource(process.argv[2]);
source.addEventListener("message", (event) => console.log(event.lastEventId));
source.addEventListener("end", () => process.exit(0));
source.addEventListener("error", (event) => {
  if (source.readyState === EventSource.CLOSED) {
    console.error(event.message ?? "closed");
    process.exit(1);
  }
});
