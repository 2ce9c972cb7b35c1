// What the pages are made of.

import { fill, h } from "../dom.js";
import { t } from "../i18n.js";

export function card(title, ...children) {
  return h("section", { class: "card" }, title ? h("h2", {}, title) : null, ...children);
}

/** A table; `rows` are lists of cells, a cell is text or a node. */
export function table(heads, rows, none) {
  if (!rows.length) return h("p", { class: "none" }, none);
  return h("div", { class: "table-frame", tabindex: "0", role: "group", "aria-label": heads.filter(Boolean).join(", ") }, h("table", {},
    h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, head || h("span", { class: "away" }, "⋯"))))),
    h("tbody", {}, rows.map((row) => h("tr", {}, row.map((cell) => h("td", {}, cell)))))));
}

export function field(label, input, hint) {
  return h("label", { class: "field" }, h("span", {}, label), input, hint ? h("small", {}, hint) : null);
}

export function button(text, onclick, kind = "") {
  return h("button", { type: "button", class: kind, onclick }, text);
}

export function choice(label, value, options, onchange) {
  const select = h("select", { "aria-label": label, onchange: () => onchange(select.value) }, options.map(([key, text]) => h("option", { value: key, selected: key === value }, text)));
  return field(label, select);
}

/** A part of a page that reads from the gateway; `draw(data)` gives its nodes. `again()` reads anew. */
export function live(store, read, draw) {
  const box = h("div", { class: "live" }, h("p", { class: "none" }, t("loading")));
  async function again() {
    try {
      fill(box, draw(await read(), again));
    } catch (error) {
      fill(box, h("p", { class: "problem" }, t("wrong", { why: error.message })));
    }
  }
  again();
  return { box, again };
}

/** Call, tell what went wrong, and read anew. */
export function doing(actions, again, work) {
  return async (...values) => {
    try { await work(...values); } catch (error) { actions.problem(t("wrong", { why: error.message })); }
    await again?.();
  };
}
