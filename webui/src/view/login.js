// What is shown to someone who is not logged in: how to get in, and a field for the link.

import { fill, h } from "../dom.js";
import { t } from "../i18n.js";
import { codeIn, login } from "../login.js";

export function loginPage({ notice, done }) {
  const problem = h("p", { class: "problem", role: "alert", hidden: !notice }, notice ?? "");
  const field = h("input", { type: "text", id: "login-code", "aria-label": t("loginField"), placeholder: t("loginField"), autocomplete: "off", spellcheck: "false", required: true });
  const button = h("button", { class: "primary" }, t("loginGo"));
  const form = h("form", { class: "card login" }, h("div", { class: "mark", "aria-hidden": "true" }), h("h1", {}, t("loginTitle")), h("p", {}, t("loginText")), problem, field, button);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const code = codeIn(field.value);
    if (!code) { tell(t("loginNo")); return; }
    button.disabled = true;
    try { await login(code); field.value = ""; done(); } catch (error) { tell(error.code === 1001 ? t("loginBad") : error.message); }
    button.disabled = false;
  });
  function tell(text) { problem.hidden = false; fill(problem, text); }
  return h("main", { class: "login-page" }, form);
}
