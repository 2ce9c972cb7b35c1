// Where a person writes: text, files, voice. Enter sends unless an input method is composing.

import { fill, h, icon, iconButton } from "../dom.js";
import { bytes, t } from "../i18n.js";
import { record, upload } from "../media.js";
import { settings } from "../settings.js";

/** Bytes of a message beside its text, session and files. */
const AROUND = 512;

export class Composer {
  constructor(store, actions) {
    this.store = store;
    this.actions = actions;
    this.drafts = new Map();
    this.files = [];
    this.replaces = null;
    this.recording = null;
    this.text = h("textarea", { id: "message", rows: "1", "aria-label": t("message"), placeholder: t("placeholder"), enterkeyhint: "send", dir: "auto" });
    this.picker = h("input", { type: "file", multiple: true, hidden: true, "aria-label": t("attach") });
    this.chips = h("ul", { class: "chips" });
    this.notice = h("div", { class: "composer-notice" });
    this.mic = iconButton("mic", t("record"), () => this.toggleRecording(), { id: "record" });
    this.sendButton = h("button", { type: "submit", class: "send", id: "send", "aria-label": t("send"), title: t("send") }, icon("send"));
    this.stopButton = h("button", { type: "button", class: "send stop", id: "stop", "aria-label": t("stop"), title: t("stop"), hidden: true, onclick: () => actions.stop() }, icon("stop"));
    this.element = h("form", { class: "composer", "aria-label": t("message") },
      this.notice, this.chips, this.text,
      h("div", { class: "composer-row" }, iconButton("clip", t("attach"), () => this.picker.click()), this.mic, this.picker,
        h("span", { class: "hint", id: "hint" }), this.stopButton, this.sendButton));
    this.text.setAttribute("aria-describedby", "hint");
    this.listen();
    this.draw();
  }

  listen() {
    this.element.addEventListener("submit", (event) => { event.preventDefault(); this.submit(); });
    this.text.addEventListener("input", () => this.grown());
    this.text.addEventListener("keydown", (event) => this.key(event));
    this.text.addEventListener("paste", (event) => { if (event.clipboardData?.files.length) { event.preventDefault(); this.add(event.clipboardData.files); } });
    this.picker.addEventListener("change", () => { this.add(this.picker.files); this.picker.value = ""; });
    this.store.on("open", (conversation) => this.changeTo(conversation.key));
  }

  key(event) {
    // 229: the key belongs to an input method, also where `isComposing` has just ended (Safari)
    if (event.isComposing || event.keyCode === 229) return;
    if (event.key === "Escape" && this.replaces) { event.preventDefault(); event.stopPropagation(); this.edit(null); return; }
    if (event.key !== "Enter") return;
    const modified = event.ctrlKey || event.metaKey;
    if (settings.sendWith === "ctrl" ? modified : !event.shiftKey && !event.altKey) { event.preventDefault(); this.submit(); }
  }

  grown() {
    this.text.style.height = "auto";
    this.text.style.height = `${Math.min(this.text.scrollHeight, innerHeight * 0.4)}px`;
    this.draw();
  }

  changeTo(key) {
    if (this.key_ !== undefined) this.drafts.set(this.key_, { text: this.text.value, files: this.files, replaces: this.replaces });
    this.key_ = key;
    const draft = this.drafts.get(key) ?? { text: "", files: [], replaces: null };
    this.text.value = draft.text;
    this.files = draft.files;
    this.replaces = draft.replaces;
    this.grown();
    if (matchMedia("(hover: hover)").matches) this.text.focus();
  }

  /** Edit the message of `turn` and send it again; null gives that up. */
  edit(turn) {
    this.replaces = turn ? turn.id : null;
    this.text.value = turn ? turn.user.text : "";
    this.files = turn ? turn.user.media.map((media) => ({ name: media.name, size: media.size, media })) : [];
    this.grown();
    this.text.focus();
  }

  get ready() { return (this.text.value.trim() || this.files.length) && this.files.every((file) => file.media); }

  submit() {
    if (!this.ready) return;
    const media = this.files.map((file) => file.media);
    const text = this.text.value.trim(), replaces = this.replaces, most = this.store.me?.limits.max_message_bytes ?? Infinity;
    if (new Blob([JSON.stringify([text, this.key_, media])]).size + AROUND > most) { this.actions.problem(t("tooLong", { most: bytes(most) })); return; }
    this.text.value = "";
    this.files = [];
    this.replaces = null;
    this.grown();
    this.actions.send(text, media, replaces);
  }

  busy(busy) {
    this.stopButton.hidden = !busy;
    this.isBusy = busy;
    this.draw();
  }

  // ---------------------------------------------------------------- files

  add(files) {
    const most = this.store.me?.limits.max_media_bytes ?? Infinity;
    for (const file of files) {
      if (file.size > most) { this.actions.problem(t("tooLarge", { name: file.name, most: bytes(most) })); continue; }
      const entry = { name: file.name, size: file.size, media: null };
      this.files.push(entry);
      upload(file).then((media) => { entry.media = media; }, (error) => {
        for (const draft of [this, ...this.drafts.values()]) draft.files = draft.files.filter((other) => other !== entry);
        this.actions.problem(t("uploadNo", { name: file.name, why: error.message }));
      }).finally(() => this.draw());
    }
    this.draw();
  }

  async toggleRecording() {
    try {
      if (this.recording) {
        const recording = this.recording;
        this.recording = null;
        this.draw();
        this.add([await recording.stop()]);
      } else {
        this.recording = await record();
        this.draw();
      }
    } catch (error) {
      this.actions.problem(t("recordNo", { why: error.message }));
    }
  }

  // ---------------------------------------------------------------- appearance

  draw() {
    this.sendButton.disabled = !this.ready;
    this.sendButton.hidden = Boolean(this.isBusy) && !this.ready;
    this.mic.classList.toggle("on", Boolean(this.recording));
    const label = t(this.recording ? "recordStop" : "record");
    this.mic.setAttribute("aria-label", label);
    this.mic.title = label;
    this.mic.setAttribute("aria-pressed", String(Boolean(this.recording)));
    this.element.querySelector(".hint").textContent = t(settings.sendWith === "ctrl" ? "hintCtrl" : "hintEnter");
    fill(this.notice, this.replaces ? [h("span", {}, t("editing")), h("button", { type: "button", class: "quiet", onclick: () => this.edit(null) }, t("cancel"))] : null);
    fill(this.chips, this.files.map((file) => h("li", { class: file.media ? "" : "busy" }, icon("file"), h("span", {}, file.name), h("small", {}, bytes(file.size)),
      iconButton("close", t("removeFile", { name: file.name }), () => { this.files = this.files.filter((other) => other !== file); this.draw(); }))));
  }
}
