// What the page knows: who is logged in, the sessions, the open conversation, bridges, approvals; and what it
// does: open, send, stop, reconnect. Views listen to its topics and never talk to the socket about a chat.

import { Conversation } from "./model/conversation.js";
import { Lost, Rpc } from "./rpc.js";
import { t } from "./i18n.js";

const HISTORY = 60;
const BESIDE = 12;
const POLL = 15_000;
const MOST_SESSIONS = 500;

export class Store extends EventTarget {
  constructor() {
    super();
    this.me = null;
    this.state = "connecting";
    this.sessions = [];
    this.listing = Promise.resolve();
    this.cursor = null;
    this.unread = new Set();
    this.open = null;
    this.beside = new Map();
    this.bridges = [];
    this.leftAt = new Map();
    this.approvals = new Map();
    this.questions = new Map();
    this.calls = [];
    this.tools = [];
    this.outgoing = new Map();
    this.generation = 0;
    this.rpc = new Rpc({
      opened: () => this.begin(), lost: () => this.setState("reconnecting"),
      closed: (code) => this.setState(code === 4509 ? "replaced" : "login"), event: (event) => this.event(event),
    });
    setInterval(() => this.look(), POLL);
    document.addEventListener("visibilitychange", () => this.look());
  }

  tell(topic, detail) { this.dispatchEvent(new CustomEvent(topic, { detail })); }
  on(topic, listener) { this.addEventListener(topic, (event) => listener(event.detail)); }
  call(method, params) { return this.rpc.call(method, params); }
  may(...scopes) { return scopes.some((scope) => this.me?.scopes.includes(scope)); }

  setState(state) {
    if (this.state === state) return;
    this.state = state;
    if (state === "login") this.answered(null);
    this.tell("state");
  }

  // ---------------------------------------------------------------- connection

  async begin() {
    const generation = ++this.generation;
    try {
      this.me = await this.call("connect");
      this.rpc.settled();
      this.setState("connected");
      this.tell("me");
      await this.rejoin();
      if (generation !== this.generation) return;
      await Promise.all([this.refreshSessions(), this.refreshBridges(), this.refreshTools(), this.refreshApprovals()]);
    } catch (error) {
      if (error.code === 1001 || error.code === 2001) {
        this.rpc.close();
        this.setState("login");
      } else if (!(error instanceof Lost)) this.tell("problem", error.message);
    }
  }

  /** After a new connection: the open conversation goes on where it was, and what was not sent is sent. */
  async rejoin() {
    this.beside.clear();
    const conversation = this.open;
    if (conversation?.loaded) {
      try {
        const { running } = await this.call("session.subscribe", { session_key: conversation.key, after_seq: conversation.lastSeq });
        conversation.answering(running);
      } catch (error) {
        if (error.code === 1003) { await this.call("session.subscribe", { session_key: conversation.key }).catch(() => {}); }
        else if (error.code === 1010) await this.load(conversation);
        else throw error;
      }
    } else if (conversation) await this.load(conversation);
    for (const message of this.outgoing.values()) this.deliver(message);
  }

  async look() {
    if (document.hidden || this.state !== "connected") return;
    await Promise.all([this.refreshSessions(), this.refreshBridges(), this.refreshApprovals()]).catch(() => {});
  }

  // ---------------------------------------------------------------- conversations

  defaultKey() { return `agent:main:websocket:direct:${this.me?.user}`; }

  newKey() {
    const random = [...crypto.getRandomValues(new Uint8Array(9))].map((value) => value.toString(36).padStart(2, "0")).join("");
    return `web-${random}`;
  }

  /** Show the conversation `key`. */
  async show(key) {
    if (this.open?.key === key) return;
    const left = this.open;
    const conversation = new Conversation(key, {
      changed: (turn) => this.tell("turn", { conversation, turn }), reshaped: () => this.tell("shape", conversation),
    });
    this.open = conversation;
    this.unread.delete(key);
    this.tell("open", conversation);
    if (!this.rpc.open || !this.me) return;
    this.beside.delete(key);
    if (left) this.call("session.unsubscribe", { session_key: left.key }).catch(() => {}).then(() => this.listenBeside());
    try { await this.load(conversation); } catch (error) { if (!(error instanceof Lost)) this.tell("problem", error.message); }
  }

  /** The history and what follows it; who asks while it is being read gets the same. */
  load(conversation) {
    return conversation.loading ??= this.read(conversation).finally(() => { conversation.loading = null; });
  }

