// The badge in the header: whether the person's own computer is there. Words and a picture, not colour alone.

import { fill, h, icon } from "../dom.js";
import { t } from "../i18n.js";

/** Milliseconds in which a computer that went away is said to be coming back. */
const RETURNING = 60_000;

export const counted = (one, many, n) => (n === 1 ? t(one) : t(many, { n }));
export const toolsOf = (bridge) => bridge.servers.reduce((sum, server) => sum + server.tools, 0);

/** `{state, text}` of these bridges; `leftAt` is when each was seen going. Pure. */
export function badgeOf(bridges, leftAt, now) {
  const here = bridges.filter((bridge) => bridge.connected);
  if (!bridges.length) return { state: "none", text: t("badgeNone") };
  if (!here.length) {
    const away = bridges.find((bridge) => now - (leftAt.get(bridge.bridge_id) ?? 0) < RETURNING);
    return away ? { state: "away", text: t("badgeAway", { name: away.name }) } : { state: "off", text: t("badgeOff", { name: bridges[0].name }) };
  }
  const servers = here.flatMap((bridge) => bridge.servers);
  const tools = counted("tool1", "tools", here.reduce((sum, bridge) => sum + toolsOf(bridge), 0));
  const failed = servers.filter((server) => server.state === "failed").length;
  if (failed) return { state: "trouble", text: t("badgeTrouble", { name: here[0].name, bad: failed, tools }) };
  if (here.length > 1) return { state: "on", text: t("badgeMany", { n: here.length, all: bridges.length, servers: counted("server1", "servers", servers.length), tools }) };
  const [one] = here;
  const latency = typeof one.latency_ms === "number" ? t("badgeLatency", { ms: Math.max(1, Math.round(one.latency_ms)) }) : "";
  return { state: "on", text: t("badgeOn", { name: one.name, servers: counted("server1", "servers", servers.length), tools, latency }) };
}

export class Badge {
  constructor(store) {
    this.store = store;
    this.element = h("a", { class: "badge", id: "badge", href: "#/bridge" });
    store.on("bridges", () => this.draw());
    setInterval(() => this.draw(), 10_000);
    this.draw();
  }

  draw() {
    const { bridges } = this.store;
    const { state, text } = badgeOf(bridges, this.store.leftAt, Date.now());
    if (this.element.dataset.state === state && this.text === text) return;
    this.text = text;
    this.element.dataset.state = state;
    this.element.title = text;
    const short = (bridges.find((bridge) => bridge.connected) ?? bridges[0])?.name ?? "";
    fill(this.element, icon("laptop"), h("span", { class: "badge-dot", "aria-hidden": "true" }), h("span", { class: "badge-text" }, text),
      h("span", { class: "badge-short", "aria-hidden": "true" }, short));
  }
}
