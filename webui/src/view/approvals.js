// A native dialog for what needs a person's yes. Focus starts on Deny, Escape denies, closing denies. It only
// asks: who enforces is the gateway and the bridge. Shown one after another, for all of the person's sessions.

import { fill, h, icon } from "../dom.js";
import { t } from "../i18n.js";
import { say } from "../say.js";
import { pretty } from "../model/values.js";
import { hides, revealed } from "./revealed.js";

/** Milliseconds in which a click that was meant for something else allows nothing. */
const GUARD = 350;
const MOST = 20_000;

export class Approvals {
  constructor(store) {
    this.store = store;
    this.current = null;
    this.dialog = h("dialog", { class: "approval", "aria-labelledby": "approval-title", "aria-describedby": "approval-tool" });
    this.dialog.addEventListener("cancel", (event) => { event.preventDefault(); this.decide("deny"); });
    document.body.append(this.dialog);
    store.on("approvals", () => this.draw());
    store.on("state", () => this.draw());
  }

  draw() {
    const open = [...this.store.approvals.values()];
    const there = this.current && this.store.approvals.has(this.current.approval_id);
    if (there && this.store.state === "connected") { this.drawCount(); return; }
    this.shut();
    if (open.length && this.store.state === "connected") this.show(open[0]);
  }

  /** Bring one to the front. */
  review(approval) {
    if (!this.store.approvals.has(approval.approval_id) || this.current === approval) return;
    this.shut();
    this.show(this.store.approvals.get(approval.approval_id));
  }

  show(approval) {
    this.current = approval;
    const local = approval.where === "bridge";
    this.count = h("p", { class: "countdown", role: "timer", "aria-live": "off" });
    this.bar = h("progress", { max: "100", "aria-hidden": "true" });
    const deny = h("button", { type: "button", class: "danger", autofocus: true, onclick: () => this.decide("deny") }, t("deny"));
    this.allowing = local ? [] : ["allow_once", "allow_session", "allow_always"].map((decision, index) =>
      h("button", { type: "button", disabled: true, class: index ? "" : "primary", "data-decision": decision, onclick: () => this.decide(decision) }, t(["allowOnce", "allowSession", "allowAlways"][index])));
    fill(this.dialog,
      h("h2", { id: "approval-title" }, icon("shield"), t("approveTitle")),
      h("dl", { id: "approval-tool" }, h("dt", {}, t("approveTool")), h("dd", {}, h("code", {}, revealed(approval.tool))),
        h("dt", {}, t("approveWhere")), h("dd", {}, this.whereOf(approval)), h("dt", {}, t("risk")), h("dd", {}, revealed(approval.risk || ""))),
      hides(approval.arguments) ? h("p", { class: "problem", role: "alert" }, icon("warning"), t("hidden")) : null,
      this.argumentsOf(approval.arguments),
      local ? [h("p", {}, t("onBridge")), h("pre", { tabindex: "0" }, `ai-bridge approve ${approval.approval_id}`)] : null,
      this.bar, this.count,
      h("div", { class: "dialog-row" }, deny, this.allowing));
    this.dialog.showModal();
    deny.focus();
    say(`${t("approveTitle")} ${approval.tool}`);
    this.asked = Date.now();
    this.guard = setTimeout(() => { for (const button of this.allowing) button.disabled = false; }, GUARD);
    this.tick = setInterval(() => this.drawCount(), 500);
    this.drawCount();
  }

  whereOf(approval) {
    const tool = this.store.toolNamed(approval.tool);
    if (approval.where === "bridge" || tool?.source === "bridge") {
      return tool?.bridge ?? t("bridge");
    }
    return tool?.server ? `${t("cloud")} · ${tool.server}` : t("cloud");
  }

  argumentsOf(given) {
    const entries = Object.entries(given ?? {});
    if (!entries.length) return h("p", { class: "none" }, t("noArguments"));
    return h("dl", { class: "arguments" }, entries.map(([name, value]) => [h("dt", {}, revealed(name)),
      h("dd", {}, h("pre", { tabindex: "0", dir: "ltr" }, revealed((typeof value === "string" ? value : pretty(value)).slice(0, MOST))))]));
  }

  drawCount() {
    const left = Math.ceil((Date.parse(this.current.expires_at) - Date.now()) / 1000);
    const waiting = this.store.approvals.size - 1;
    const most = Math.max(1, (Date.parse(this.current.expires_at) - this.asked) / 1000);
    this.bar.value = Math.max(0, Math.min(100, (left / most) * 100));
    // only the gateway says when it is over: the clock of this machine may be wrong by hours
    this.count.textContent = [left > 90 ? t("minutes", { n: Math.ceil(left / 60) }) : left > 0 ? t("seconds", { n: left }) : "",
      waiting > 0 ? t("waitingMore", { n: waiting }) : ""].filter(Boolean).join(" · ");
  }

  decide(decision) {
    const approval = this.current;
    if (!approval) return;
    this.shut();
    this.store.decide(approval, decision);
  }

  shut() {
    clearInterval(this.tick);
    clearTimeout(this.guard);
    this.current = null;
    if (this.dialog.open) this.dialog.close();
  }
}
