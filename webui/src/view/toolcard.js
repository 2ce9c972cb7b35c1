// A tool call: which, with what, how far, and what came of it. Everything in it is a stranger's text.

import { fill, h, icon } from "../dom.js";
import { t } from "../i18n.js";
import { shown } from "../media.js";
import { pretty } from "../model/values.js";
import { revealed } from "./revealed.js";

const MOST = 20_000;

export class ToolCard {
  constructor(part, actions) {
    this.part = part;
    this.actions = actions;
    this.name = h("span", { class: "tool-name" });
    this.state = h("span", { class: "tool-state" });
    this.bar = h("progress", { class: "tool-bar", "aria-label": t("running") });
    this.told = h("div", { class: "tool-told" });
    this.detail = h("div", { class: "tool-detail" });
    this.media = h("div", { class: "media" });
    this.box = h("details", { class: "tool", ontoggle: () => this.drawDetail() },
      h("summary", {}, icon("tool"), this.name, this.state, icon("chevron")), this.detail);
    this.element = h("div", { class: "tool-card" }, this.box, this.bar, this.told, this.media);
  }

  draw() {
    const { part } = this;
    const asking = part.approval && !part.approval.decision && part.state === "running";
    const state = asking ? "asking" : part.state;
    this.element.dataset.state = state;
    this.name.textContent = (part.agent ? `${part.agent} · ` : "") + (part.name || t("tool"));
    const words = { asking: t("asking"), running: t("running"), done: t("done"), error: t("failedTool") };
    const took = part.duration === null || part.state === "running" ? "" : ` · ${part.duration < 1000 ? `${part.duration} ms` : `${(part.duration / 1000).toFixed(1)} s`}`;
    const decided = part.approval?.decision ? ` · ${t(`allowed_${part.approval.decision}`)}` : "";
    this.state.textContent = words[state] + took + decided;
    this.bar.hidden = state !== "running" || part.progress === null;
    if (!this.bar.hidden && part.total) { this.bar.max = part.total; this.bar.value = Math.min(part.progress, part.total); } else this.bar.removeAttribute("value");
    const counted = part.progress === null ? "" : part.total ? t("of", { a: part.progress, b: part.total }) : String(part.progress);
    fill(this.told, state === "running" && (part.message || counted) ? [part.message, part.message && counted ? " · " : "", counted] : null,
      asking ? h("button", { type: "button", class: "small", onclick: () => this.actions.review(part.approval) }, t("review")) : null);
    if (part.media !== this.drawnMedia) { this.drawnMedia = part.media; fill(this.media, part.media.map(shown)); }
    this.drawDetail();
  }

  /** What is folded away is not made. */
  drawDetail() {
    if (!this.box.open) return;
    const { part } = this;
    const key = `${part.state}|${part.result.length}`;
    if (key === this.drawnDetail) return;
    this.drawnDetail = key;
    fill(this.detail, h("h3", {}, t("arguments")), h("pre", { tabindex: "0", dir: "ltr" }, revealed(pretty(part.arguments).slice(0, MOST))),
      part.state === "running" ? null : [h("h3", {}, t("result")), h("pre", { tabindex: "0", dir: "auto" }, revealed(part.result.slice(0, MOST)))]);
  }
}
