// Text of a stranger with what is invisible in it made visible.

import { h } from "../dom.js";
import { reveal } from "../model/values.js";

/** Nodes for `text`; hidden characters become marks. */
export function revealed(text) {
  return reveal(text).map((piece, index) => (index % 2 ? h("mark", { class: "hidden-char" }, piece) : piece)).filter((piece) => piece !== "");
}

/** Whether something in it cannot be seen. */
export function hides(value) {
  if (typeof value === "string") return reveal(value).length > 1;
  if (value && typeof value === "object") return Object.entries(value).some(([key, inner]) => hides(key) || hides(inner));
  return false;
}
