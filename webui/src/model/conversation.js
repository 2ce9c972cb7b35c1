// A conversation as turns, made from history and events. Pure: no DOM, no socket, no clock.
//
// Above it the views, which are told which turns changed; below it the gateway's events. A turn is one
// message of a person and what answered it. `seq` decides what is new: an event that was seen before
// changes nothing, so a replay may overlap. `chat.started` voids the deltas before it, and `chat.done`
// carries the whole text, which wins over what the deltas came to.

import { argumentsOf, textOf } from "./values.js";

/** The code of a turn that a person stopped. */
const STOPPED = 1009;

export class Conversation {
  /** `changed(turn)` for one turn, `reshaped()` where turns came or went. */
  constructor(key, { changed, reshaped }) {
    this.key = key;
    this.turns = [];
    this.byId = new Map();
    this.lastSeq = 0;
    this.hasMore = false;
    this.changed = changed;
    this.reshaped = reshaped;
  }

  get running() { return this.turns.find((turn) => turn.state === "running" || turn.state === "waiting") ?? null; }

  /** Begin afresh from `chat.history`. What was being answered goes on unless its answer is there. Gives those turns. */
  load({ messages, has_more }) {
    const unsent = this.turns.filter((turn) => turn.local);
    const live = this.turns.filter((turn) => !turn.local && (turn.state === "running" || turn.state === "waiting"));
    this.turns = [];
    this.byId.clear();
    this.hasMore = has_more;
    this.lastSeq = 0;
    for (const message of messages) this.read(message);
    const open = live.map(({ id, sent }) => {
      const turn = this.byId.get(id);
      return turn && !turn.parts.some((part) => part.kind === "text") ? Object.assign(turn, { state: "running", sent }) : null;
    }).filter(Boolean);
    for (const turn of unsent) this.add(turn);
    this.reshaped();
    return open;
  }

  /** Older messages, before those that are there. */
  prepend({ messages, has_more }) {
    const there = this.turns;
    this.turns = [];
    this.hasMore = has_more;
    for (const message of messages) this.read(message);
    this.turns = this.turns.filter((turn) => !there.includes(turn)).concat(there);
    this.reshaped();
  }

  /** Where a replay must begin so that the last turns are whole: behind the message before the first open one. */
  replayFrom() {
    let from = 0;
    for (const turn of [...this.turns].reverse()) {
      if (!turn.user || turn.local) continue;
      if (from && turn.parts.some((part) => part.kind === "text")) break;
      from = turn.seq;
    }
    return from;
  }

  /** A replay follows: what it tells again is taken out first. */
  expectReplay(from) {
    this.lastSeq = from;
    for (const turn of this.turns) {
      if (turn.local || turn.seq < from) continue;
      turn.parts = [];
      turn.state = "done";
      this.changed(turn);
    }
  }

  /** The gateway says which message it is answering. */
  answering(id) {
    const turn = id ? this.byId.get(id) : null;
    if (!turn || turn.state === "running") return;
    turn.state = "running";
    this.changed(turn);
  }

  read(message) {
    this.lastSeq = Math.max(this.lastSeq, message.seq);
    const turn = this.turn(message.message_id || `seq-${message.seq}`, message.seq);
    if (message.role === "user") {
      turn.user = { text: message.text, media: message.media ?? [], channel: message.channel ?? "", at: message.timestamp };
      turn.seq = message.seq;
      return;
    }
    turn.state = "done";
    turn.at = message.timestamp;
    if (message.role === "tool") {
      const part = this.tool(turn, message.tool_call_id);
      part.state = part.state === "error" ? "error" : "done";
      part.result = message.text;
      part.media = message.media ?? part.media;
      return;
    }
    if (message.text) turn.parts.push({ kind: "text", text: message.text });
    turn.partial = Boolean(message.partial);
    for (const call of message.tool_calls ?? []) {
      const part = this.tool(turn, call.call_id);
      part.name = call.name;
      part.arguments = argumentsOf(call.arguments);
    }
  }

  // ---------------------------------------------------------------- turns

  turn(id, seq = 0) {
    return this.byId.get(id) ?? this.add({
      id, seq, user: null, parts: [], state: "done", attempt: 0, error: null, usage: null, finish: "", mode: "", model: "",
      partial: false, local: false, at: "",
    });
  }

  add(turn) {
    this.turns.push(turn);
    this.byId.set(turn.id, turn);
    return turn;
  }

  /** What a person is sending, shown before the gateway has it. `replaces` takes a turn and all after it away. */
  sending(id, user, replaces) {
    if (replaces && this.byId.has(replaces)) this.cut(this.byId.get(replaces));
    const turn = this.turn(id);
    Object.assign(turn, { user, local: true, state: "waiting", error: null });
    this.reshaped();
    return turn;
  }

