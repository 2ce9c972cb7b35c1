// Small readings of what the gateway says. Pure.

/** A call's arguments, which the history keeps as JSON text. */
export function argumentsOf(value) {
  if (typeof value !== "string") return value ?? {};
  try { return JSON.parse(value); } catch { return { "…": value }; }
}

/** The answer of a turn as one text. */
export function textOf(turn) {
  return turn.parts.filter((part) => part.kind === "text").map((part) => part.text).join("");
}

/** Characters that a person cannot see, or that turn text around: controls, bidi, zero width, tags, variation. */
const HIDDEN = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\u{e0000}-\u{e0fff}]/gu;

/** `text` in pieces, alternately plain and the name of a hidden character: `["rm ", "U+202E", "x"]`. */
export function reveal(text) {
  const out = [];
  let at = 0;
  for (const match of text.matchAll(HIDDEN)) {
    out.push(text.slice(at, match.index), `U+${match[0].codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`);
    at = match.index + match[0].length;
  }
  out.push(text.slice(at));
  return out;
}

/** Arguments for people: JSON with line breaks, strings that have lines shown as they are. */
export function pretty(value) {
  const text = JSON.stringify(value, null, 2);
  return text === undefined ? "" : text;
}

/** Characters that turn the order of text around are named in what a model says; letters of right-to-left scripts stay. */
export function tamed(text) {
  return text.replace(/[\u202a-\u202e\u2066-\u2069]/g, (found) => `⟨U+${found.codePointAt(0).toString(16).toUpperCase()}⟩`);
}

/** What kind of place a session is: `web`, or the platform's name. */
export function placeOf(session) {
  return session.channel === "websocket" ? "web" : session.channel;
}
