// Small native dialogs: yes or no, one line of text, something to copy.

import { h } from "../dom.js";
import { t } from "../i18n.js";
import { copyButton } from "../markdown.js";

function run(content, result) {
  return new Promise((resolve) => {
    const dialog = h("dialog", { class: "small-dialog", "aria-label": content.label });
    const form = h("form", { method: "dialog" }, content.body, h("div", { class: "dialog-row" }, content.buttons));
    dialog.append(form);
    dialog.addEventListener("close", () => { resolve(dialog.returnValue === "go" ? result() : null); dialog.remove(); });
    document.body.append(dialog);
    dialog.showModal();
  });
}

const cancelButton = () => h("button", { value: "cancel", formnovalidate: true, autofocus: true }, t("cancel"));
const goButton = (text, danger) => h("button", { value: "go", class: danger ? "danger" : "primary" }, text);

/** Whether the person says yes. */
export async function confirm({ text, go }) {
  return (await run({ label: go, body: h("p", {}, text), buttons: [cancelButton(), goButton(go, true)] }, () => true)) === true;
}

/** A line of text, or null. */
export function ask({ title, label, value = "", go }) {
  const field = h("input", { type: "text", value, maxlength: "500", required: true, autofocus: true, "aria-label": label });
  const buttons = [h("button", { type: "button", onclick: (event) => event.target.closest("dialog").close("cancel") }, t("cancel")), goButton(go)];
  const done = run({ label: title, body: [h("h2", {}, title), field], buttons }, () => field.value.trim());
  field.select();
  return done;
}

/** Something that is shown once. */
export function showOnce({ title, text, secret }) {
  return run({ label: title, body: [h("h2", {}, title), h("p", {}, text), h("div", { class: "secret" }, h("code", { tabindex: "0" }, secret), copyButton(() => secret))],
    buttons: [h("button", { value: "cancel", class: "primary", autofocus: true }, t("close"))] }, () => null);
}
