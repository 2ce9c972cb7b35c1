// What a model wrote, as elements. It is data of a stranger: markup in it stays text, pictures become links
// (loading one would tell its host what was said here), links lead to http, https and mailto only, and
// DOMPurify has the last word. Above it `streamed.js`; it knows nothing of turns.

import DOMPurify from "dompurify";
import { Lexer, Marked } from "marked";
import { h, iconButton } from "./dom.js";
import { highlighted } from "./highlight.js";
import { t } from "./i18n.js";
import { tamed } from "./model/values.js";
import { say } from "./say.js";

const escape = (text) => text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
const SCHEMES = new Set(["http:", "https:", "mailto:"]);
const options = { gfm: true, breaks: true };

const marked = new Marked({
  ...options,
  renderer: {
    html: (token) => escape(token.raw),
    image: (token) => `<a href="${escape(token.href)}">${escape(t("imageLink", { alt: token.text || token.href }))}</a>`,
    heading(token) { return `<h${Math.min(token.depth + 2, 6)}>${this.parser.parseInline(token.tokens)}</h${Math.min(token.depth + 2, 6)}>`; },
  },
});

const CLEAN = {
  ALLOWED_TAGS: ["p", "br", "hr", "strong", "em", "del", "code", "pre", "blockquote", "ul", "ol", "li", "table", "thead", "tbody",
    "tr", "th", "td", "h3", "h4", "h5", "h6", "a", "input", "span"],
  ALLOWED_ATTR: ["href", "title", "class", "align", "start", "type", "checked", "disabled"],
  ALLOW_DATA_ATTR: false, ALLOW_ARIA_ATTR: false, RETURN_DOM_FRAGMENT: true,
};

/** The top-level blocks of a text; one of type `plain` where it is nested deeper than a script's stack. */
export function blocksOf(text) {
  try { return new Lexer(options).lex(text); } catch { return Object.assign([{ type: "plain", raw: text }], { links: {} }); }
}

/** One block as a fragment. `final`: it will not change any more, so that its code is coloured. */
export function rendered(token, links, final) {
  const tokens = Object.assign([token], { links });
  const fragment = DOMPurify.sanitize(marked.parser(tokens), CLEAN);
  for (const link of fragment.querySelectorAll("a")) tameLink(link);
  for (const box of fragment.querySelectorAll("input")) tameBox(box);
  for (const table of fragment.querySelectorAll("table")) frame(table, "table-frame");
  for (const pre of fragment.querySelectorAll("pre")) codeFrame(pre, final);
  return fragment;
}

function tameLink(link) {
  const url = URL.canParse(link.getAttribute("href") ?? "") ? new URL(link.getAttribute("href")) : null;
  if (!url || !SCHEMES.has(url.protocol)) {
    link.replaceWith(h("span", { class: "no-link", title: t("unknownLink") }, link.textContent));
    return;
  }
  link.target = "_blank";
  link.rel = "noopener noreferrer nofollow";
  link.title = url.href;
  if (looksLikeAnother(link.textContent, url)) link.after(h("span", { class: "real-host" }, ` (${url.host})`));
}

/** A link whose text names another host than it leads to says where it leads. */
function looksLikeAnother(text, url) {
  const found = /^\s*(?:https?:\/\/)?([\w-]+(?:\.[\w-]+)+)/i.exec(text);
  return found !== null && url.host !== "" && found[1].toLowerCase() !== url.hostname && !/\.(?:png|jpe?g|gif|md|txt|py|js)$/i.test(found[1]);
}

function tameBox(box) {
  const checked = box.checked;
  box.replaceWith(h("span", { class: "task-box", role: "img", "aria-label": checked ? "☑" : "☐" }, checked ? "☑" : "☐"));
}

function frame(element, name) {
  const box = h("div", { class: name, tabindex: "0", role: "group", "aria-label": t("result") });
  element.replaceWith(box);
  box.append(element);
}

function codeFrame(pre, final) {
  const code = pre.querySelector("code");
  if (!code) return;
  const name = /language-([\w+#-]+)/.exec(code.className)?.[1] ?? "";
  code.className = "hljs";
  const text = code.textContent;
  const markup = final || text.length < 4000 ? highlighted(text, name.toLowerCase()) : null;
  if (markup !== null) code.replaceChildren(DOMPurify.sanitize(markup, { ALLOWED_TAGS: ["span"], ALLOWED_ATTR: ["class"], RETURN_DOM_FRAGMENT: true }));
  pre.tabIndex = 0;
  const box = h("div", { class: "code-frame" }, h("div", { class: "code-head" }, h("span", {}, name || "text"), copyButton(() => text.replace(/\n$/, ""))));
  pre.replaceWith(box);
  box.append(pre);
}

/** A button that copies what `text()` gives, and says so. */
export function copyButton(text, label = t("copy")) {
  const button = iconButton("copy", label, async () => {
    try { await navigator.clipboard.writeText(text()); } catch { copyByHand(text()); }
    button.classList.add("copied");
    say(t("copied"));
    setTimeout(() => button.classList.remove("copied"), 1500);
  });
  return button;
}

/** Where the clipboard is closed to scripts (plain http on a foreign name). */
function copyByHand(text) {
  const area = h("textarea", { class: "away", value: text, "aria-hidden": "true" });
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

export { tamed };
