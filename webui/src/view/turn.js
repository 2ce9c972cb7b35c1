// One turn: what the person said, and the answer with its tools, its team and what one may do with it.

import { fill, h, icon, iconButton } from "../dom.js";
import { moment, number, t } from "../i18n.js";
import { copyButton } from "../markdown.js";
import { shown } from "../media.js";
import { tamed, textOf } from "../model/values.js";
import { StreamedText } from "./streamed.js";
import { ToolCard } from "./toolcard.js";
import { TeamCard } from "./teamcard.js";

export class TurnView {
  constructor(turn, actions) {
    this.turn = turn;
    this.actions = actions;
    this.parts = new Map();
    this.said = h("div", { class: "said" });
    this.body = h("div", { class: "parts" });
    this.status = h("div", { class: "turn-status" });
    this.tools = h("div", { class: "turn-tools" });
    this.answer = h("div", { class: "answer" }, h("h2", { class: "away" }, t("assistant")), this.body, this.status, this.tools);
    this.element = h("article", { class: "turn" }, this.said, this.answer);
  }

  draw() {
    this.drawSaid();
    this.drawParts();
    this.drawStatus();
  }

  drawSaid() {
    const { user, local } = this.turn;
    this.said.hidden = !user;
    if (!user || (this.drawnUser === user && this.drawnLocal === local)) return;
    this.drawnUser = user;
    this.drawnLocal = local;
    const place = user.channel && user.channel !== "websocket" ? h("span", { class: "via" }, user.channel) : null;
    fill(this.said, h("h2", { class: "away" }, t("you")),
      user.media.length ? h("div", { class: "media" }, user.media.map(shown)) : null,
      user.text ? h("div", { class: "bubble", dir: "auto", title: moment(user.at) }, tamed(user.text)) : null,
      h("div", { class: "said-tools" }, place,
        local ? null : iconButton("pencil", t("edit"), () => this.actions.edit(this.turn)),
        copyButton(() => user.text)));
  }

  drawParts() {
    const { parts, state } = this.turn;
    const final = state === "done" || state === "error";
    for (const [part, view] of this.parts) if (!parts.includes(part)) { view.element.remove(); this.parts.delete(part); }
    let before = null;
    for (const part of parts) {
      let view = this.parts.get(part);
      if (!view) this.parts.set(part, view = this.viewOf(part));
      if (part.kind === "text") view.update(part.text.replace(/^\n+/, ""), final || part !== parts.at(-1));
      else view.draw();
      const wanted = before ? before.nextSibling : this.body.firstChild;
      if (view.element !== wanted) this.body.insertBefore(view.element, wanted);
      before = view.element;
    }
  }

  viewOf(part) {
    if (part.kind === "text") return new StreamedText();
    return part.kind === "tool" ? new ToolCard(part, this.actions) : new TeamCard(part);
  }

  drawStatus() {
    const { state, error, finish, partial, parts, user, local, usage, model, attempt } = this.turn;
    const key = [state, error?.message, finish, partial, parts.length > 0, local, usage?.total_tokens, attempt].join("|");
    if (key === this.drawnStatus) return;
    this.drawnStatus = key;
    this.element.dataset.state = state;
    const live = state === "running" || state === "waiting";
    fill(this.status,
      live ? h("span", { class: parts.some((part) => part.kind === "text") ? "caret" : "thinking" }, h("i"), h("i"), h("i"), h("span", { class: "away" }, t("thinking"))) : null,
      live && attempt > 1 ? h("span", { class: "note" }, t("attempt", { n: attempt })) : null,
      state === "error" ? h("p", { class: "problem" }, icon("warning"), h("span", {}, t("failed", { why: error.message }), error.trace ? trace(error.trace) : null)) : null,
      !live && (finish === "cancelled" || (partial && state !== "error")) ? h("span", { class: "note" }, t(finish === "cancelled" ? "stopped" : "cut")) : null,
      finish === "length" ? h("span", { class: "note" }, t("cut")) : null);
    const text = () => textOf(this.turn).trim();
    fill(this.tools, live ? null : [
      text() ? copyButton(text, t("copyAnswer")) : null,
      user ? iconButton("retry", t("retry"), () => this.actions.retry(this.turn)) : null,
      usage?.total_tokens ? h("span", { class: "usage", title: model }, t("tokens", { n: number(usage.total_tokens) })) : null,
    ]);
  }
}

// What whoever runs the gateway finds in its log.
function trace(id) {
  return h("span", { class: "trace" }, t("trace"), " ", h("code", {}, id), copyButton(() => id, t("copyTrace")));
}