  /** The gateway has it, under its own id. */
  accepted(local, { message_id, seq }) {
    const known = this.byId.get(message_id);
    if (known && known !== local) {
      this.remove(local);
      this.reshaped();
      return known;
    }
    this.byId.delete(local.id);
    Object.assign(local, { id: message_id, seq, local: false });
    this.byId.set(message_id, local);
    this.changed(local);
    return local;
  }

  remove(turn) {
    this.turns = this.turns.filter((other) => other !== turn);
    this.byId.delete(turn.id);
  }

  cut(turn) {
    for (const gone of this.turns.slice(this.turns.indexOf(turn))) this.remove(gone);
  }

  tool(turn, callId) {
    let part = turn.parts.find((other) => other.kind === "tool" && other.callId === callId);
    if (!part) {
      part = { kind: "tool", callId, name: "", arguments: {}, agent: "", state: "running", progress: null, total: null,
        message: "", result: "", media: [], duration: null, approval: null };
      turn.parts.push(part);
    }
    return part;
  }

  // ---------------------------------------------------------------- events

  /** Take an event in. False where it was seen before. */
  apply(event) {
    if (typeof event.seq === "number") {
      if (event.seq <= this.lastSeq) return false;
      this.lastSeq = event.seq;
    }
    if (!event.message_id) return true;
    const fresh = !this.byId.has(event.message_id);
    const turn = this.turn(event.message_id, event.seq);
    take(this, turn, event);
    if (fresh) this.reshaped();
    else this.changed(turn);
    return true;
  }
}

function take(conversation, turn, event) {
  switch (event.type) {
    case "chat.message":
      turn.user = { text: event.text, media: event.media ?? [], channel: event.channel, at: "" };
      turn.seq = event.seq;
      turn.state = "waiting";
      break;
    case "chat.started":
      Object.assign(turn, { state: "running", attempt: event.attempt, mode: event.mode, model: event.model, error: null });
      turn.parts = turn.parts.filter((part) => part.kind === "tool" && part.state !== "running");
      break;
    case "chat.delta": {
      turn.state = "running";
      const last = turn.parts.at(-1);
      if (last?.kind === "text") last.text += event.delta;
      else turn.parts.push({ kind: "text", text: event.delta });
      break;
    }
    case "tool.started":
      Object.assign(conversation.tool(turn, event.call_id), {
        name: event.name, arguments: event.arguments, agent: event.agent ?? "", state: "running" });
      break;
    case "tool.progress":
      Object.assign(conversation.tool(turn, event.call_id), {
        progress: event.progress, total: event.total ?? null, message: event.message ?? "" });
      break;
    case "tool.finished":
      Object.assign(conversation.tool(turn, event.call_id), {
        state: event.is_error ? "error" : "done", duration: event.duration_ms, result: event.preview, media: event.media ?? [] });
      break;
    case "approval.requested":
      Object.assign(conversation.tool(turn, event.call_id), { name: event.tool, arguments: event.arguments, approval: event });
      break;
    case "approval.resolved": {
      const part = turn.parts.find((other) => other.approval?.approval_id === event.approval_id);
      if (part) part.approval = { ...part.approval, decision: event.decision };
      break;
    }
    case "agent.note": note(turn, event); break;
    case "chat.done": done(turn, event); break;
    case "chat.error":
      turn.state = event.code === STOPPED ? "done" : "error";
      if (event.code === STOPPED) { turn.finish = "cancelled"; break; }
      turn.error = { code: event.code, message: event.message, retryable: event.retryable, trace: event.trace_id };
      break;
  }
}

function note(turn, event) {
  let part = turn.parts.find((other) => other.kind === "team");
  if (!part) turn.parts.push(part = { kind: "team", agents: [] });
  const row = part.agents.find((other) => other.agent === event.agent);
  if (row) Object.assign(row, { state: event.state, text: event.text || row.text });
  else part.agents.push({ agent: event.agent, state: event.state, text: event.text });
}

function done(turn, event) {
  const partial = event.finish_reason === "cancelled";
  Object.assign(turn, { state: "done", finish: event.finish_reason, usage: event.usage, partial });
  for (const part of turn.parts) if (part.kind === "tool" && part.state === "running") part.state = "done";
  if (textOf(turn) === event.text) return;
  turn.parts = turn.parts.filter((part) => part.kind !== "text");
  if (event.text) turn.parts.push({ kind: "text", text: event.text });
}