  /** Read the history, then go on live from the last turn on, which is replayed where it still can be. */
  async read(conversation) {
    const key = conversation.key;
    let open = [];
    try {
      open = conversation.load(await this.call("chat.history", { session_key: key, limit: HISTORY }));
    } catch (error) {
      if (error.code !== 1003) throw error;
      conversation.load({ messages: [], has_more: false });
    }
    const from = conversation.replayFrom();
    try {
      if (!from) await this.subscribe(conversation);
      else {
        const { running } = await this.call("session.subscribe", { session_key: key, after_seq: from });
        conversation.expectReplay(from);
        conversation.answering(running);
      }
    } catch (error) {
      if (error.code !== 1010) throw error;
      await this.subscribe(conversation);
    }
    conversation.loaded = true;
    this.tell("shape", conversation);
    // a message given again under its key is told its end, should that have come meanwhile
    for (const { sent } of open) if (sent) this.call("chat.send_stream", sent).catch(() => {});
  }

  async subscribe(conversation) {
    try {
      const { last_seq, running } = await this.call("session.subscribe", { session_key: conversation.key });
      conversation.lastSeq = Math.max(conversation.lastSeq, last_seq);
      conversation.answering(running);
    } catch (error) { if (error.code !== 1003) throw error; }
  }

  async older() {
    const conversation = this.open;
    const first = conversation?.turns.find((turn) => turn.seq);
    if (!conversation?.hasMore || !first) return;
    conversation.prepend(await this.call("chat.history", { session_key: conversation.key, limit: HISTORY, before_seq: first.seq }));
  }

  /** Say something in the open conversation. `replaces` is an earlier message of one's own. */
  send(text, media = [], replaces = null) {
    const key = this.open.key;
    const idempotency = crypto.randomUUID?.() ?? this.newKey();
    const turn = this.open.sending(`local-${idempotency}`, { text, media, channel: "websocket", at: "" }, replaces);
    const params = { text, session_key: key, idempotency_key: idempotency };
    if (media.length) params.media = media.map(({ media_id }) => ({ media_id }));
    if (replaces) params.replaces = replaces;
    const message = { conversation: this.open, turn, params };
    this.outgoing.set(idempotency, message);
    return this.deliver(message);
  }

  /** Ask once more: in place of the turn, or, where the gateway never took it, as if for the first time. */
  again(turn) {
    if (turn.local) this.open.remove(turn);
    return this.send(turn.user.text, turn.user.media, turn.local ? null : turn.id);
  }

  async deliver(message) {
    const { conversation, turn, params } = message;
    if (!this.rpc.open) return;
    try {
      const accepted = await this.call("chat.send_stream", params);
      this.outgoing.delete(params.idempotency_key);
      conversation.accepted(turn, accepted).sent = params;
      if (!this.sessions.some((session) => session.session_key === conversation.key)) this.refreshSessions().catch(() => {});
    } catch (error) {
      if (error instanceof Lost) return; // sent again under the same key when the connection is back
      this.outgoing.delete(params.idempotency_key);
      Object.assign(turn, { state: "error", error: { code: error.code ?? 0, message: error.message, retryable: true } });
      this.tell("turn", { conversation, turn });
    }
  }

  async stop() {
    const turn = this.open?.running;
    if (!turn) return;
    const params = turn.local ? { session_key: this.open.key } : { message_id: turn.id };
    await this.call("chat.abort", params).catch((error) => this.tell("problem", error.message));
  }

  // ---------------------------------------------------------------- lists

  /** One after another: an answer from before the list grew would make it short again. */
  refreshSessions(more = false) { return this.listing = this.listing.catch(() => {}).then(() => this.listSessions(more)); }

  async listSessions(more) {
    const known = more ? this.sessions : [];
    const cursor = more && this.cursor ? { cursor: this.cursor } : {};
    const there = this.sessions.length;
    const limit = more ? 50 : Math.max(50, Math.min(there, MOST_SESSIONS));
    const found = await this.call("session.list", { limit, ...cursor });
    // what was read beyond the most that can be asked for at once stays as it was
    const beyond = !more && there > MOST_SESSIONS ? this.sessions.slice(MOST_SESSIONS) : [];
    const keys = new Set(found.sessions.map((session) => session.session_key));
    this.sessions = [...known.filter((session) => !keys.has(session.session_key)), ...found.sessions, ...beyond.filter((session) => !keys.has(session.session_key))];
    if (!beyond.length) this.cursor = found.next_cursor;
    this.tell("sessions");
    this.listenBeside();
  }

