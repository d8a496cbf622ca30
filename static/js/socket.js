// The client of the live protocol (docs/events.md): keeps its place by `seq`, comes back by itself, never skips an event.

const SIGNED_OUT = 4401;
const TOO_MANY = 4429;
const FINAL = new Set([4400, 4403, 4404]);
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 15_000;
const SILENCE_MS = 45_000; // two heartbeats and a little: the connection is dead although nobody closed it

/**
 * `handlers`: {snapshot(state), event(event) -> bool, delta(delta), presence(n), connection(what)}.
 * `event` answers whether the event followed on what is known; if not, the socket starts anew from `lastSeq()`.
 * `what` is "open", "lost", "signed-out" or "gone". `ticket`: a function that promises one, for pages of other origins.
 */
export class LiveSocket {
  constructor(url, lastSeq, handlers, ticket) {
    Object.assign(this, { url, lastSeq, handlers, ticket, failures: 0, socket: null, timer: 0, watchdog: 0 });
    addEventListener("online", () => this.hurry());
    document.addEventListener("visibilitychange", () => document.hidden || this.hurry());
  }

  open() {
    clearTimeout(this.timer);
    this.timer = 0;
    const socket = new WebSocket(this.url);
    this.socket = socket;
    socket.onopen = () => this.sayHello(socket).catch(() => socket.close());
    socket.onmessage = (message) => this.socket === socket && this.hear(JSON.parse(message.data));
    socket.onclose = ({ code }) => this.socket === socket && this.closed(code);
    this.listen();
  }

  async sayHello(socket) {
    const ticket = this.ticket && (await this.ticket());
    socket.send(JSON.stringify({ t: "hello", v: 1, last_seq: this.lastSeq(), ...(ticket && { ticket }) }));
  }

  /** Give this connection up and take the next one from the last event that is known. */
  restart() {
    const stale = this.socket;
    this.closed(0);
    stale?.close();
  }

  hurry() {
    if (this.timer) this.open();
  }

  /** For good: nothing is heard any more. */
  close() {
    const socket = this.socket;
    this.socket = null;
    clearTimeout(this.timer);
    clearTimeout(this.watchdog);
    this.timer = 0;
    socket?.close();
  }

  hear(frame) {
    this.listen();
    switch (frame.t) {
      case "welcome":
        this.failures = 0;
        if (frame.mode === "snapshot") this.handlers.snapshot(frame.snapshot);
        return this.handlers.connection("open");
      case "event":
        return this.handlers.event(frame) || this.restart();
      case "delta":
        return this.handlers.delta(frame);
      case "presence":
        return this.handlers.presence(frame.watching);
      case "heartbeat":
        return frame.head_seq > (this.lastSeq() ?? 0) && this.restart();
    }
  }

  listen() {
    clearTimeout(this.watchdog);
    this.watchdog = setTimeout(() => this.restart(), SILENCE_MS);
  }

  closed(code) {
    clearTimeout(this.watchdog);
    this.socket = null;
    if (code === SIGNED_OUT) return this.handlers.connection("signed-out");
    if (FINAL.has(code)) return this.handlers.connection("gone");
    this.handlers.connection("lost");
    this.timer = setTimeout(() => this.open(), this.pause(code));
  }

  pause(code) {
    const full = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** this.failures++);
    return code === TOO_MANY ? LONGEST_PAUSE_MS : full * (0.5 + Math.random() / 2);
  }
}
