// A question that a tool's server asks the person (elicitation): a form made from its flat schema.

import { h } from "../dom.js";
import { t } from "../i18n.js";
import { revealed } from "./revealed.js";

/** Milliseconds in which a question that was answered already, and is only told again, is known to be over. */
const PAUSE = 60;

/** The questions that are open, a dialog for each. */
export class Questions {
  constructor(store) {
    this.store = store;
    this.dialogs = new Map();
    store.on("questions", () => { clearTimeout(this.timer); this.timer = setTimeout(() => this.draw(), PAUSE); });
  }

  draw() {
    for (const [id, dialog] of this.dialogs) if (!this.store.questions.has(id)) { dialog.close(); dialog.remove(); this.dialogs.delete(id); }
    for (const [id, question] of this.store.questions) if (!this.dialogs.has(id)) this.dialogs.set(id, ask(this.store, question));
  }
}

function ask(store, question) {
  const properties = Object.entries(question.schema?.properties ?? {}).filter(([, about]) => about && typeof about === "object");
  const required = new Set(question.schema?.required ?? []);
  const fields = properties.map(([name, about]) => ({ name, about, input: inputFor(about, required.has(name)) }));
  const dialog = h("dialog", { class: "small-dialog", "aria-labelledby": "question-title" });
  const form = h("form", {},
    h("h2", { id: "question-title" }, t("questionTitle")), h("p", { dir: "auto" }, revealed(question.message)),
    fields.map(({ name, about, input }) => h("label", { class: "field" }, h("span", {}, about.title || name), input, about.description ? h("small", {}, about.description) : null)),
    h("div", { class: "dialog-row" }, h("button", { type: "button", autofocus: true, onclick: () => answer("decline") }, t("decline")), h("button", { class: "primary" }, t("accept"))));
  form.addEventListener("submit", (event) => { event.preventDefault(); answer("accept"); });
  dialog.addEventListener("cancel", (event) => { event.preventDefault(); answer("cancel"); });
  dialog.append(form);
  document.body.append(dialog);
  dialog.showModal();

  return dialog;

  function answer(action) {
    const params = { action };
    if (action === "accept") params.content = Object.fromEntries(fields.map(({ name, about, input }) => [name, valueOf(about, input)]).filter(([, value]) => value !== undefined));
    store.answer(question, params);
  }
}

function inputFor(about, required) {
  if (Array.isArray(about.enum)) return h("select", { required }, about.enum.map((value, index) => h("option", { value: String(value) }, String(about.enumNames?.[index] ?? value))));
  if (about.type === "boolean") return h("input", { type: "checkbox", checked: about.default === true });
  if (about.type === "number" || about.type === "integer") return h("input", { type: "number", step: about.type === "integer" ? "1" : "any", required, value: about.default ?? "", min: about.minimum, max: about.maximum });
  return h("input", { type: "text", required, value: about.default ?? "", maxlength: about.maxLength ?? "10000" });
}

function valueOf(about, input) {
  if (about.type === "boolean") return input.checked;
  if (input.value === "") return undefined;
  if (about.type === "number" || about.type === "integer") return Number(input.value);
  return input.value;
}
