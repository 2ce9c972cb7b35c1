// The conversations, and the way to the other pages. Titles are other people's words: text nodes only.

import { fill, h, icon, iconButton } from "../dom.js";
import { ago, t } from "../i18n.js";
import { placeOf, tamed } from "../model/values.js";
import { ask, confirm } from "./asking.js";

/** What tells an element from its neighbours, before and after the list is drawn anew. */
const nameOf = (element) => element.href || `${element.closest("li")?.querySelector("a")?.href ?? ""} ${element.getAttribute("aria-label") ?? element.textContent}`;

export class Sidebar {
  constructor(store, actions) {
    this.store = store;
    this.actions = actions;
    this.hits = null;
    this.field = h("input", { type: "search", id: "search", placeholder: t("search"), "aria-label": t("search"), autocomplete: "off", spellcheck: "false" });
    this.list = h("ul", { class: "sessions" });
    this.found = h("div", { class: "found-box" });
    this.more = h("button", { type: "button", class: "quiet", hidden: true, onclick: () => store.refreshSessions(true).catch((error) => actions.problem(error.message)) }, t("more"));
    this.links = h("ul", { class: "pages" });
    this.element = h("nav", { class: "side", id: "side", "aria-label": t("conversations") },
      h("div", { class: "side-head" }, h("span", { class: "mark", "aria-hidden": "true" }), h("strong", {}, t("app")),
        iconButton("close", t("close"), () => actions.drawer(false), { class: "icon-button only-narrow" })),
      h("button", { type: "button", class: "new-chat", id: "new-chat", onclick: () => actions.newChat() }, icon("plus"), t("newChat")),
      h("div", { class: "search-box" }, icon("search"), this.field),
      h("div", { class: "side-scroll" }, this.found, this.list, this.more), this.links);
    this.field.addEventListener("input", () => this.searching());
    this.field.addEventListener("keydown", (event) => { if (event.key === "Escape" && this.field.value) { event.stopPropagation(); this.field.value = ""; this.searching(); } });
    for (const topic of ["sessions", "open", "me"]) store.on(topic, () => this.draw());
    setInterval(() => this.draw(), 60_000);
  }

  searching() {
    clearTimeout(this.timer);
    this.hits = null;
    this.draw();
    const query = this.field.value.trim();
    if (!query) return;
    this.timer = setTimeout(async () => {
      const { hits } = await this.store.call("session.search", { query, limit: 30 }).catch(() => ({ hits: [] }));
      if (this.field.value.trim() !== query) return;
      this.hits = hits;
      this.draw();
    }, 200);
  }

  draw() {
    const query = this.field.value.trim().toLowerCase();
    const sessions = this.store.sessions.filter((session) => !query || session.title.toLowerCase().includes(query));
    // what is the same is left alone: a reader that stands in it would be told everything again
    const shown = JSON.stringify([query, sessions.map((session) => [session.session_key, session.title, ago(session.updated_at), this.store.unread.has(session.session_key)]),
      this.store.open?.key, this.hits, this.store.cursor, location.hash, this.store.may("admin")]);
    if (shown === this.shown) return;
    this.shown = shown;
    const focused = this.element.contains(document.activeElement) ? nameOf(document.activeElement) : "";
    fill(this.list, sessions.map((session) => this.row(session)));
    if (!sessions.length && !query) fill(this.list, h("li", { class: "none" }, t("noChats")));
    this.more.hidden = !this.store.cursor || Boolean(query);
    fill(this.found, query && this.hits ? [h("h2", {}, t("found")), this.hits.length ? h("ul", {}, this.hits.map((hit) => this.hit(hit))) : h("p", { class: "none" }, t("noneFound"))] : null);
    this.drawPages();
    if (focused && !this.element.contains(document.activeElement)) [...this.element.querySelectorAll("a, button")].find((other) => nameOf(other) === focused)?.focus();
  }

  row(session) {
    const key = session.session_key, place = placeOf(session), title = tamed(session.title || t("untitled"));
    const current = this.store.open?.key === key;
    return h("li", { class: current ? "current" : "" },
      h("a", { href: `#/c/${encodeURIComponent(key)}`, "aria-current": current ? "page" : null, onclick: () => this.actions.drawer(false) },
        h("span", { class: "session-title", dir: "auto" }, title),
        h("span", { class: "session-about" }, place === "web" ? null : h("span", { class: `place place-${/^[a-z]+$/.test(place) ? place : "other"}` }, place),
          h("time", { datetime: session.updated_at }, ago(session.updated_at)),
          this.store.unread.has(key) && !current ? h("span", { class: "unread" }, t("newAnswer")) : null)),
      h("div", { class: "row-tools" }, iconButton("pencil", `${t("rename")}: ${title}`, () => this.rename(session)),
        iconButton("trash", `${t("remove")}: ${title}`, () => this.remove(session))));
  }

  hit(hit) {
    const title = this.store.sessions.find((session) => session.session_key === hit.session_key)?.title;
    return h("li", {}, h("button", { type: "button", class: "hit", onclick: () => this.actions.openAt(hit.session_key, hit.seq) },
      h("b", {}, tamed(title || t("untitled"))), h("span", { dir: "auto" }, tamed(hit.snippet))));
  }

  drawPages() {
    const pages = [["#/bridge", "laptop", "bridge"], ["#/usage", "chart", "usage"], ["#/settings", "gear", "settings"]];
    if (this.store.may("admin")) pages.splice(2, 0, ["#/admin", "shield", "admin"]);
    fill(this.links, pages.map(([href, picture, key]) => h("li", {}, h("a", { href, "aria-current": location.hash === href ? "page" : null, onclick: () => this.actions.drawer(false) }, icon(picture), t(key)))));
  }

  async rename(session) {
    const title = await ask({ title: t("rename"), label: t("title"), value: session.title, go: t("save") });
    if (title) await this.store.call("session.rename", { session_key: session.session_key, title }).then((kept) => { session.title = kept.title; this.store.tell("sessions"); }, (error) => this.actions.problem(error.message));
  }

  async remove(session) {
    if (!(await confirm({ text: t("removeAsk", { title: session.title || t("untitled") }), go: t("remove") }))) return;
    try {
      await this.store.call("session.delete", { session_key: session.session_key });
      if (this.store.open?.key === session.session_key) this.actions.newChat();
      await this.store.refreshSessions();
    } catch (error) { this.actions.problem(error.message); }
  }
}
