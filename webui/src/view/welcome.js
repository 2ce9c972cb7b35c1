// What stands in an empty conversation: a greeting and something to begin with.

import { h } from "../dom.js";
import { t } from "../i18n.js";

export function welcome(actions) {
  const tries = ["try1", "try2", "try3", "try4"].map((key) =>
    h("li", {}, h("button", { type: "button", class: "try", onclick: () => (key === "try4" ? actions.go("#/bridge") : actions.send(t(key))) }, t(key))));
  return h("section", { class: "welcome" }, h("div", { class: "mark", "aria-hidden": "true" }),
    h("h2", {}, t("welcome")), h("p", {}, t("welcomeText")), h("ul", { class: "tries" }, tries));
}
