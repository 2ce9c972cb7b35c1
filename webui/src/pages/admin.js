// For administrators: who asks to be let in, people, tokens, deliveries, the gateway's state and its audit log.
// The gateway checks every call again; this page only hides what would be refused.

import { h } from "../dom.js";
import { moment, t } from "../i18n.js";
import { confirm, showOnce } from "../view/asking.js";
import { button, card, doing, field, live, table } from "./parts.js";

const ROLES = ["user", "service", "viewer", "admin", "owner"];

export function adminPage(store, actions) {
  const element = h("div", { class: "page-body" });
  if (!store.may("admin")) element.append(h("p", { class: "none" }, t("notMine")));
  else for (const part of [gateway, pairing, people, tokens, deliveries, audit]) element.append(part(store, actions));
  return { title: t("admin"), element };
}

function gateway(store) {
  const read = async () => {
    const reply = await fetch("/status", { credentials: "same-origin" });
    if (!reply.ok) throw new Error(`HTTP ${reply.status}`);
    return reply.json();
  };
  const { box } = live(store, read, (status) => [
    h("p", { class: "facts" }, [t("version", { version: status.version }), `${t("uptime")} ${duration(status.uptime_seconds)}`, `${t("connections")}: ${status.connections}`,
      `${t("models")}: ${status.models.map((model) => model.name).join(", ")}`].join(" · ")),
    table([t("channel"), t("state"), ""], Object.entries(status.channels).map(([name, channel]) => [name, t(`state_${channel.state}`), channel.reason ?? ""]), "–"),
  ]);
  return card(t("gateway"), box);
}

function duration(seconds) {
  const hours = Math.floor(seconds / 3600), minutes = Math.floor((seconds % 3600) / 60);
  return hours ? `${hours} h ${minutes} min` : `${minutes} min`;
}

function pairing(store, actions) {
  const { box } = live(store, () => store.call("pairing.list"), ({ pending }, again) => table([t("channel"), t("name"), t("code"), ""], pending.map((asking) => {
    const user = h("input", { type: "text", "aria-label": t("asUser"), placeholder: t("asUser"), maxlength: "64" });
    const approve = doing(actions, again, () => store.call("pairing.approve", { code: asking.code, ...(user.value.trim() ? { user: user.value.trim() } : {}) }));
    return [asking.channel, h("span", { dir: "auto" }, `${asking.name ?? ""} (${asking.peer_id})`), h("code", {}, asking.code),
      h("div", { class: "row" }, user, button(t("approve"), approve, "primary small"), button(t("deny"), doing(actions, again, () => store.call("pairing.deny", { code: asking.code })), "danger small"))];
  }), t("pairingNone")));
  return card(t("pairing"), box);
}

function roleSelect() { return h("select", { "aria-label": t("role") }, ROLES.map((role) => h("option", { value: role }, role))); }

function people(store, actions) {
  const name = h("input", { type: "text", required: true, maxlength: "64", id: "user-name" }), role = roleSelect();
  const { box, again } = live(store, () => store.call("user.list"), ({ users }, reread) => table([t("user"), t("role"), t("identities"), ""], users.map((user) => [user.user, user.role, (user.identities ?? []).join(", "),
    h("div", { class: "row" }, button(t("invite"), doing(actions, null, async () => {
      const { url, expires_at } = await store.call("user.invite", { user: user.user });
      await showOnce({ title: t("invite"), text: t("inviteText", { user: user.user, at: moment(expires_at) }), secret: url });
    }), "small"), user.user === store.me.user ? null : button(t("remove"), doing(actions, reread, async () => {
      if (await confirm({ text: t("removeUser", { user: user.user }), go: t("remove") })) await store.call("user.remove", { user: user.user });
    }), "danger small"))]), "–"));
  const form = h("form", { class: "inline-form" }, field(t("user"), name), field(t("role"), role), h("button", { class: "primary" }, t("add")));
  form.addEventListener("submit", (event) => { event.preventDefault(); add(); });
  const add = doing(actions, again, async () => { await store.call("user.add", { user: name.value.trim(), role: role.value }); name.value = ""; });
  return card(t("people"), box, form);
}

function tokens(store, actions) {
  const user = h("input", { type: "text", required: true, maxlength: "64", id: "token-user" }), role = roleSelect(), name = h("input", { type: "text", maxlength: "128" });
  const ttl = h("input", { type: "text", maxlength: "32", placeholder: "30d", size: "6" });
  const scope = h("select", { "aria-label": t("scopes") }, h("option", { value: "" }, t("allScopes")), h("option", { value: "tunnel" }, t("forLaptop")));
  const once = (made) => showOnce({ title: t("accessTokens"), text: t("secretOnce"), secret: made.token });
  const { box, again } = live(store, () => store.call("token.list"), ({ tokens: all }, reread) => table([t("name"), t("user"), t("scopes"), t("expires"), ""], all.map((token) => [
    h("span", {}, token.name || token.id), `${token.user} (${token.role})`, token.scopes.join(" "), token.expires_at ? moment(token.expires_at) : t("never"),
    h("div", { class: "row" }, button(t("rotate"), doing(actions, reread, async () => {
      if (await confirm({ text: t("rotateAsk", { name: token.name || token.id }), go: t("rotate") })) await once(await store.call("token.rotate", { id: token.id }));
    }), "small"), button(t("revoke"), doing(actions, reread, async () => {
      if (await confirm({ text: t("revokeToken", { name: token.name || token.id }), go: t("revoke") })) await store.call("token.revoke", { id: token.id });
    }), "danger small"))]), "–"));
  const form = h("form", { class: "inline-form" }, field(t("user"), user), field(t("role"), role), field(t("scopes"), scope), field(t("name"), name), field(t("ttl"), ttl, t("ttlHint")), h("button", { class: "primary" }, t("create")));
  const create = doing(actions, again, async () => once(await store.call("token.create", { user: user.value.trim(), role: role.value,
    ...(scope.value ? { scopes: [scope.value] } : {}), ...(ttl.value.trim() ? { ttl: ttl.value.trim() } : {}), ...(name.value.trim() ? { name: name.value.trim() } : {}) })));
  form.addEventListener("submit", (event) => { event.preventDefault(); create(); });
  return card(t("accessTokens"), box, form);
}

function deliveries(store, actions) {
  const { box } = live(store, () => store.call("delivery.list"), ({ deliveries: all }, again) => table([t("channel"), t("state"), t("message"), ""], all.map((delivery) => [`${delivery.channel} ${delivery.chat_id}`,
    `${t(`state_${delivery.state}`)}: ${delivery.reason}`, h("span", { dir: "auto" }, delivery.preview), button(t("resend"), doing(actions, again, () => store.call("delivery.resend", { delivery_id: delivery.delivery_id })), "small")]), t("deliveriesNone")));
  return card(t("deliveries"), box);
}

function audit(store) {
  const { box, again } = live(store, () => store.call("audit.tail", { limit: 50 }), ({ records }) => (records.length
    ? h("pre", { class: "audit", tabindex: "0" }, records.map((record) => JSON.stringify(record)).join("\n")) : h("p", { class: "none" }, t("auditNone"))));
  return card(t("audit"), h("details", {}, h("summary", {}, t("audit")), box, button(t("refresh"), again, "small")));
}
