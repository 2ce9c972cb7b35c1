// JSON-RPC over the one socket this page ever opens: `/ws` of its own origin. Reconnects by itself with
// full jitter. Knows methods and events only as JSON; what they mean is `app.js`'s and the model's matter.

const FIRST_DELAY = 500;
const LONGEST_DELAY = 20_000;
/** Not authenticated, too late, forbidden, incompatible, replaced: coming back by itself would change nothing. */
const FINAL = new Set([4501, 4502, 4503, 4505, 4509]);

export class RpcError extends Error {
  constructor(error) {
    super(error.message);
    this.code = error.code;
    this.data = error.data ?? {};
  }
}

/** The connection was lost before the answer: whether the call was done is not known. */
export class Lost extends Error {}

export class Rpc {
  /** `on`: `opened()` (may call), `lost(inMs)`, `closed(code)`, `event(params)`. */
  constructor(on) {
    this.on = on;
    this.waiting = new Map();
    this.next = 1;
    this.delay = FIRST_DELAY;
    this.socket = null;
    this.timer = 0;
    addEventListener("online", () => this.hurry());
    document.addEventListener("visibilitychange", () => { if (!document.hidden) this.hurry(); });
  }

  get open() { return this.socket?.readyState === WebSocket.OPEN; }

  connect() {
    clearTimeout(this.timer);
    this.timer = 0;
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`);
    this.socket = socket;
    socket.onopen = () => this.on.opened();
    socket.onmessage = (message) => this.receive(JSON.parse(message.data));
    socket.onclose = (event) => this.gone(socket, event.code);
  }

  /** The connection is of use: the next loss starts with a short wait again. */
  settled() { this.delay = FIRST_DELAY; }

  /** Whoever is waiting for the next attempt waits no longer. */
  hurry() { if (this.timer) this.connect(); }

  close() {
    clearTimeout(this.timer);
    this.timer = 0;
    const socket = this.socket;
    this.socket = null;
    socket?.close();
  }

  receive(frame) {
    for (const item of Array.isArray(frame) ? frame : [frame]) {
      if (item.method === "event") { this.on.event(item.params); continue; }
      const entry = this.waiting.get(item.id);
      if (!entry) continue;
      this.waiting.delete(item.id);
      if (item.error) entry.reject(new RpcError(item.error));
      else entry.resolve(item.result);
    }
  }

  gone(socket, code) {
    if (this.socket !== socket) return;
    this.socket = null;
    for (const entry of this.waiting.values()) entry.reject(new Lost("the connection was lost"));
    this.waiting.clear();
    if (FINAL.has(code)) { this.on.closed(code); return; }
    const wait = Math.random() * this.delay;
    this.delay = Math.min(this.delay * 2, LONGEST_DELAY);
    this.timer = setTimeout(() => this.connect(), wait);
    this.on.lost(wait);
  }

  call(method, params = {}) {
    return new Promise((resolve, reject) => {
      if (!this.open) { reject(new Lost("not connected")); return; }
      const id = this.next++;
      this.waiting.set(id, { resolve, reject });
      this.socket.send(JSON.stringify({ jsonrpc: "2.0", id, method, params }));
    });
  }
}
