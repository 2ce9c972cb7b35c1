// The person's computers: servers, tools, calls; revoking one, and pairing another by its code.

import { fill, h } from "../dom.js";
import { ago, moment, t } from "../i18n.js";
import { copyButton } from "../markdown.js";
import { confirm } from "../view/asking.js";
import { counted, toolsOf } from "../view/badge.js";
import { button, card, doing, field, table } from "./parts.js";

export function bridgePage(store, actions) {
  const list = h("div", { class: "live" }), calls = h("div", {});
  const drawList = () => fill(list, store.bridges.length ? store.bridges.map((bridge) => bridgeCard(store, actions, bridge)) : card("", h("p", { class: "none" }, t("bridgeNone"))));
  const drawCalls = () => fill(calls, table([t("tool"), t("state"), ""], store.calls.filter((call) => store.toolNamed(call.name)?.source === "bridge").map((call) => [
    h("code", {}, call.name), !call.finished ? t("running") : `${t(call.is_error ? "failedTool" : "done")} · ${call.duration_ms} ms`, ago(new Date(call.at).toISOString())]), t("callsNone")));
  const topics = [["bridges", drawList], ["tools", drawList], ["calls", drawCalls]].map(([topic, draw]) => {
    const listener = () => draw();
    store.addEventListener(topic, listener);
    return () => store.removeEventListener(topic, listener);
  });
  drawList();
  drawCalls();
  store.refreshBridges().catch(() => {});
  store.refreshTools().catch(() => {});
  return {
    title: t("bridge"), leave: () => topics.forEach((off) => off()),
    element: h("div", { class: "page-body" }, h("p", { class: "lead" }, t("bridgeIntro")), list, pairing(store, actions), card(t("calls"), calls)),
  };
}

function bridgeCard(store, actions, bridge) {
  const tools = store.tools.filter((tool) => tool.bridge === bridge.name);
  const revoke = doing(actions, () => store.refreshBridges(), async () => {
    if (await confirm({ text: t("revokeBridge", { name: bridge.name }), go: t("revoke") })) await store.call("bridge.revoke", { bridge_id: bridge.bridge_id });
  });
  const facts = [t(bridge.connected ? "on" : "away"), t("since", { at: moment(bridge.since) }),
    typeof bridge.latency_ms === "number" ? t("latency", { ms: Math.max(1, Math.round(bridge.latency_ms)) }) : "", counted("tool1", "tools", toolsOf(bridge))];
  return h("section", { class: "card bridge", "data-connected": String(bridge.connected) },
    h("div", { class: "card-head" }, h("h2", {}, h("span", { class: "dot", "aria-hidden": "true" }), bridge.name), button(t("revoke"), revoke, "danger quiet")),
    h("p", { class: "facts" }, facts.filter(Boolean).join(" · ")),
    h("ul", { class: "servers" }, bridge.servers.map((server) => h("li", { "data-state": server.state }, h("span", { class: "dot", "aria-hidden": "true" }), h("b", {}, server.name),
      h("span", {}, t(`state_${server.state}`)), h("span", {}, counted("tool1", "tools", server.tools)), server.error ? h("span", { class: "problem" }, server.error) : null))),
    tools.length ? h("details", {}, h("summary", {}, `${t("toolsOf")} (${tools.length})`), h("ul", { class: "tools" }, tools.map((tool) => h("li", {},
      h("code", {}, tool.name), h("span", { class: "policy", "data-policy": tool.policy }, t(`policy_${tool.policy}`)), h("p", { dir: "auto" }, tool.description))))) : null);
}

function pairing(store, actions) {
  const command = `ai-bridge connect ${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/tunnel --pair`;
  const code = h("input", { type: "text", id: "pair-code", autocomplete: "off", autocapitalize: "characters", spellcheck: "false", maxlength: "16", required: true, placeholder: "XXXX-XXXX" });
  const told = h("p", { class: "note", role: "status" });
  const form = h("form", { class: "inline-form" }, field(t("code"), code), h("button", { class: "primary" }, t("pair")));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      const { bridge_id } = await store.call("bridge.pair", { code: code.value.trim() });
      fill(told, t("paired", { id: bridge_id }));
      code.value = "";
      await store.refreshBridges();
    } catch (error) { fill(told, t("wrong", { why: error.message })); }
  });
  if (!store.may("tunnel")) return null;
  return card(t("bridgePair"), h("ol", { class: "steps" }, h("li", {}, t("bridgeStep1"), h("div", { class: "secret" }, h("code", { tabindex: "0" }, command), copyButton(() => command))),
    h("li", {}, t("bridgeStep2"), form)), told);
}
