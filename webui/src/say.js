// One place from which screen readers are told things: said once, politely.

import { h } from "./dom.js";

const region = h("div", { class: "away", role: "status", "aria-live": "polite", id: "announcer" });

export function mountAnnouncer() { document.body.append(region); }

/** Say `text` once. The same text twice is said twice. */
export function say(text) {
  region.textContent = "";
  setTimeout(() => { region.textContent = text.slice(0, 2000); }, 50);
}
