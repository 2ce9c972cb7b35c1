"use strict";
// A small client of the gateway's own origin. Everything that comes from outside becomes a text node.

const $ = (id) => document.getElementById(id);
const waiting = new Map();
let socket = null;
let nextId = 1;
let key = null;
let lastSeq = null;
let running = null;
let answer = null;
let delay = 500;
let sending = null;

function show(kind, text) {
  const box = document.createElement("div");
  box.className = kind === "note" ? "note" : "message " + kind;
  box.textContent = text;
  $("messages").append(box);
  box.scrollIntoView({ block: "end" });
  return box;
}

function state(text) { $("state").textContent = text; }

function setRunning(messageId) {
  running = messageId;
  $("stop").disabled = messageId === null;
}

function call(method, params) {
  return new Promise((resolve, reject) => {
    if (socket === null || socket.readyState !== WebSocket.OPEN) { reject(new Error("not connected")); return; }
    const id = nextId++;
    waiting.set(id, { resolve, reject });
    socket.send(JSON.stringify({ jsonrpc: "2.0", id, method, params }));
  });
}

function onEvent(event) {
  if (key !== null && event.session_key !== key) return;
  if (event.seq !== undefined) lastSeq = event.seq;
  switch (event.type) {
    case "chat.message": if (event.role === "user") show("user", event.text); break;
    case "chat.started": setRunning(event.message_id); if (answer !== null) answer.textContent = ""; break;
    case "chat.delta":
      if (answer === null) answer = show("assistant", "");
      answer.append(event.delta);
      answer.scrollIntoView({ block: "end" });
      break;
    case "tool.started": show("note", "⚙ " + event.name); break;
    case "chat.done":
      if (answer === null) answer = show("assistant", "");
      answer.textContent = event.text;
      answer = null; setRunning(null);
      break;
    case "chat.error": show("note", "⚠ " + event.message); answer = null; setRunning(null); break;
  }
}

function onMessage(message) {
  const data = JSON.parse(message.data);
  if (data.method === "event") { onEvent(data.params); return; }
  const entry = waiting.get(data.id);
  if (entry === undefined) return;
  waiting.delete(data.id);
  if (data.error) entry.reject(Object.assign(new Error(data.error.message), { code: data.error.code }));
  else entry.resolve(data.result);
}

async function readHistory() {
  try {
    const history = await call("chat.history", { session_key: key });
    $("messages").replaceChildren();
    for (const message of history.messages) {
      if (message.text && (message.role === "user" || message.role === "assistant")) show(message.role, message.text);
    }
  } catch (error) { if (error.code !== 1003) throw error; }
}

async function begin() {
  const me = await call("connect", {});
  key = "agent:main:websocket:direct:" + me.user;
  state(me.user);
  if (lastSeq !== null) {
    try { await call("session.subscribe", { session_key: key, after_seq: lastSeq }); return; }
    catch (error) { if (error.code !== 1010) throw error; }
  }
  lastSeq = (await call("session.subscribe", { session_key: key })).last_seq;
  await readHistory();
}

function connect() {
  socket = new WebSocket((location.protocol === "https:" ? "wss://" : "ws://") + location.host + "/ws");
  socket.onmessage = onMessage;
  socket.onopen = () => { delay = 500; begin().then(resend, (error) => state(error.message)); };
  socket.onclose = (event) => {
    for (const entry of waiting.values()) entry.reject(new Error("the connection was lost"));
    waiting.clear();
    if ([4501, 4502, 4503].includes(event.code)) { state("log in: open the link that the gateway printed"); return; }
    state("connecting again …");
    setTimeout(connect, Math.random() * delay);
    delay = Math.min(delay * 2, 30000);
  };
}

function resend() {
  if (sending === null) return;
  const message = sending;
  call("chat.send_stream", message).then(
    (accepted) => { if (sending === message) sending = null; setRunning(accepted.message_id); },
    (error) => {
      if (error.code === undefined) return; // lost on the way: sent again under the same key
      if (sending === message) sending = null;
      show("note", "⚠ " + error.message);
    },
  );
}

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("text").value.trim();
  if (!text || sending !== null) return;
  $("text").value = "";
  show("user", text);
  sending = { text, session_key: key, idempotency_key: crypto.randomUUID ? crypto.randomUUID() : String(Math.random()) };
  resend();
});
$("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); $("form").requestSubmit(); }
});
$("stop").addEventListener("click", () => { if (running !== null) call("chat.abort", { message_id: running }).catch(() => {}); });

async function start() {
  const code = new URLSearchParams(location.hash.slice(1)).get("login");
  if (code) {
    history.replaceState(null, "", location.pathname);
    const reply = await fetch("/api/v1/login", {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ code }),
    });
    if (!reply.ok) state((await reply.json()).error.message);
  }
  connect();
}
start();