  /** Read along in the latest other conversations: those of Telegram and the others move by themselves. */
  listenBeside() {
    const wanted = this.sessions.map((session) => session.session_key).filter((key) => key !== this.open?.key).slice(0, BESIDE);
    for (const key of [...this.beside.keys()]) {
      if (wanted.includes(key) || key === this.open?.key) continue;
      this.beside.delete(key);
      this.call("session.unsubscribe", { session_key: key }).catch(() => {});
    }
    for (const key of wanted) {
      if (this.beside.has(key)) continue;
      this.beside.set(key, true);
      this.call("session.subscribe", { session_key: key }).catch(() => this.beside.delete(key));
    }
  }

  async refreshBridges() {
    if (!this.may("tools", "tunnel", "read")) return;
    const { bridges } = await this.call("bridge.list");
    this.bridges = bridges;
    this.tell("bridges");
  }

  async refreshTools() {
    if (!this.may("tools", "read")) return;
    this.tools = (await this.call("tools.list")).tools;
    this.tell("tools");
  }

  toolNamed(name) { return this.tools.find((tool) => tool.name === name); }

  async refreshApprovals() {
    if (!this.may("approve")) return;
    const { approvals } = await this.call("approval.list");
    const there = new Set(approvals.map((approval) => approval.approval_id));
    for (const id of this.approvals.keys()) if (!there.has(id)) this.approvals.delete(id);
    for (const approval of approvals) this.approvals.set(approval.approval_id, approval);
    this.tell("approvals");
  }

  async decide(approval, decision) {
    this.approvals.delete(approval.approval_id);
    this.tell("approvals");
    try {
      await this.call("approval.resolve", { approval_id: approval.approval_id, decision });
    } catch (error) {
      if (error instanceof Lost) this.approvals.set(approval.approval_id, approval);
      else this.tell("problem", error.code === 1003 ? t("expired") : error.message);
      this.tell("approvals");
    }
  }

  // ---------------------------------------------------------------- events

  event(event) {
    const conversation = this.open;
    const mine = conversation && event.session_key === conversation.key;
    if (mine && !conversation.apply(event)) return;
    switch (event.type) {
      case "approval.requested":
        if (this.may("approve")) { this.approvals.set(event.approval_id, event); this.tell("approvals"); }
        break;
      case "approval.resolved": this.approvals.delete(event.approval_id); this.tell("approvals"); break;
      case "question.requested": if (this.may("approve")) { this.questions.set(event.question_id, event); this.tell("questions"); } break;
      case "chat.started": case "chat.delta": this.answered(event.message_id); break;
      case "bridge.disconnected": this.leftAt.set(event.bridge_id, Date.now()); this.refreshBridges().catch(() => {}); this.refreshTools().catch(() => {}); break;
      case "bridge.connected": case "tools.changed":
        this.leftAt.delete(event.bridge_id);
        this.refreshBridges().catch(() => {});
        this.refreshTools().catch(() => {});
        break;
      case "tool.started": this.calls.unshift({ ...event, at: Date.now() }); this.calls.length = Math.min(this.calls.length, 50); this.tell("calls"); break;
      case "tool.finished": this.called(event); break;
      case "session.updated": this.updated(event); break;
      case "chat.message": this.touched(event, mine); break;
      case "chat.done": case "chat.error": this.answered(event.message_id); this.touched(event, mine); this.tell("ended", { event, mine }); break;
    }
  }

  /** The turn `id` has gone on (null: all of them): its questions were answered, here or elsewhere, or are over. */
  answered(id) {
    let some = false;
    for (const [key, question] of this.questions) if (id === null || question.message_id === id) some = this.questions.delete(key);
    if (some) this.tell("questions");
  }

  /** Answer a question; it stays open where the answer did not get through. */
  async answer(question, params) {
    try { await this.call("question.answer", { question_id: question.question_id, ...params }); } catch (error) {
      this.tell("problem", error.code === 1003 ? t("expired") : error.message);
      if (error instanceof Lost) return;
    }
    this.questions.delete(question.question_id);
    this.tell("questions");
  }

  called(event) {
    const call = this.calls.find((other) => other.call_id === event.call_id);
    if (!call) return;
    Object.assign(call, { finished: true, is_error: event.is_error, duration_ms: event.duration_ms });
    this.tell("calls");
  }

  touched(event, mine) {
    const session = this.sessions.find((other) => other.session_key === event.session_key);
    if (!mine || document.hidden) this.unread.add(event.session_key);
    if (!session) { this.refreshSessions().catch(() => {}); return; }
    session.updated_at = new Date().toISOString();
    this.sessions = [session, ...this.sessions.filter((other) => other !== session)];
    this.tell("sessions");
  }

  updated(event) {
    if (event.deleted) this.sessions = this.sessions.filter((session) => session.session_key !== event.session_key);
    const session = this.sessions.find((other) => other.session_key === event.session_key);
    if (session && event.title) session.title = event.title;
    this.tell("sessions");
  }
}
