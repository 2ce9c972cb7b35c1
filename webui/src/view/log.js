// The open conversation: a log of turns, drawn at most once per animation frame, only where something changed.
// It stays at the end while the person is at the end, and tells screen readers of an answer once, when it is whole.

import { fill, h, icon } from "../dom.js";
import { t } from "../i18n.js";
import { textOf } from "../model/values.js";
import { say } from "../say.js";
import { TurnView } from "./turn.js";
import { welcome } from "./welcome.js";

const NEAR = 80;

export class Log {
  constructor(store, actions) {
    this.store = store;
    this.actions = actions;
    this.views = new Map();
    this.dirty = new Set();
    this.frame = 0;
    this.pinned = true;
    this.list = h("div", { class: "turns", role: "log", "aria-live": "off", "aria-label": t("conversations"), tabindex: "-1" });
    this.older = h("button", { type: "button", class: "quiet older", onclick: () => this.readOlder() }, t("older"));
    this.toEnd = h("button", { type: "button", class: "to-end", "aria-label": t("toBottom"), title: t("toBottom"), onclick: () => this.scrollToEnd(true) }, icon("down"));
    this.scroller = h("div", { class: "scroller", tabindex: "0", role: "group", "aria-label": t("chat") }, this.older, this.list);
    this.element = h("div", { class: "log" }, this.scroller, this.toEnd);
    this.scroller.addEventListener("scroll", () => this.scrolled(), { passive: true });
    new ResizeObserver(() => { if (this.pinned) this.scrollToEnd(); }).observe(this.list);
    store.on("open", (conversation) => this.begin(conversation));
    store.on("shape", (conversation) => { if (conversation === this.conversation) this.schedule("shape"); });
    store.on("turn", ({ conversation, turn }) => { if (conversation === this.conversation) this.schedule(turn); });
    store.on("ended", ({ event, mine }) => { if (mine) this.announce(event); });
  }

  begin(conversation) {
    this.conversation = conversation;
    this.views.clear();
    this.dirty.clear();
    this.pinned = true;
    this.list.replaceChildren();
    this.schedule("shape");
  }

  schedule(what) {
    this.dirty.add(what);
    if (!this.frame) this.frame = requestAnimationFrame(() => this.draw());
  }

  draw() {
    this.frame = 0;
    const dirty = [...this.dirty];
    this.dirty.clear();
    if (dirty.includes("shape")) this.reshape();
    for (const turn of dirty) if (turn !== "shape") this.views.get(turn)?.draw();
    const busy = this.conversation?.running;
    this.list.setAttribute("aria-busy", String(Boolean(busy)));
    if (Boolean(busy) !== this.busy) {
      this.busy = Boolean(busy);
      this.actions.busy(this.busy);
      if (busy) say(t("answering"));
    }
    if (this.pinned) this.scrollToEnd();
  }

  reshape() {
    const { turns, hasMore, loaded } = this.conversation;
    this.older.hidden = !hasMore;
    for (const [turn, view] of this.views) if (!turns.includes(turn)) { view.element.remove(); this.views.delete(turn); }
    let before = null;
    for (const turn of turns) {
      let view = this.views.get(turn);
      if (!view) this.views.set(turn, view = new TurnView(turn, this.actions));
      view.draw();
      const wanted = before ? before.nextSibling : this.list.firstChild;
      if (view.element !== wanted) this.list.insertBefore(view.element, wanted);
      before = view.element;
    }
    const empty = this.list.querySelector(".welcome");
    if (turns.length) empty?.remove();
    else if (!empty && loaded) fill(this.list, welcome(this.actions));
  }

  async readOlder() {
    const height = this.scroller.scrollHeight - this.scroller.scrollTop;
    this.pinned = false;
    try { await this.store.older(); } catch (error) { this.store.tell("problem", error.message); }
    this.draw();
    this.scroller.scrollTop = this.scroller.scrollHeight - height;
  }

  /** Show the turn that holds number `seq`, reading older ones until it is there. */
  async find(seq) {
    for (let page = 0; page < 20 && this.conversation.hasMore && !this.conversation.turns.some((turn) => turn.seq && turn.seq <= seq); page += 1) {
      await this.store.older();
    }
    this.reshape();
    const turn = this.conversation.turns.findLast((other) => other.seq && other.seq <= seq) ?? this.conversation.turns[0];
    const view = turn && this.views.get(turn);
    if (!view) return;
    this.pinned = false;
    view.element.scrollIntoView({ block: "start" });
    view.element.classList.add("found");
    setTimeout(() => view.element.classList.remove("found"), 2500);
  }

  scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    this.pinned = scrollHeight - scrollTop - clientHeight < NEAR;
    this.toEnd.classList.toggle("shown", !this.pinned);
  }

  scrollToEnd(smooth = false) {
    this.pinned = true;
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.scroller.scrollTo({ top: this.scroller.scrollHeight, behavior: smooth && !calm ? "smooth" : "instant" });
  }

  announce(event) {
    const turn = this.conversation.byId.get(event.message_id);
    if (event.type === "chat.error" && turn?.state === "done") say(t("stopped"));
    else if (event.type === "chat.error") say(t("failed", { why: event.message }));
    else if (turn) say(t("answered", { text: textOf(turn) }));
  }
}
