// How a person wants the page, who he is on the platforms, and what he has allowed.

import { fill, h } from "../dom.js";
import { language, moment, t } from "../i18n.js";
import { logout } from "../login.js";
import { copyButton } from "../markdown.js";
import { choose, settings } from "../settings.js";
import { KEYS } from "../shortcuts.js";
import { button, card, choice, doing, live, table } from "./parts.js";

export function settingsPage(store, actions) {
  return { title: t("settings"), element: h("div", { class: "page-body" }, appearance(store), store.may("approve") ? permissions(store, actions) : null,
    store.may("chat") ? identities(store, actions) : null, keys(), account(store)) };
}

function appearance(store) {
  return card(t("appearance"), h("div", { class: "fields" },
    choice(t("language"), language(), [["en", "English"], ["zh", "中文"]], async (value) => {
      choose("language", value);
      // the gateway's own words (buttons on platforms, notices) follow
      if (store.may("chat")) await store.call("chat.send", { text: `/language ${value}`, session_key: store.defaultKey() }).catch(() => {});
      location.reload();
    }),
    choice(t("theme"), settings.theme, [["auto", t("auto")], ["light", t("light")], ["dark", t("dark")]], (value) => choose("theme", value)),
    choice(t("sendKey"), settings.sendWith, [["enter", t("keyEnter")], ["ctrl", t("keyCtrl")]], (value) => { choose("sendWith", value); store.tell("settings"); })));
}

function permissions(store, actions) {
  const { box } = live(store, async () => ({ ...(await store.call("approval.grants")), ...(await store.call("approval.list")) }), ({ grants, approvals }, again) => [
    h("h3", {}, t("pendingTitle")), table([t("tool"), ""], approvals.map((approval) => [h("code", {}, approval.tool), button(t("review"), () => actions.review(approval), "small")]), t("pendingNone")),
    h("h3", {}, t("grants")), table([t("tool"), t("scopes"), ""], grants.map((grant) => [h("code", {}, grant.tool), `${t(`scope_${grant.scope}`)} · ${moment(grant.since)}`,
      button(t("revoke"), doing(actions, again, () => store.call("approval.revoke", { grant_id: grant.grant_id })), "danger small")]), t("grantsNone")),
  ]);
  return card(t("permissions"), box);
}

function identities(store, actions) {
  const told = h("div", { role: "status" });
  const { box } = live(store, () => store.call("identity.list"), ({ identities: all }, again) => table([t("account"), ""], all.map((identity) => [h("code", {}, identity),
    button(t("unlink"), doing(actions, again, () => store.call("identity.unlink", { identity })), "danger small")]), t("identitiesNone")));
  const make = doing(actions, null, async () => {
    const { code, expires_at } = await store.call("identity.link");
    fill(told, h("p", {}, t("identitiesText")), h("div", { class: "secret" }, h("code", { tabindex: "0" }, `/link ${code}`), copyButton(() => `/link ${code}`)), h("small", {}, t("validUntil", { at: moment(expires_at) })));
  });
  return card(t("identities"), box, button(t("linkMake"), make), told);
}

function keys() {
  return card(t("keys"), h("dl", { class: "keys" }, KEYS.map(([key, name]) => [h("dt", {}, h("kbd", {}, key)), h("dd", {}, t(name))])));
}

function account(store) {
  const { user, role, server } = store.me;
  const licences = h("a", { href: "/static/licences.txt", target: "_blank", rel: "noopener" }, t("licences"));
  return card(t("account"), h("p", {}, t("signedInAs", { user, role })), button(t("logout"), async () => { await logout(); location.hash = ""; location.reload(); }), h("p", { class: "facts" }, t("version", { version: server.version }), " · ", licences));
}
